"""The replica: rows, position and watermark move together, forward, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from consent_domain.errors import ConsentError
from consent_domain.facts import BOOK_ID, pack
from consent_domain.feed import Row
from consent_domain.instants import DAY
from consent_gate import boot, environments
from consent_gate import replica as replicas
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.replica import Recorded, Replica
from gate_ledger import EPOCH, gate_of, mark, recorded, replica_of, rows
from scenario import ORIGIN, enrolled, opt_out, workspace


def fresh(folder: Path, map_bytes: int = environments.MAP_BYTES) -> Replica:
    replica = Replica.open(folder, map_bytes)
    replica.build(ORIGIN, EPOCH).finish(0)
    return replica


def test_given_a_gap_in_the_events_then_nothing_is_applied(tmp_path: Path) -> None:
    ledger, replica = enrolled(), fresh(tmp_path)
    events = recorded(ledger)
    with pytest.raises(ConsentError, match="wrong_state"):
        replica.apply_events([events[0], events[2]])
    assert replica.position == 0
    replica.apply_events(events[:2])
    for wrong in (events[:1], events[1:2], events[3:4]):
        with pytest.raises(ConsentError, match="wrong_state"):
            replica.apply_events(wrong)
    assert replica.position == 2


def test_given_rows_from_before_the_position_then_they_are_refused(tmp_path: Path) -> None:
    ledger = enrolled()
    replica = replica_of(ledger, tmp_path)
    with pytest.raises(ConsentError, match="wrong_state"):
        replica.apply_rows([], len(ledger.log) - 1, ledger.now)


def test_events_and_rows_lead_to_the_same_facts(tmp_path: Path) -> None:
    ledger = enrolled().given(workspace("w2"), opt_out())
    folded = replica_of(ledger, tmp_path / "folded")
    built = Replica.open(tmp_path / "built")
    build = built.build(ORIGIN, EPOCH)
    for row in rows(ledger):
        build.add([row])
    build.finish(len(ledger.log), ledger.now, mark(ledger))
    with folded.snapshot() as one, built.snapshot() as other:
        assert dict(one.cells()) == dict(other.cells())
        assert one.book == other.book == ledger.book
        assert one.organisation("corp") == other.organisation("corp") == ledger.organisation("corp")
        for name in ("acme", "w2"):
            assert one.workspace(name) == ledger.workspace(name)


def test_given_a_watermark_ahead_older_or_of_another_epoch_then_it_does_not_count(tmp_path: Path) -> None:
    ledger = enrolled()
    replica = replica_of(ledger, tmp_path)
    before = replica.meta
    assert before is not None
    now = boot_nanoseconds()
    for position, time, epoch in (
        (len(ledger.log) + 1, ledger.now + 1, EPOCH),
        (len(ledger.log), ledger.now, EPOCH),
        (len(ledger.log), ledger.now - 1, EPOCH),
        (len(ledger.log) - 1, ledger.now + 1, EPOCH),
        (len(ledger.log), ledger.now + 1, EPOCH + 1),
    ):
        replica.note_watermark(Mark(epoch, position, time, now))
        assert replica.meta == before
    replica.note_watermark(Mark(EPOCH, len(ledger.log), ledger.now + 1, before.watermark_asked))
    assert replica.meta == before


def test_given_an_opt_out_between_watermarks_then_it_denies_at_once(tmp_path: Path) -> None:
    ledger = enrolled()
    gate = gate_of(ledger, tmp_path)
    assert gate.check("acme")
    position = len(ledger.log)
    ledger.given(opt_out())
    gate.replica.apply_events(recorded(ledger, position))  # its time is later than any watermark's
    assert not gate.check("acme")


def test_given_an_unreadable_event_then_its_stream_is_denied_and_others_go_on(
    tmp_path: Path,
) -> None:
    ledger = enrolled().given(workspace("w2"))
    gate = gate_of(ledger, tmp_path)
    position = len(ledger.log)
    unreadable = [Recorded(position + 1, "workspace/acme", b"{"), Recorded(position + 2, "run/r", b"\xff")]
    gate.replica.apply_events(unreadable)
    answer = gate.check("acme")
    assert (answer.decision, answer.reasons[0].code) == ("deny", "quarantined")
    assert gate.check("w2")
    gate.replica.apply_events([Recorded(position + 3, "policy/principles", b"{")])
    assert gate.check("w2").reasons[0].code == "quarantined"


def test_given_an_event_whose_bytes_name_another_position_then_its_stream_is_denied(tmp_path: Path) -> None:
    ledger = enrolled()
    gate = gate_of(ledger, tmp_path)
    gate.replica.apply_events([Recorded(len(ledger.log) + 1, "workspace/acme", ledger.log[-1])])
    assert gate.check("acme").reasons[0].code == "quarantined"


@pytest.mark.parametrize("kind", ["workspace", "organisation", "book"])
def test_given_facts_with_a_member_unknown_here_then_whatever_depends_on_them_is_denied(
    tmp_path: Path, kind: str
) -> None:
    ledger = enrolled().given(workspace("w2", organisation="corp"))
    gate = gate_of(ledger, tmp_path)
    assert gate.check("w2")
    facts = {
        "workspace": ledger.workspace("w2"),
        "organisation": ledger.organisation("corp"),
        "book": ledger.book,
    }
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(pack(facts[kind])), "frozen"])
    name = {"workspace": "w2", "organisation": "corp", "book": BOOK_ID}[kind]
    for unreadable in (longer, b"\x93", b""):
        through = gate.replica.position + 1
        gate.replica.apply_rows([Row(kind, name, through, unreadable)], through, ledger.now)
        assert gate.check("w2").reasons[0].code == "quarantined"


def test_given_another_boot_then_the_replica_is_thrown_away_unopened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = enrolled()
    replica = replica_of(ledger, tmp_path)
    assert replica.position == len(ledger.log)
    monkeypatch.setattr(replicas, "boot_id", lambda: "another")
    again = Replica.open(tmp_path)
    assert again.meta is None
    answer = Gate(again, purpose="train").check("acme")
    assert (bool(answer), answer.decision, answer.reasons[0].code) == (False, "undecided", "catching_up")
    again.clear_others()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    assert boot.boot_id() == boot.boot_id() != "another"


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\x00" * 50])
def test_given_a_torn_name_of_the_current_replica_then_there_is_none(tmp_path: Path, content: bytes) -> None:
    replica_of(enrolled(), tmp_path)
    (tmp_path / "current").write_bytes(content)
    assert Replica.open(tmp_path).meta is None


def test_given_a_map_that_fills_then_the_replica_moves_to_a_larger_one(
    tmp_path: Path,
) -> None:
    replica = fresh(tmp_path, map_bytes=256 * 1024)
    ledger = enrolled()
    replica.apply_events(recorded(ledger), mark(ledger))
    gate = Gate(replica, purpose="train", max_staleness=60)
    assert gate.check("acme")
    facts = pack(ledger.workspace("acme"))
    position = len(ledger.log)
    for _ in range(20):
        through = position + 500
        replica.apply_rows(
            [Row("workspace", f"w{number}", number, facts) for number in range(position + 1, through + 1)],
            through,
            ledger.now,
        )
        position = through
        assert gate.check("acme")
        assert gate.check(f"w{through}")
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_given_a_snapshot_larger_than_its_map_then_it_is_built_all_the_same(tmp_path: Path) -> None:
    replica = Replica.open(tmp_path, map_bytes=64 * 1024)
    ledger = enrolled()
    facts = pack(ledger.workspace("acme"))
    build = replica.build(ORIGIN, EPOCH)
    build.add([Row("workspace", f"w{number}", number, facts) for number in range(1, 5_000)])
    build.finish(5_000)
    with replica.snapshot() as snapshot:
        assert sum(1 for _ in snapshot.cells()) == 4_999


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from gate_ledger import gate_of, recorded
from scenario import enrolled, workspace
from consent_domain.facts import pack
from consent_domain.feed import Row
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = enrolled()
gate = gate_of(ledger, Path(sys.argv[1]), max_staleness=60)
facts = pack(ledger.workspace("acme"))
size = 8 * 4096
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
position = gate.replica.position
try:
    gate.replica.apply_rows([Row("workspace", f"w{n}", n, facts) for n in range(10, 5000)], 5000, ledger.now)
except Exception as error:
    print(type(error).__module__, type(error).__name__)
assert gate.replica.position == position, gate.replica.position
assert not gate.check("w10") and gate.check("w10").reasons[0].code == "unknown_workspace"
assert gate.check("acme")
print("kept", gate.status().state)
"""


