"""An answer's JSON, fast for the many that differ in a name and a date only.

Plain workspaces of a class get the same decision for the same question, but for whom it is about
and since when its data counts. So the rest of the text is made once for each entry and kept as
long as the entry is used; whatever is not as simple is written by `wire_answer`. Both write the
same bytes, which a test compares.
"""

from __future__ import annotations

from typing import NamedTuple

from consent_domain.decide import Decision
from consent_domain.instants import moment_of, rfc3339
from consent_domain.reasons import sentence
from consent_domain.ruling import OWN_POSITION

from consent_gate.answers import DENY, PERMIT, Answer, Basis, encode, milliseconds, wire_answer, wire_reason
from consent_gate.cells import PREFIX_BYTES, SINCE_END, decode_plain
from consent_gate.classes import Entry

TEMPLATES_MAX = 1024
_WHO = "\ue000"
"""Stands for the workspace while a sentence is made; of private use, so it means nothing to anybody."""


class _Template(NamedTuple):
    """The parts of the text that all members share."""

    before_token: bytes
    before_who: bytes
    after_who: bytes


class Renderer:
    """Writes answers. One for a process; it belongs to one thread."""

    def __init__(self) -> None:
        self._templates: dict[tuple[int, str], tuple[Entry, _Template | None]] = {}
        """By the entry's identity, which stays its own for as long as it is held here."""
        self._view: Basis | None = None
        self._of_view = b""

    def render(self, answer: Answer) -> bytes:
        """The JSON of `CheckAnswer` for an answer. About 5 µs for a plain workspace, else about 50."""
        entry, view, who = answer._decided, answer._view, answer._whom
        if isinstance(entry, Entry) and view is not None and view.asked and type(who) is str:
            template = self._template(entry, answer.purpose)
            if template is not None and _is_simple(entry, answer):
                return self._filled(template, answer, view, who)
        return encode(wire_answer(answer))

    def _filled(self, template: _Template, answer: Answer, view: Basis, who: str) -> bytes:
        if view is not self._view:
            self._view = view
            self._of_view = f'{view.token}","ledgerTime":"{rfc3339(view.at)}","stalenessMs":'.encode()
        windows = b""
        if answer.decision == PERMIT:
            windows = b'{"from":%b}' % encode(moment_of(decode_plain(answer._cell)[2]))
        return b'%b%b%d,"permittedCollected":[%b],"decisionId":"%b","sentence":%b%b%b' % (
            template.before_token,
            self._of_view,
            milliseconds(answer._age / 1_000_000_000),
            windows,
            answer.decision_id.encode(),
            template.before_who,
            who.encode(),
            template.after_who,
        )

    def _template(self, entry: Entry, purpose: str) -> _Template | None:
        key = (id(entry), purpose)
        known = self._templates.get(key)
        if known is None or known[0] is not entry:
            if len(self._templates) >= TEMPLATES_MAX:
                self._templates.clear()
            known = self._templates[key] = (entry, _template_of(entry, purpose))
        return known[1]


def _is_simple(entry: Entry, answer: Answer) -> bool:
    """Whether all members are denied alike, or this one's whole past is one permitted window."""
    if not entry.ruling.permit:
        return answer.decision == DENY
    since = answer._cell[PREFIX_BYTES:SINCE_END]
    return (
        answer.decision == PERMIT
        and since >= entry.permit_from
        and entry.ruling.timeline[-1].start <= decode_plain(answer._cell)[2]
    )


def _template_of(entry: Entry, purpose: str) -> _Template | None:
    """The shared parts; None if a reason names the member's own enrolment."""
    ruling = entry.ruling
    if any(reason.position == OWN_POSITION for reason in ruling.reasons):
        return None
    decision = Decision(ruling.permit, ruling.standing, ruling.reasons, ruling.policy_version, ())
    said = encode(sentence(decision, _WHO, purpose)).split(_WHO.encode())
    if len(said) != 2:
        return None
    reasons = encode([wire_reason(reason) for reason in ruling.reasons])
    before = b'{"decision":"%b","standing":%b,"reasons":%b,"policyVersion":%b,"token":"' % (
        (PERMIT if ruling.permit else DENY).encode(),
        encode(ruling.standing),
        reasons,
        encode(ruling.policy_version),
    )
    return _Template(before, said[0], said[1] + b"}")
