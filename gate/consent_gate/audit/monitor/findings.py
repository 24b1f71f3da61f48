"""What a look comes to: what was checked, what is wrong, and what could not be checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from consent_domain.errors import ConsentError

from consent_gate.audit.monitor.alarms import Alarm, alarm
from consent_gate.audit.sources import WRONG_CODES
from consent_gate.sqlite_files import FileFailed

ALARMS_MAX = 1_000
"""Alarms that a look tells of; of more it tells the number, and remembers all."""


class Ended(Exception):
    """Nothing further can be checked in this look; why was said."""


@dataclass
class Found:
    """Sentences, the same for programs, alarms, and what could not be checked."""

    log: str = ""
    checked: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    more_alarms: int = 0
    unchecked: list[str] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        """Whether anything was found that is more than a notice."""
        return bool(self.more_alarms) or not all(one.is_notice for one in self.alarms)

    def say(self, *sentences: str, **facts: object) -> None:
        """Add what was checked."""
        self.checked += sentences
        self.facts |= facts

    def add(self, alarms: Iterable[Alarm]) -> None:
        """Add what is wrong."""
        for one in alarms:
            if len(self.alarms) < ALARMS_MAX:
                self.alarms.append(one)
            else:
                self.more_alarms += 1

    def end(self, one: Alarm) -> NoReturn:
        """Add what is wrong, so wrong that nothing further can be checked."""
        self.add((one,))
        raise Ended

    def fail(self, error: ConsentError, what: str) -> NoReturn:
        """End: with an alarm if the error says that something is wrong, else with what was not checked."""
        said, about = f"{what}: {error.detail}", f"{self.log}:{what}"
        if error.code == "damaged":
            self.end(alarm("halted", self.log, said))
        if error.code in WRONG_CODES:
            self.end(alarm("broken", about, said))
        if error.code == "not_found":
            self.end(alarm("missing", about, said))
        self.unchecked.append(f"{said} [{error.code}]")
        raise Ended

    @contextmanager
    def checking(self, what: str) -> Iterator[None]:
        """What raises inside ends the look, as `fail` has it, but for the monitor's own file."""
        try:
            yield
        except FileFailed:
            raise
        except ConsentError as error:
            self.fail(error, what)


def text_of(note: bytes) -> str:
    """A signed note as evidence in an alarm."""
    return note.decode(errors="replace")
