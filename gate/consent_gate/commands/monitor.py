"""`consent monitor`: an auditor's watch over a ledger, from outside."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from consent_domain.checkpoints import prefix_of
from consent_domain.errors import ConsentError

from consent_gate.audit.monitor.alarms import MEANINGS, Alarm
from consent_gate.audit.monitor.findings import Found
from consent_gate.audit.monitor.look import Asked, look
from consent_gate.audit.monitor.memory import Memory
from consent_gate.audit.monitor.webhook import ALARMS_MAX, for_programs, post
from consent_gate.audit.sources import HttpSource, LogSource
from consent_gate.audit.trust import Trust
from consent_gate.commands.ledger import Ledger
from consent_gate.commands.pinned import pinned, pinning
from consent_gate.commands.settings import Settings, environment_of_process
from consent_gate.commands.terminal import painted, plain
from consent_gate.commands.usage import BAD, GOOD, UNCHECKED, Subcommands, examples
from consent_gate.telling import tell

INTERVAL_SECONDS = 60.0
INTERVAL_SECONDS_MIN = 1.0
REQUEST_SECONDS_MAX = 150.0
SAMPLE, SAMPLE_MAX = 20, 1_000
UNWITNESSED_SECONDS = 300.0
EXIT_CODES = (
    "Exit codes: 0 all was checked and is good; 1 an alarm; 2 something could not be checked, or wrong "
    "usage. Without --once it runs until SIGTERM or Ctrl-C, and the code is the worst since it began."
)
Answer = TypeVar("Answer")
_RESULTS = {GOOD: "good", BAD: "bad", UNCHECKED: "unchecked"}
_WORDS = {GOOD: ("GOOD", "permit"), BAD: ("ALARM", "deny"), UNCHECKED: ("NOT CHECKED", "undecided")}
_SEVERITY = (GOOD, UNCHECKED, BAD)

_EXAMPLES = """\
  consent monitor --state seen --once
  consent monitor --state seen --interval 300 --webhook https://alarms.example/consent"""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "monitor", parents=[pinning()], **examples(_EXAMPLES, EXIT_CODES),
        help="follow a ledger's log from what was seen last, and say when something is wrong",
    )  # fmt: skip
    command.add_argument("--url", help="the ledger's address (CONSENT_URL)")
    command.add_argument(
        "--state", required=True, metavar="FOLDER", help="what it remembers; made at the first look"
    )
    command.add_argument("--once", action="store_true", help="look once")
    command.add_argument(
        "--interval", type=float, default=INTERVAL_SECONDS, metavar="SECONDS",
        help=f"between two looks, by default {INTERVAL_SECONDS:.0f}",
    )  # fmt: skip
    command.add_argument(
        "--webhook", metavar="URL",
        help="where new alarms are posted as JSON (CONSENT_WEBHOOK: a flag shows in lists of processes)",
    )  # fmt: skip
    command.add_argument(
        "--sample", type=int, default=SAMPLE, metavar="N",
        help=f"how many decisions are compared at each look, by default {SAMPLE}; 0 for none",
    )  # fmt: skip
    command.add_argument(
        "--unwitnessed", type=float, default=UNWITNESSED_SECONDS, metavar="SECONDS",
        help=f"how long events may wait for the policy's witnesses, by default {UNWITNESSED_SECONDS:.0f}",
    )  # fmt: skip
    command.set_defaults(run=monitor, checks=True)


def monitor(options: argparse.Namespace) -> int:
    """Look, once or again and again; the worst exit code.

    Raises ConsentError if it cannot begin, or its own memory fails.
    """
    trusted, found = pinned(options)
    webhook = options.webhook or environment_of_process().get("CONSENT_WEBHOOK", "")
    _require_usable(options, trusted, webhook)
    memory = Memory(Path(options.state))
    worst = GOOD
    try:
        while True:
            code = _once(options, trusted, found, memory, webhook)
            worst = max(worst, code, key=_SEVERITY.index)
            if options.once:
                return worst
            time.sleep(options.interval)
    except KeyboardInterrupt:
        if options.once:
            raise
        return worst
    finally:
        memory.close()


def _require_usable(options: argparse.Namespace, trusted: Trust, webhook: str) -> None:
    if not trusted.keys:
        raise ConsentError("invalid_value", "a monitor that believes anybody finds nothing: pin a key")
    if webhook and not webhook.startswith(("http://", "https://")):
        raise ConsentError("invalid_value", "the webhook's address must begin with http:// or https://")
    if not 0 <= options.sample <= SAMPLE_MAX:
        raise ConsentError("invalid_value", f"--sample is from 0 to {SAMPLE_MAX}")
    if not options.interval >= INTERVAL_SECONDS_MIN or not options.unwitnessed > 0:
        raise ConsentError(
            "invalid_value", f"--interval is {INTERVAL_SECONDS_MIN:.0f} or more, --unwitnessed more than 0"
        )


