"""The proxy that the environment names for an address: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY."""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from consent_domain.errors import ConsentError


class Proxy(NamedTuple):
    """Where a proxy is, and who one is to it: both empty for nobody."""

    scheme: str
    host: str
    port: int
    user: str
    password: str

    @property
    def authorization(self) -> str:
        """The value of Proxy-Authorization, empty for nobody."""
        if not self.user:
            return ""
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}"


def proxy_of(url: str) -> Proxy | None:
    """The proxy to reach a URL through, None for none.

    Raises ConsentError `invalid_value` for one that is not of HTTP.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all", "")
    if not named or proxy_bypass(parts.hostname or ""):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme not in ("http", "https") or not proxy.hostname:
        raise ConsentError(
            "invalid_value", f"the environment names the proxy {proxy.hostname!r}, which is none of HTTP"
        )
    port = proxy.port or (443 if proxy.scheme == "https" else 80)
    user, password = unquote(proxy.username or ""), unquote(proxy.password or "")
    return Proxy(proxy.scheme, proxy.hostname, port, user, password)
