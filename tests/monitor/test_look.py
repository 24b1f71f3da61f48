"""What a monitor finds: attacks on the log first, then events, keys, epochs, witnesses, and answers."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from consent_domain import events
from consent_domain.checkpoints import log_name
from consent_domain.decide import decide
from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token, parse_token
from consent_domain.instants import micros, parse_rfc3339
from consent_domain.tiles import ENTRIES, Tile, path
from consent_domain.witness_policy import parse_policy
from consent_gate.answers import CheckAnswer, CheckRequest, wire_reason, wire_window
from consent_gate.audit.monitor import following
from consent_gate.audit.monitor.memory import Memory
from consent_gate.audit.replay import Folded
from consent_gate.audit.rules import Rules
from consent_gate.audit.sources import FolderSource
from consent_gate.signatures import Cosigner, Signer
from ledger_events import BY, ORIGIN, START, Draft, changed, enrolled, history, opt_out, policy, processed
from signed_logs import KEY, SIGNER, STRANGER, SignedLog, encoded, lawful

SIZE = 700
ENTRIES_OF_LOG = lawful(SIZE)
HONEST = SignedLog(ENTRIES_OF_LOG)
NEW = Signer(ORIGIN, b"n" * 32)
WITNESS = Cosigner("witness.test/one", b"1" * 32)
POLICY = parse_policy(f"witness one {WITNESS.verifier}\nquorum one\n")


def changed_at(position: int) -> list[bytes]:
    """The honest log with another event at `position`, as it would be if it had been so from the start."""
    drafts = list(history(SIZE))
    drafts[position - 1] = enrolled(f"other{position}")
    return encoded(drafts)


def written(monitor: Any, log: SignedLog) -> SignedLog:
    """Serve another log from now on."""
    shutil.rmtree(monitor.folder, ignore_errors=True)
    log.write(monitor.folder)
    return log


# -- an honest log -------------------------------------------------------------------------------------------


def test_given_an_honest_log_that_grows_then_each_look_reads_what_is_new_and_finds_nothing(
    monitor: Any,
) -> None:
    for first, size in ((1, 300), (301, 301), (302, 512), (513, SIZE), (SIZE + 1, SIZE)):
        written(monitor, SignedLog(ENTRIES_OF_LOG[:size]))
        found = monitor.look()
        assert (found.alarms, found.unchecked) == ([], [])
        assert (found.facts["position"], found.facts["events"]) == (size, size - first + 1)


def test_given_looks_at_any_sizes_then_what_is_remembered_is_the_fold_of_the_log(monitor: Any) -> None:
    size, chance = 0, random.Random(3)
    while size < SIZE:
        size = min(SIZE, size + chance.randint(1, 200))
        written(monitor, SignedLog(ENTRIES_OF_LOG[:size]))
        assert monitor.alarms() == []
    folded, rules = Folded(), Rules(ORIGIN)
    for position, entry in enumerate(ENTRIES_OF_LOG, 1):
        folded.fold(rules.read(position, entry))
    followed = monitor.memory.followed()
    assert followed.everybody.book == folded.book
    with monitor.memory.facts(followed.everybody.book) as facts:
        names = [f"w{n:07d}" for n in range(SIZE)]
        assert {name: facts.workspace(name) for name in names} == {
            name: folded.workspace(name) for name in names
        }


def test_given_an_empty_log_then_it_is_nothing_wrong(monitor: Any) -> None:
    written(monitor, SignedLog([]))
    assert monitor.alarms() == []
    written(monitor, HONEST)
    assert monitor.alarms() == []


# -- attacks by who has the log's key ------------------------------------------------------------------------

REWRITTEN: dict[str, tuple[Callable[[], list[bytes]], str]] = {
    "a body is changed": (lambda: changed_at(300), "forked"),
    "the last event is changed": (lambda: changed_at(SIZE), "forked"),
    "two events are swapped": (
        lambda: [*ENTRIES_OF_LOG[:100], ENTRIES_OF_LOG[101], ENTRIES_OF_LOG[100], *ENTRIES_OF_LOG[102:]],
        "forked",
    ),
    "the last events are deleted": (lambda: ENTRIES_OF_LOG[:690], "went_back"),
    "all events are deleted": (list, "went_back"),
    "the last events are deleted and others recorded": (
        lambda: [*ENTRIES_OF_LOG[:690], *encoded((enrolled(f"x{n}") for n in range(20)), 691)],
        "rewritten",
    ),
    "one is changed and more are recorded": (
        lambda: [*changed_at(10), *encoded([enrolled("x")], SIZE + 1)],
        "rewritten",
    ),
    "one is inserted": (
        lambda: encoded([*list(history(SIZE))[:5], enrolled("inserted"), *list(history(SIZE))[5:]]),
        "rewritten",
    ),
}


@pytest.mark.parametrize(("forge", "kind"), REWRITTEN.values(), ids=REWRITTEN)
def test_given_a_log_that_was_rewritten_and_signed_with_the_right_key_then_it_is_found(
    monitor: Any, forge: Callable[[], list[bytes]], kind: str
) -> None:
    written(monitor, HONEST)
    assert monitor.alarms() == []
    forged = written(monitor, SignedLog(forge()))
    found = monitor.look()
    assert [one.kind for one in found.alarms] == [kind]
    assert found.alarms[0].facts["before"] == HONEST.note.decode(), "both signed checkpoints are the evidence"
    assert found.alarms[0].facts["now"] == forged.note.decode()
    assert monitor.alarms() == [kind], "what was seen before stays what is believed"
    written(monitor, HONEST)
    assert monitor.alarms() == []


# -- what is served ------------------------------------------------------------------------------------------


def test_given_a_checkpoint_of_another_key_then_nothing_of_it_is_believed(monitor: Any) -> None:
    written(monitor, SignedLog(ENTRIES_OF_LOG, STRANGER))
    assert monitor.alarms() == ["wrong_signature"]
    assert monitor.memory.followed().position == 0


def test_given_a_checkpoint_that_is_none_then_it_is_an_alarm(monitor: Any) -> None:
    written(monitor, HONEST)
    (monitor.folder / "checkpoint").write_bytes(b"<html>")
    assert monitor.alarms() == ["wrong_signature"]


@pytest.mark.parametrize("tile", [Tile(0, 1, 256), Tile(0, 2, 188), Tile(1, 0, 2), Tile(ENTRIES, 1, 256)])
def test_given_a_tile_that_is_damaged_or_gone_then_it_is_an_alarm_until_it_is_mended(
    monitor: Any, tile: Tile
) -> None:
    written(monitor, HONEST)
    file = monitor.folder / path(tile)
    data = file.read_bytes()
    file.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    assert monitor.alarms() == ["broken"]
    file.unlink()
    assert monitor.alarms() == ["missing"]
    file.write_bytes(data)
    assert monitor.alarms() == []
    assert monitor.memory.followed().position == SIZE


def test_given_a_source_that_does_not_answer_then_it_is_no_alarm_and_not_checked(monitor: Any) -> None:
    class Silent:
        def read(self, path: str) -> bytes:
            raise ConsentError("unavailable", "nothing answers")

        def close(self) -> None:
            pass

    monitor.source = Silent()
    found = monitor.look()
    assert (found.alarms, len(found.unchecked)) == ([], 1)


def test_given_a_ledger_that_says_it_is_damaged_then_it_is_an_alarm(monitor: Any) -> None:
    class Halted:
        def read(self, path: str) -> bytes:
            raise ConsentError("damaged", "the log is damaged: an event was changed")

        def close(self) -> None:
            pass

    monitor.source = Halted()
    assert monitor.alarms() == ["halted"]


# -- events --------------------------------------------------------------------------------------------------


def replaced(old: bytes, new: bytes, position: int = 3) -> list[bytes]:
    """Ten lawful events, in one of which `old` is `new`."""
    entries = lawful(10)
    assert old in entries[position - 1]
    return [*entries[: position - 1], entries[position - 1].replace(old, new, 1), *entries[position:]]


@pytest.mark.parametrize(
    "entries",
    [
        replaced(b'"sequence":"00000000000000000003"', b'"sequence":"00000000000000000004"'),
        replaced(b'"source":"consent.test/ledger"', b'"source":"consent.test/other"'),
        replaced(b"2026-01-31T09:00:03", b"2026-01-31T09:00:02"),
        replaced(b"2026-01-31T09:00:03", b"2026-01-31T09:00:01"),
        replaced(b'"specversion":"1.0"', b'"specversion":"0.3"'),
        [*lawful(2), b"no event at all"],
    ],
)
def test_given_an_event_out_of_order_then_nothing_behind_it_is_folded(
    monitor: Any, entries: list[bytes]
) -> None:
    written(monitor, SignedLog(entries))
    assert monitor.alarms() == ["broken"]
    assert monitor.memory.followed().position == 2
    assert monitor.alarms() == ["broken"], "it stays so"


@pytest.mark.parametrize(
    "draft",
    [
        enrolled("w1"),
        changed("nobody", "free"),
        processed("workspace/w1", "never-asked"),
        Draft("organisation/none", processed("workspace/w1", "x").body),
    ],
)
def test_given_an_event_that_cannot_have_happened_then_its_stream_is_quarantined_and_it_goes_on(
    monitor: Any, draft: Draft
) -> None:
    written(monitor, SignedLog(encoded([policy(), enrolled("w1"), draft, enrolled("w2")])))
    assert monitor.alarms() == ["quarantined"]
    followed = monitor.memory.followed()
    assert followed.position == 4
    with monitor.memory.facts(followed.everybody.book) as facts:
        assert facts.workspace("w2") is not None
        name = draft.stream.partition("/")[2]
        spoilt = facts.workspace(name) or facts.organisation(name)
        assert spoilt is not None
        assert spoilt.quarantined == 3
    assert monitor.alarms() == [], "it was told, and is remembered"
    assert [one.kind for one in monitor.memory.untold(10)] == ["quarantined"]


def test_given_an_event_of_an_unknown_type_that_changes_standing_then_it_is_quarantined(monitor: Any) -> None:
    entries = replaced(b'"type":"workspace-enrolled.v1"', b'"type":"workspace-enrolled.v9"', 2)
    written(monitor, SignedLog(entries))
    assert "quarantined" in monitor.alarms()


def test_given_an_event_of_tomorrow_then_a_clock_is_wrong(monitor: Any) -> None:
    written(monitor, HONEST)
    assert set(monitor.alarms(micros(START) - 600_000_000)) == {"from_the_future"}


def test_given_a_request_past_its_due_date_then_it_is_an_alarm_until_it_is_processed(monitor: Any) -> None:
    drafts = [policy(), enrolled("w1"), opt_out("workspace/w1", "r1")]
    written(monitor, SignedLog(encoded(drafts)))
    due = micros(START + timedelta(days=30))
    assert monitor.alarms(due) == []
    assert monitor.alarms(due + 1) == ["overdue"]
    assert monitor.alarms(due + 1) == ["overdue"], "as long as it is so"
    written(monitor, SignedLog(encoded([*drafts, processed("workspace/w1", "r1")])))
    assert monitor.alarms(due + 1) == []


# -- keys ----------------------------------------------------------------------------------------------------

OVERLAP = timedelta(days=7)


def rotation(old: str = KEY, new: Signer = NEW) -> Draft:
    body = events.KeyRotated(
        recorded_by=BY, old_key=old, new_key=str(new.verifier), overlap_until=START + OVERLAP
    )
    return Draft("log/ledger", body)


def test_given_a_rotation_that_the_old_key_signed_then_the_new_one_is_believed_and_the_old_one_retires(
    monitor: Any,
) -> None:
    entries = encoded([policy(), rotation(), enrolled("w1"), enrolled("w2")])
    written(monitor, SignedLog(entries[:2]))
    found = monitor.look()
    assert [one.kind for one in found.alarms] == ["key_rotated"]
    assert not found.is_wrong, "it is told, and nothing is wrong"

    written(monitor, SignedLog(entries[:3], NEW))
    assert monitor.alarms() == []
    over = micros(START + OVERLAP) + 1
    written(monitor, SignedLog(entries))
    assert monitor.alarms(over) == ["wrong_signature"], "the old key signs alone, after its time"
    written(monitor, SignedLog(entries, NEW))
    assert monitor.alarms(over) == []


def test_given_a_rotation_of_a_key_that_nobody_pinned_then_its_new_key_is_not_believed(monitor: Any) -> None:
    entries = encoded([policy(), rotation(old=str(STRANGER.verifier)), enrolled("w1")])
    written(monitor, SignedLog(entries[:2]))
    assert monitor.alarms() == ["key_rotated_by_another"]
    written(monitor, SignedLog(entries, NEW))
    assert monitor.alarms() == ["wrong_signature"]


# -- epochs --------------------------------------------------------------------------------------------------

SECOND_LOG = log_name(ORIGIN, 2)


def continued(size: int, root: bytes | None = None, kept: list[bytes] = ENTRIES_OF_LOG) -> SignedLog:
    """The second epoch, which keeps the first `size` events."""
    root = SignedLog(kept[:size]).checkpoint.root if root is None else root
    body = events.LogContinued(recorded_by=BY, origin=ORIGIN, epoch=2, size=str(size), root=root)
    entries = [*kept[:size], *encoded([Draft("log/ledger", body), enrolled("later")], size + 1)]
    return SignedLog(entries, Signer(SECOND_LOG, bytes(range(32))), SECOND_LOG)


def first_epoch_then(monitor: Any, second: SignedLog) -> None:
    written(monitor, HONEST)
    assert monitor.alarms() == []
    HONEST.write(monitor.folder.with_name("1"))
    monitor.older[1] = monitor.folder.with_name("1")
    written(monitor, second)


def test_given_a_new_epoch_that_keeps_everything_then_it_is_told_and_followed(monitor: Any) -> None:
    first_epoch_then(monitor, continued(SIZE))
    assert monitor.alarms() == ["epoch_began"]
    followed = monitor.memory.followed()
    assert (followed.log, followed.position) == (SECOND_LOG, SIZE + 2)
    assert monitor.alarms() == []
    with monitor.memory.facts(followed.everybody.book) as facts:
        assert facts.workspace("later") is not None


def test_given_a_new_epoch_that_lost_events_then_what_was_signed_before_is_the_evidence(monitor: Any) -> None:
    first_epoch_then(monitor, continued(SIZE - 10))
    found = monitor.look()
    assert [one.kind for one in found.alarms] == ["epoch_began", "history_lost"]
    assert found.alarms[1].detail.endswith(f"keeps {SIZE - 10} of them, unchanged")
    assert found.alarms[1].facts["before"] == HONEST.note.decode()


def test_given_a_new_epoch_that_also_changed_what_it_kept_then_it_is_found(monitor: Any) -> None:
    first_epoch_then(monitor, continued(SIZE - 10, kept=changed_at(5)))
    assert monitor.look().alarms[1].detail.endswith("CHANGED")


def test_given_a_new_epoch_that_changed_all_the_same_number_of_events_then_it_is_rewritten(
    monitor: Any,
) -> None:
    first_epoch_then(monitor, continued(SIZE, kept=changed_at(5)))
    assert monitor.alarms() == ["epoch_began", "rewritten"]


def test_given_a_new_epoch_that_lies_about_what_it_continues_then_it_is_unexplained(monitor: Any) -> None:
    first_epoch_then(monitor, continued(SIZE, root=b"x" * 32))
    assert monitor.alarms() == ["epoch_unexplained"]


def test_given_a_new_epoch_without_a_word_then_it_is_unexplained(monitor: Any) -> None:
    second = SignedLog(ENTRIES_OF_LOG, Signer(SECOND_LOG, bytes(range(32))), SECOND_LOG)
    first_epoch_then(monitor, second)
    assert monitor.alarms() == ["epoch_unexplained"]


def test_given_an_epoch_that_was_left_when_it_is_served_again_then_the_log_went_back(monitor: Any) -> None:
    first_epoch_then(monitor, continued(SIZE))
    monitor.alarms()
    written(monitor, HONEST)
    assert monitor.alarms() == ["went_back"]


def test_given_the_log_of_another_ledger_under_the_same_key_then_it_is_another(monitor: Any) -> None:
    written(monitor, HONEST)
    monitor.alarms()
    other = Signer("other.test/ledger", bytes(range(32)))
    monitor.trust = monitor.trust._replace(keys=(SIGNER.verifier, other.verifier))
    written(monitor, SignedLog(ENTRIES_OF_LOG, other, "other.test/ledger"))
    assert monitor.alarms() == ["other_origin"]


# -- witnesses -----------------------------------------------------------------------------------------------


def test_given_enough_cosignatures_then_it_says_so(monitor: Any) -> None:
    monitor.with_policy(POLICY)
    log = written(monitor, SignedLog(ENTRIES_OF_LOG, cosigners=[WITNESS]))
    (monitor.folder / "checkpoint.witnessed").write_bytes(log.note)
    found = monitor.look()
    assert (found.alarms, found.facts["witnessed"]) == ([], SIZE)


@pytest.mark.parametrize("witnessed", [None, 0, 3])
def test_given_events_that_wait_for_cosignatures_then_it_is_an_alarm_once_they_waited_too_long(
    monitor: Any, witnessed: int | None
) -> None:
    monitor.with_policy(POLICY)
    written(monitor, SignedLog(ENTRIES_OF_LOG[:10]))
    if witnessed is not None:
        note = SignedLog(ENTRIES_OF_LOG[:witnessed], cosigners=[WITNESS]).note
        (monitor.folder / "checkpoint.witnessed").write_bytes(note)
    first_waiting = micros(START) + ((witnessed or 0) + 1) * 1_000_000
    assert monitor.alarms(first_waiting + 60_000_000) == []
    assert monitor.alarms(first_waiting + 60_000_001) == ["unwitnessed"]


def test_given_cosignatures_of_another_tree_then_the_views_are_split(monitor: Any) -> None:
    monitor.with_policy(POLICY)
    written(monitor, HONEST)
    note = SignedLog(changed_at(5)[:300], cosigners=[WITNESS]).note
    (monitor.folder / "checkpoint.witnessed").write_bytes(note)
    assert monitor.alarms() == ["split_view"]


def test_given_a_witnessed_checkpoint_without_the_witness_then_it_counts_for_nothing(monitor: Any) -> None:
    monitor.with_policy(POLICY)
    written(monitor, HONEST)
    (monitor.folder / "checkpoint.witnessed").write_bytes(HONEST.note)
    found = monitor.look()
    assert [one.kind for one in found.alarms] == ["unwitnessed"]
    assert "witness one has not cosigned" in found.alarms[0].detail


# -- answers -------------------------------------------------------------------------------------------------


def ledger_of(entries: list[bytes]) -> tuple[Folded, Token]:
    """A ledger that has these events, and its token."""
    folded, rules = Folded(), Rules(ORIGIN)
    for position, entry in enumerate(entries, 1):
        folded.fold(rules.read(position, entry))
    return folded, Token(ORIGIN, 1, len(entries))


def asking(entries: list[bytes]) -> Callable[[CheckRequest], CheckAnswer]:
    """How a ledger with these events answers."""
    folded, token = ledger_of(entries)

    def ask(asked: CheckRequest) -> CheckAnswer:
        if asked.known_at and parse_token(asked.known_at).position > token.position:
            raise ConsentError("invalid_token", f"{asked.known_at} lies after the last event")
        at = parse_rfc3339(asked.as_of or "2026-03-01T00:00:00Z")
        when = None if asked.collected is None or asked.collected.at is None else micros(asked.collected.at)
        collected = None if when is None else (when, when)
        decision = decide(folded, [asked.workspace], asked.purpose, (), at, collected)  # type: ignore[arg-type]
        return CheckAnswer(
            decision="permit" if decision.permit else "deny",
            standing=decision.standing,
            reasons=[wire_reason(reason) for reason in decision.reasons],
            policy_version=decision.policy_version,
            token=str(token),
            ledger_time=asked.as_of or "2026-03-01T00:00:00Z",
            staleness_ms=0,
            permitted_collected=[wire_window(window) for window in decision.windows],
            decision_id="1",
            sentence="",
        )

    return ask


def test_given_a_ledger_that_answers_as_its_log_says_then_nothing_is_wrong(monitor: Any) -> None:
    written(monitor, HONEST)
    found = monitor.look(ask=asking(ENTRIES_OF_LOG))
    assert (found.alarms, found.facts["compared"]) == ([], 100)


def test_given_a_ledger_whose_tables_say_otherwise_then_an_answer_of_it_is_the_alarm(monitor: Any) -> None:
    written(monitor, HONEST)
    without = [
        entry
        if b"opt-out" not in entry
        else entry.replace(b"opt-out-requested.v1", b"gone.v1").replace(
            b'"effect":"standing"', b'"effect":"none"'
        )
        for entry in ENTRIES_OF_LOG
    ]
    found = monitor.look(ask=asking(without))
    assert {one.kind for one in found.alarms} == {"other_decision"}


def test_given_a_ledger_that_lost_events_which_its_log_has_then_it_is_an_alarm(monitor: Any) -> None:
    written(monitor, HONEST)
    assert monitor.alarms(ask=asking(ENTRIES_OF_LOG[:-5])) == ["does_not_know"]


def test_given_a_ledger_that_answers_from_events_it_does_not_publish_then_it_is_an_alarm(
    monitor: Any,
) -> None:
    written(monitor, SignedLog(ENTRIES_OF_LOG[:-5]))
    assert monitor.alarms(ask=asking(ENTRIES_OF_LOG)) == ["unpublished"]


def test_given_a_ledger_that_does_not_answer_then_the_sample_was_not_checked(monitor: Any) -> None:
    written(monitor, HONEST)

    def silent(_: CheckRequest) -> CheckAnswer:
        raise ConsentError("unavailable", "nothing answers")

    found = monitor.look(ask=silent)
    assert (found.alarms, len(found.unchecked)) == ([], 1)


# -- memory --------------------------------------------------------------------------------------------------


class Dies(BaseException):
    """The process ends here."""


def test_given_a_monitor_that_dies_at_any_read_then_the_next_one_comes_to_the_same(
    monitor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BUNDLES_AT_ONCE", 1)
    written(monitor, HONEST)
    deaths = 0

    class Dying(FolderSource):
        def __init__(self, folder: Path, reads: int) -> None:
            super().__init__(folder)
            self.reads = reads

        def read(self, path: str) -> bytes:
            self.reads -= 1
            if self.reads < 0:
                raise Dies
            return super().read(path)

    while True:
        monitor.source = Dying(monitor.folder, deaths)
        try:
            assert monitor.alarms() == []
        except Dies:
            deaths += 1
            continue
        break
    assert deaths > 5
    whole = Memory(tmp_path / "other")
    kept, monitor.memory, monitor.source = monitor.memory, whole, None
    assert monitor.alarms() == []
    try:
        some, other = kept.followed(), whole.followed()
        assert some == other
        with kept.facts(some.everybody.book) as one, whole.facts(other.everybody.book) as two:
            for n in range(200):
                name = f"workspace/w{n:07d}"
                assert one.stream(name) == two.stream(name)
    finally:
        kept.close()


def test_given_a_memory_that_another_monitor_uses_then_it_is_refused(monitor: Any, tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="another monitor"):
        Memory(tmp_path / "memory")


@pytest.mark.parametrize("content", [b"", b"x" * 5000])
def test_given_a_memory_that_is_damaged_then_it_is_refused(tmp_path: Path, content: bytes) -> None:
    Memory(tmp_path / "m").close()
    (tmp_path / "m" / "monitor.sqlite").write_bytes(content)
    with pytest.raises(ConsentError) as caught:
        Memory(tmp_path / "m")
    assert caught.value.code == "damaged"
