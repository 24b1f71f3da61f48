"""Telling somebody: alarms as JSON to an address, a few times, and never anywhere else than there.

    POST URL
    {"monitor": "consent", "log": "…", "alarms": [{"kind": "…", "meaning": "…", "detail": "…", …}]}

Any status of 200 to 299 means that it was told. A redirect is not followed: it would give what is said
here to whoever controls the answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import httpx
from consent_domain.errors import ConsentError

from consent_gate.audit.monitor.alarms import MEANINGS, Alarm

ATTEMPTS = 3
SECONDS_MAX = 10.0
ALARMS_MAX = 100
"""In one call; more follow in others."""


def for_programs(one: Alarm) -> dict[str, object]:
    """An alarm as JSON has it."""
    return {
        "kind": one.kind,
        "level": "notice" if one.is_notice else "alarm",
        "meaning": MEANINGS[one.kind],
        "detail": one.detail,
        **one.facts,
    }


def post(url: str, log: str, alarms: Sequence[Alarm]) -> None:
    """Tell. Raises ConsentError `unavailable` if nobody took it after `ATTEMPTS` attempts."""
    told = {"monitor": "consent", "log": log, "alarms": [for_programs(one) for one in alarms]}
    why = ""
    with httpx.Client(timeout=httpx.Timeout(SECONDS_MAX), follow_redirects=False) as client:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(2.0 ** (attempt - 1))
            try:
                with client.stream("POST", url, json=told) as response:
                    if response.is_success:
                        return
                    why = f"it answered {response.status_code}"
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
            except httpx.InvalidURL:
                why = "its address is none"
                break
    # The address itself may be a secret: it is in no message.
    raise ConsentError("unavailable", f"the webhook was not told of {len(alarms)} alarms: {why}")