def test_given_a_full_disk_then_nothing_of_a_change_is_kept_and_checks_go_on(tmp_path: Path) -> None:
    tests = [path for path in sys.path if path.endswith("tests")]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), *tests], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "kept live", done.stdout
    assert "lmdb" in done.stdout


def test_given_a_build_that_is_not_finished_then_nothing_is_permitted(tmp_path: Path) -> None:
    ledger = enrolled()
    replica = replica_of(ledger, tmp_path)
    gate = Gate(replica, purpose="train")
    assert gate.check("acme")
    build = replica.build(ORIGIN, EPOCH)
    build.add(rows(ledger))
    assert gate.check("acme").reasons[0].code == "catching_up"
    build.finish(len(ledger.log), ledger.now, mark(ledger))
    assert gate.check("acme")


def test_given_a_switch_then_a_reader_follows_with_its_next_check(tmp_path: Path) -> None:
    ledger = enrolled()
    replica = replica_of(ledger, tmp_path)
    gate = Gate(Replica.open(tmp_path), purpose="train")
    assert gate.check("acme")
    ledger.given(opt_out())
    build = replica.build(ORIGIN, EPOCH)
    build.add(rows(ledger))
    build.finish(len(ledger.log), ledger.now, mark(ledger))
    assert gate.check("acme").reasons[0].code == "opt_out_requested"


def test_given_more_classes_than_numbers_then_the_others_take_cells_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_gate.cells.CLASS_COUNT_MAX", 2)
    ledger = enrolled().given(*(workspace(f"w{number}", plan=f"p{number}") for number in range(5)))
    ledger.wait(DAY)
    gate = gate_of(ledger, tmp_path)
    with gate.replica.snapshot() as snapshot:
        assert [cell[:1] for _, cell in snapshot.cells()].count(b"W") == 4
    assert all(gate.check(f"w{number}") for number in range(5))


def test_given_an_environment_that_another_program_wrote_then_it_is_undecided(tmp_path: Path) -> None:
    replica = replica_of(enrolled(), tmp_path)
    store = replica.store()
    assert store is not None
    with store.environment.lmdb.begin(write=True) as transaction:
        transaction.put(b"\x00meta", b"M\xc1")
    answer = Gate(replica, purpose="train").check("acme")
    assert (answer.decision, bool(answer)) == ("undecided", False)
