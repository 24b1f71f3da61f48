"""Where a ledger is and the key for it, made sure of before anything is sent there."""

from __future__ import annotations

from urllib.parse import urlsplit

from consent_domain.errors import ConsentError


def require_address(url: str) -> None:
    """Raises ConsentError `invalid_value` unless `url` is one of HTTP."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise ConsentError("invalid_value", f"the address {url!r} must begin with http:// or https://")
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named or not url.isprintable() or " " in url:
        raise ConsentError("invalid_value", f"the address {url!r} names no host, or no port that there is")


def require_key(token: str) -> None:
    """Raises ConsentError `invalid_value` for what cannot be an API key. It is not repeated."""
    if not isinstance(token, str) or not token:
        raise ConsentError("invalid_value", "no API key was given: pass one of the role `pipeline`")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConsentError("invalid_value", "the API key has characters that no key has; copy it again")
