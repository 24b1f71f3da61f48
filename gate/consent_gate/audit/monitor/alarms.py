"""What a monitor can find, and what each of it means."""

from __future__ import annotations

import msgspec

MEANINGS = {
    "wrong_signature": "a checkpoint is not signed by a key that is pinned: it is another log, or a forgery",
    "forked": "THE LOG FORKED: two trees of one size, both signed by it",
    "rewritten": "THE LOG WAS REWRITTEN: what it signed before is not how it begins now",
    "went_back": "the log shows a smaller tree than it showed before: events were taken back, or hidden",
    "split_view": "A WITNESS SAW ANOTHER LOG: what it was shown contradicts what is served here",
    "behind_witness": "a witness cosigned more than is served here: this view of the log is held back",
    "unwitnessed": "events wait too long for the cosignatures that the policy asks for",
    "unpublished": "the ledger answers from events that its log does not publish",
    "halted": "the ledger says that its log is damaged, and has stopped",
    "broken": "what is served is not what was signed, or is out of order: nothing behind it is folded",
    "missing": "a file of the log is not served, so it cannot be checked",
    "quarantined": "an event cannot be read, or cannot have happened: what depends on it is denied",
    "from_the_future": "an event was recorded later than it is now: one of the two clocks is wrong",
    "overdue": "a request is past its due date and still open",
    "key_rotated": "the log's key gave way to another one, signed into the log by the old one",
    "key_rotated_by_another": "a rotation replaces a key that this monitor does not know",
    "epoch_began": "the log was continued in a new epoch: look into why, and what was lost",
    "epoch_unexplained": "a new epoch began without saying truthfully what it continues",
    "history_lost": "the new epoch does not have events that the older one had signed",
    "does_not_know": "the ledger does not know events that its log has published: it lost or hides them",
    "other_decision": "the ledger decided otherwise than its own log says",
    "other_origin": "the events are of another ledger than before",
}
"""Kind of an alarm → what it means."""

NOTICES = frozenset({"key_rotated"})
"""Kinds that are told and are nothing wrong."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """`key` makes it the same alarm when it is found again; `detail` says what was found, where."""

    kind: str
    key: str
    detail: str
    facts: dict[str, str] = {}

    @property
    def is_notice(self) -> bool:
        """Whether it is told and is nothing wrong."""
        return self.kind in NOTICES


def alarm(kind: str, about: object, detail: str, **facts: object) -> Alarm:
    """An alarm of a kind of `MEANINGS`; `about` is what makes it another one."""
    assert kind in MEANINGS, f"{kind} has no meaning"
    return Alarm(
        kind=kind,
        key=f"{kind}:{about}",
        detail=detail,
        facts={name: str(value) for name, value in facts.items()},
    )
