"""Events, proven ones, by the rules and by the domain's own fold; what breaks them is an alarm.

The fold goes on behind an event that cannot be read or cannot have happened: it quarantines what the
event is about, as the ledger itself must. It never goes on behind a broken order (`audit.rules` 1 to 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from consent_domain.errors import ConsentError
from consent_domain.events import KeyRotated, LogContinued
from consent_domain.evolve import quarantine
from consent_domain.facts import Book, home_of
from consent_domain.instants import Micros, micros, moment_of
from consent_domain.state import BookState, StreamState, fold, fold_book
from msgspec.structs import replace

from consent_gate.audit.monitor.alarms import Alarm, alarm
from consent_gate.audit.monitor.heads import named_by_origin
from consent_gate.audit.monitor.memory import Followed, Keys
from consent_gate.audit.rules import Read, Rules
from consent_gate.signatures import Verifier

CLOCKS_APART_MAX: Micros = 300_000_000


class Batch:
    """Consecutive events on top of what was followed: add them, then read what they come to."""

    def __init__(
        self,
        followed: Followed,
        stream: Callable[[str], StreamState | None],
        pinned: Sequence[Verifier],
        now: Micros,
    ) -> None:
        """`stream` gives what is remembered of a stream."""
        self._stream = stream
        self._pinned = pinned
        self._now = now
        self._everybody = followed.everybody
        self._origin, self._log = followed.origin, followed.log
        self._position, self._keys = followed.position, followed.keys
        self.streams: dict[str, StreamState] = {}
        """Every stream that the batch changed."""
        self.alarms: list[Alarm] = []
        self.continued: list[tuple[int, LogContinued]] = []
        """Position and body of every `log-continued`."""

    @property
    def followed(self) -> Followed:
        """How far the log is followed with this batch."""
        return Followed(self._origin, self._log, self._position, self._keys, self._everybody)

    def add(self, rules: Rules, begin: int, entries: Iterable[bytes]) -> None:
        """Fold entries from position `begin` on.

        Raises what `Rules.read` does, ProofInvalid or Unreadable, where nothing behind can be folded.
        """
        for position, entry in enumerate(entries, begin):
            read = rules.read(position, entry)
            self._require_origin(read)
            self._fold(read)
            self._position = position

    def _require_origin(self, read: Read) -> None:
        source = read.envelope.source
        if self._origin and source != self._origin:
            raise ConsentError(
                "proof_invalid",
                f"event {read.position} is of {source[:140]!r}, and those before it are of {self._origin!r}",
            )
        self._origin = source

    def _fold(self, read: Read) -> None:
        position, stream = read.position, read.envelope.subject
        if micros(read.envelope.time) > self._now + CLOCKS_APART_MAX:
            self._alarm("from_the_future", position, f"event {position} of {read.envelope.time.isoformat()}")
        for_everybody = home_of(stream) == home_of("log")
        why = read.wrong
        if not why:
            try:
                if for_everybody:
                    self._everybody = fold_book(self._everybody, read.event)
                else:
                    self.streams[stream] = fold(self._known(stream), read.event)
            except AssertionError as error:
                why = f"{read.envelope.type} cannot have happened: {error}"
        if why:
            self._alarm("quarantined", position, f"event {position} on {stream}: {why}", stream=stream)
            self._quarantine(stream, position, for_everybody)
            return
        if isinstance(read.body, KeyRotated):
            self._rotated(position, read.body)
        elif isinstance(read.body, LogContinued):
            self.continued.append((position, read.body))

    def _known(self, stream: str) -> StreamState | None:
        known = self.streams.get(stream)
        return self._stream(stream) if known is None else known

    def _quarantine(self, stream: str, position: int, for_everybody: bool) -> None:
        if for_everybody:
            state = self._everybody
            book = quarantine(state.book, stream, position)
            assert isinstance(book, Book), "what holds for everybody stays so"
            versions = {**state.versions, stream: state.versions.get(stream, 0) + 1}
            self._everybody = BookState(book, state.proposals, versions, position)
            return
        known = self._known(stream) or StreamState()
        facts = quarantine(known.facts, stream, position)
        assert not isinstance(facts, Book), "a stream of one stays so"
        self.streams[stream] = replace(known, version=known.version + 1, position=position, facts=facts)

    def _rotated(self, position: int, body: KeyRotated) -> None:
        """Believe the new key because the old one, which is believed, signed this event into the log."""
        until = moment_of(micros(body.overlap_until)).isoformat()
        said = f"event {position}: {body.old_key} gives way to {body.new_key}, both sign until {until}"
        known = {named_by_origin(key, self._origin) for key in self._pinned} | set(self._keys.accepted)
        if body.old_key not in known or not _is_key(body.new_key):
            self._alarm("key_rotated_by_another", position, said)
            return
        self._keys = Keys(
            tuple(dict.fromkeys((*self._keys.accepted, body.new_key))),
            {**self._keys.retired, body.old_key: micros(body.overlap_until)},
        )
        self._alarm("key_rotated", position, f"{said}; pin the new one", key=body.new_key)

    def _alarm(self, kind: str, about: object, detail: str, **facts: object) -> None:
        self.alarms.append(alarm(kind, f"{self._log}:{about}", detail, **facts))


def _is_key(text: str) -> bool:
    try:
        Verifier.parse(text)
    except ConsentError:
        return False
    return True