def _once(
    options: argparse.Namespace, trusted: Trust, settings: Settings, memory: Memory, webhook: str
) -> int:
    url, token = settings.url.rstrip("/"), settings.token
    source = HttpSource(url, token)
    try:
        with Ledger(settings) as ledger:
            asked = Asked(
                Timed(source),
                lambda epoch: Timed(HttpSource(f"{url}{prefix_of(epoch)}", token)),
                lambda question: _timed(lambda: ledger.check(question)),
                trusted,
                options.sample,
                options.unwitnessed,
            )
            found = look(asked, memory, time.time_ns() // 1_000, random.Random())
    finally:
        source.close()
    untold = memory.untold(ALARMS_MAX)
    known = {one.key for one in found.alarms}
    found.add(one for one in untold if one.key not in known)
    code = BAD if found.is_wrong else UNCHECKED if found.unchecked else GOOD
    _log(found, untold, code)
    _print(found, code, options.json)
    if _is_told(webhook, found.log, untold):
        memory.are_told(untold)
    return code


class Timed:
    """A log of which no file may take longer than `REQUEST_SECONDS_MAX`, however slowly bytes come: whoever
    could make a monitor wait for ever need fear no alarm."""

    def __init__(self, source: LogSource) -> None:
        self._source = source

    def read(self, path: str) -> bytes:
        """As `LogSource.read`."""
        return _timed(lambda: self._source.read(path))

    def close(self) -> None:
        """As `LogSource.close`."""
        self._source.close()


def _timed(request: Callable[[], Answer]) -> Answer:
    """What the request gives. Raises ConsentError `unavailable` if that takes too long. Main thread only."""
    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, _too_long)
    others, _ = signal.setitimer(signal.ITIMER_REAL, REQUEST_SECONDS_MAX)
    try:
        return request()
    except _TooLong:
        raise ConsentError(
            "unavailable", f"the ledger took more than {REQUEST_SECONDS_MAX:.0f} s for one answer"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if others:  # somebody around us had set one, too
            signal.setitimer(signal.ITIMER_REAL, max(others - (time.monotonic() - began), 0.001))


class _TooLong(BaseException):
    """Not to be taken for an answer, nor for a failure that is worth another attempt."""


def _too_long(number: int, frame: object) -> None:
    raise _TooLong


def _is_told(webhook: str, log: str, untold: Sequence[Alarm]) -> bool:
    if webhook and untold:
        try:
            post(webhook, log, untold)
        except ConsentError as error:
            tell("error", "webhook", detail=error.detail)
            return False
    return True


def _log(found: Found, untold: Sequence[Alarm], code: int) -> None:
    """A line for each alarm that is new, and one for a look that was not good."""
    for one in untold:
        tell("warning" if one.is_notice else "critical", one.kind, log=found.log, **_logged(one))
    if code != GOOD:
        alarms = len(found.alarms) + found.more_alarms
        tell(
            "error", "looked", log=found.log, result=_RESULTS[code], alarms=alarms, unchecked=found.unchecked
        )


def _logged(one: Alarm) -> dict[str, object]:
    said = for_programs(one)
    return {name: said[name] for name in said if name not in ("kind", "level", "log", "event", "time")}


def _print(found: Found, code: int, as_json: bool) -> None:
    if as_json:
        told = {
            "result": _RESULTS[code],
            "checked": found.checked,
            **found.facts,
            "alarms": [for_programs(one) for one in found.alarms],
            "moreAlarms": found.more_alarms,
            "unchecked": found.unchecked,
        }
        print(json.dumps(told), flush=True)
        return
    for sentence in found.checked:
        print(f"checked: {plain(sentence)}")
    for one in found.alarms:
        colour = "undecided" if one.is_notice else "deny"
        print(f"{painted(one.kind, colour)}: {plain(one.detail)}: {MEANINGS[one.kind]}")
    if found.more_alarms:
        print(f"and {found.more_alarms:,} more alarms")
    for sentence in found.unchecked:
        print(f"not checked: {plain(sentence)}")
    word, colour = _WORDS[code]
    print(f"{painted(word, colour)}  {plain(found.log)}")
    sys.stdout.flush()
