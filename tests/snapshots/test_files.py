"""Given a snapshot, when anything of it or its note is not as the ledger made it, then nothing is taken."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pyarrow as pa
import pytest
from consent_domain.checkpoints import parse_checkpoint
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.facts import WorkspaceFacts, pack
from consent_domain.feed import Row, decode_page
from consent_domain.instants import DAY
from consent_domain.notes import parse_note
from consent_gate import replica as replicas
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from consent_gate.signatures import Signer
from consent_gate.snapshots.loading import load_snapshot, open_snapshot
from consent_gate.snapshots.note import SnapshotNote, parse_text, read_note, sign_note, text_of
from consent_gate.snapshots.writing import SnapshotWriter
from gate_ledger import mark, replica_of, rows
from msgspec.structs import replace
from scenario import ORIGIN, Ledger, enrolled, opt_in, opt_out, scope, workspace
from snapshot_files import (
    CUSTOMERS,
    FEED,
    altered,
    book_row,
    in_order,
    note_beside,
    noted,
    sign,
    snapshot_of,
)

Groups = list[pa.Table]


def told() -> Ledger:
    """A log with customers of every kind: plain, with a history, of an organisation."""
    ledger = enrolled()
    for name in CUSTOMERS[1:]:
        ledger.given(workspace(name, plan=f"plan-{len(name)}"))
    ledger.given(
        workspace("member", organisation="corp"),
        opt_out(scope=scope("a.b")),
        opt_in(scope=scope("Zeta")),
    )
    ledger.wait(DAY)
    return ledger


@pytest.fixture
def ledger() -> Ledger:
    return told()


def load(path: Path, folder: Path, note: SnapshotNote | None = None) -> Replica:
    """A replica loaded from the file, which is believed as far as its note goes."""
    verified = read_note(note_beside(path).read_bytes(), FEED.verifier) if note is None else note
    replica = Replica.open(folder)
    load_snapshot(replica, path, verified)
    return replica


def contents(replica: Replica) -> dict[str, object]:
    with replica.snapshot() as snapshot:
        names = [key.decode() for key, _ in snapshot.cells()]
        found: dict[str, object] = {name: snapshot.workspace(name) for name in names}
        found |= {f"organisation/{name}": facts for name, facts in snapshot.organisations()}
        return found | {"book": snapshot.book, "position": snapshot.meta.position, "at": snapshot.meta.time}


# -- what is refused -----------------------------------------------------------------------------------------


def test_given_any_byte_flipped_then_the_file_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    path = snapshot_of(ledger, tmp_path)
    note = noted(ledger, path)
    whole = path.read_bytes()
    for place in {0, len(whole) - 1, *random.Random(1).sample(range(len(whole)), 40)}:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(ConsentError, match=r"proof_invalid.*SHA-256"):
            open_snapshot(path, note)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_given_a_cut_file_then_it_is_refused(ledger: Ledger, tmp_path: Path, cut: int) -> None:
    path = snapshot_of(ledger, tmp_path)
    note = noted(ledger, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ConsentError, match=r"proof_invalid.*bytes"):
        open_snapshot(path, note)


def test_given_the_note_of_another_snapshot_then_the_file_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    old = snapshot_of(ledger, tmp_path, "old.parquet")
    ledger.given(opt_out())
    new = snapshot_of(ledger, tmp_path, "new.parquet")
    with pytest.raises(ConsentError, match="proof_invalid"):
        load(old, tmp_path / "replica", noted(ledger, new))


@pytest.mark.parametrize("flip", range(0, 400, 7))
def test_given_a_note_with_any_character_changed_then_it_is_refused(flip: int) -> None:
    note = SnapshotNote(ORIGIN, 1, 1, 12, 1_700_000_000_000_000, 3, 400, "ab" * 32)
    data = sign_note(note, FEED)
    place = flip % len(data)
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    with pytest.raises(ConsentError) as refused:
        read_note(changed, FEED.verifier)
    assert refused.value.code in ("malformed", "proof_invalid", "other_origin", "invalid_value")


def test_given_a_note_by_another_key_of_the_same_name_then_it_is_refused() -> None:
    note = SnapshotNote(ORIGIN, 1, 1, 12, 1_700_000_000_000_000, 3, 400, "ab" * 32)
    with pytest.raises(ConsentError, match="proof_invalid"):
        read_note(sign_note(note, Signer(ORIGIN, b"\7" * 32)), FEED.verifier)


def test_given_a_note_of_another_ledger_then_it_is_refused() -> None:
    other = Signer("other.test/ledger", bytes(range(32)))
    note = SnapshotNote("other.test/ledger", 1, 1, 12, 1_700_000_000_000_000, 3, 400, "ab" * 32)
    with pytest.raises(ConsentError, match=r"other_origin.*pull it from there"):
        read_note(sign_note(note, other), FEED.verifier)


def test_given_a_note_of_an_older_format_then_it_says_what_to_do() -> None:
    text = text_of(SnapshotNote(ORIGIN, 1, 1, 12, 1, 3, 400, "ab" * 32)).replace("format 1", "format 0")
    with pytest.raises(ConsentError, match=r"invalid_value.*upgrade the older side"):
        parse_text(text)


def test_given_a_note_then_it_is_no_checkpoint_and_no_page_and_they_are_no_note() -> None:
    data = sign_note(SnapshotNote(ORIGIN, 1, 1, 12, 1, 3, 400, "ab" * 32), FEED)
    with pytest.raises(ConsentError):
        parse_checkpoint(parse_note(data).text)
    with pytest.raises(Unreadable):
        decode_page(data)
    with pytest.raises(ConsentError, match="malformed"):
        parse_text(f"{ORIGIN}\n12\n{'A' * 43}=\n")


@pytest.mark.parametrize(
    "changed", [{"rows": 1}, {"bytes": 1}, {"sha256": "00" * 32}], ids=["rows", "bytes", "sha256"]
)
def test_given_a_note_that_says_something_else_then_the_file_is_refused(
    ledger: Ledger, tmp_path: Path, changed: dict[str, Any]
) -> None:
    path = snapshot_of(ledger, tmp_path, **changed)
    with pytest.raises(ConsentError, match="proof_invalid"):
        load(path, tmp_path / "replica")


def swapped(groups: Groups) -> Groups:
    return [group.take(list(reversed(range(len(group))))) for group in groups]


def doubled(groups: Groups) -> Groups:
    return [pa.concat_tables([group.slice(0, 1), group]) for group in groups]


def with_column(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Groups], Groups]:
    """All groups, with the values of one column of workspaces changed."""

    def alter(groups: Groups) -> Groups:
        found = []
        for group in groups:
            if group["kind"][0].as_py() == "workspace":
                index = group.schema.get_field_index(name)
                values = pa.array(change(group[name].to_pylist()), group.schema.field(name).type)
                group = group.set_column(index, group.schema.field(name), values)
            found.append(group)
        return found

    return alter


def first(value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [value, *values[1:]]


ATTACKS: dict[str, Callable[[Groups], Groups]] = {
    "swapped rows": swapped,
    "the same ids twice": doubled,
    "groups in another order": lambda groups: [groups[-2], *groups[:-2], groups[-1]],
    "a group twice": lambda groups: [*groups[:-1], groups[-2], groups[-1]],
    "classes left out": lambda groups: groups[:-1],
    "classes first": lambda groups: [groups[-1], *groups[:-1]],
    "only classes": lambda groups: groups[-1:],
    "two kinds in a group": lambda groups: [pa.concat_tables(groups[:-1]), groups[-1]],
    "an empty id": with_column("workspace", first("")),
    "an id of strange characters": with_column("workspace", first("!")),
    "an id that is too long": with_column("workspace", first("0" * 129)),
    "no id": with_column("workspace", first(None)),
    "an ordinal below one": with_column("ordinal", first(0)),
    "an ordinal after the position": with_column("ordinal", first(10_000)),
    "no ordinal": with_column("ordinal", first(None)),
    "a class that is not there": with_column(
        "class", lambda values: [100 if v is not None else v for v in values]
    ),
    "a class below zero": with_column("class", lambda values: [-1 if v is not None else v for v in values]),
    "neither class nor facts": with_column("class", lambda values: [None] * len(values)),
    "class and facts": with_column("class", lambda values: [0] * len(values)),
    "facts that are none": with_column("facts", lambda values: [v and b"\xc1" for v in values]),
    "facts with a member more": with_column(
        "facts", lambda values: [v and bytes([v[0] + 1]) + v[1:] + b"\x01" for v in values]
    ),
    "facts of another ordinal": with_column(
        "ordinal", lambda values: [1 if n > 0 else v for n, v in enumerate(values)]
    ),
    "a time that no cell holds": with_column("since", lambda values: [None] * len(values)),
    "an organisation's name": with_column("organisation", first("corp")),
    "another column": lambda groups: [group.append_column("x", pa.nulls(len(group))) for group in groups],
    "a column less": lambda groups: [group.drop_columns(["since"]) for group in groups],
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_given_rows_that_cannot_be_then_the_file_is_refused_whoever_signed_it(
    ledger: Ledger, tmp_path: Path, attack: Callable[[Groups], Groups]
) -> None:
    path = altered(ledger, snapshot_of(ledger, tmp_path), attack)
    with pytest.raises(ConsentError, match="proof_invalid"):
        load(path, tmp_path / "replica")
    assert Replica.open(tmp_path / "replica").store() is None


def test_given_no_parquet_at_all_then_it_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "facts.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1")
    note = SnapshotNote(ORIGIN, 1, 1, 3, 1, 0, 108, "")
    note = note._replace(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ConsentError, match=r"proof_invalid.*no Parquet"):
        open_snapshot(path, note)


def test_given_a_file_that_is_written_into_while_it_is_read_then_it_is_refused(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = snapshot_of(ledger, tmp_path)
    with open_snapshot(path, noted(ledger, path)) as file, pytest.raises(ConsentError, match="wrote into it"):
        for _ in file.cells():
            with path.open("ab") as other:
                other.write(b"x")


@pytest.mark.parametrize(
    "wrong",
    [
        [Row("workspace", "b", 2, b"x"), Row("workspace", "a", 3, b"x")],
        [Row("workspace", "a", 2, b"x"), Row("workspace", "a", 3, b"x")],
        [Row("workspace", "a", 2, b"x"), Row("organisation", "b", 3, b"x")],
        [Row("workspace", "a b", 2, b"x")],
        [Row("nothing", "a", 2, b"x")],
    ],
)
def test_given_rows_out_of_order_then_none_are_written(tmp_path: Path, wrong: list[Row]) -> None:
    writer = SnapshotWriter(tmp_path / "facts.parquet")
    with pytest.raises(ConsentError, match="damaged"):
        writer.add(wrong)


# -- what is taken -------------------------------------------------------------------------------------------


def test_given_a_snapshot_then_the_replica_is_the_one_that_folding_makes(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = snapshot_of(ledger, tmp_path)
    loaded = load(path, tmp_path / "loaded")
    folded = replica_of(ledger, tmp_path / "folded")
    assert contents(loaded) == contents(folded)
    more = ledger.given(workspace("later"), opt_out())
    loaded.apply_rows(rows(more, loaded.position), len(more.log), more.now, mark(more))
    with loaded.snapshot() as snapshot:
        assert snapshot.workspace("later") == more.workspace("later")
        assert snapshot.workspace("acme") == more.workspace("acme")


def test_given_many_workspaces_then_groups_follow_each_other_and_all_are_there(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_gate.snapshots.writing.GROUP_ROWS", 3)
    path = snapshot_of(ledger, tmp_path)
    assert contents(load(path, tmp_path / "loaded")) == contents(replica_of(ledger, tmp_path / "folded"))


def test_given_facts_that_nobody_here_can_read_then_they_are_quarantined(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "facts.parquet"
    writer = SnapshotWriter(path)
    writer.add(
        [book_row(ledger), Row("workspace", "acme", 3, b"\xc1"), Row("workspace", "new", 4, b"\x91\x01")]
    )
    writer.finish()
    sign(ledger, path)
    replica = load(path, tmp_path / "replica")
    with replica.snapshot() as snapshot:
        for name in ("acme", "new"):
            facts = snapshot.workspace(name)
            assert facts is not None and facts.quarantined


def test_given_times_and_ordinals_at_the_ends_then_they_come_back(ledger: Ledger, tmp_path: Path) -> None:
    plain = ledger.workspace("acme")
    assert plain is not None
    [one] = plain.attributes
    cases = {
        "a": (-(1 << 55), 7),
        "b": ((1 << 55) - 1, 8),
        "c": (1 << 55, 9),
        "d": (-(1 << 55) - 1, 10),
        "e": (0, (1 << 40) - 1),
        "f": (0, 1 << 40),
    }
    facts = {
        name: replace(
            plain,
            position=ordinal,
            customer_since=since,
            attributes=(replace(one, since=since, position=ordinal),),
        )
        for name, (since, ordinal) in cases.items()
    }
    path = tmp_path / "facts.parquet"
    writer = SnapshotWriter(path)
    writer.add(in_order([Row("workspace", name, 9, pack(found)) for name, found in facts.items()]))
    writer.finish()
    replica = load(path, tmp_path / "replica", noted(ledger, path, position=1 << 41))
    with replica.snapshot() as snapshot:
        assert {name: snapshot.workspace(name) for name in facts} == facts


def test_given_a_snapshot_then_polars_duckdb_and_pandas_read_who_is_there(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = snapshot_of(ledger, tmp_path)
    expected = sorted([*CUSTOMERS, "member"])
    ordinals = {}
    for name in expected:
        facts = ledger.workspace(name)
        assert isinstance(facts, WorkspaceFacts)
        ordinals[name] = facts.position
    in_polars = polars.read_parquet(path).filter(polars.col("kind") == "workspace")
    assert in_polars["workspace"].to_list() == expected
    found = duckdb.read_parquet(str(path)).filter("kind = 'workspace'").project("workspace, ordinal, class")
    assert {name: ordinal for name, ordinal, _ in found.fetchall()} == ordinals
    in_pandas = pandas.read_parquet(path).query("kind == 'workspace'")
    assert dict(zip(in_pandas["workspace"], in_pandas["ordinal"], strict=True)) == ordinals
    assert in_pandas.set_index("workspace")["class"].isna().to_dict()["a.b"]  # it has a history


def test_given_a_log_without_facts_then_its_snapshot_knows_nobody(tmp_path: Path) -> None:
    path = tmp_path / "facts.parquet"
    SnapshotWriter(path).finish()
    note = noted(Ledger(), path)
    assert (note.rows, note.position) == (0, 0)
    replica = Replica.open(tmp_path / "replica")
    load_snapshot(replica, path, note)
    assert contents(replica)["position"] == 0 and not Gate(replica, purpose="train").check("acme")


# -- crashes -------------------------------------------------------------------------------------------------


def test_given_a_load_that_fails_in_the_middle_then_what_was_there_answers_on(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = replica_of(ledger, tmp_path / "replica")
    gate = Gate(replica, purpose="train")
    before = contents(replica)
    ledger.given(workspace("later"))
    path = altered(ledger, snapshot_of(ledger, tmp_path), with_column("ordinal", lambda v: [*v[:-1], 10_000]))
    with pytest.raises(ConsentError, match="proof_invalid"):
        load(path, tmp_path / "replica")
    assert contents(replica) == before and gate.check("acme")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replicas.OrderedBuild, "finish", full)
    with pytest.raises(OSError, match="No space"):
        load(snapshot_of(ledger, tmp_path), tmp_path / "replica")
    assert contents(replica) == before and gate.check("acme")
    assert len(list((tmp_path / "replica").glob("replica-*"))) == 1


def test_given_a_map_that_is_too_small_then_it_grows(ledger: Ledger, tmp_path: Path) -> None:
    for number in range(2_000):
        ledger.given(workspace(f"customer-with-a-long-name-{number:060}"))
    path = snapshot_of(ledger, tmp_path)
    replica = Replica.open(tmp_path / "replica", map_bytes=1 << 16)
    load_snapshot(replica, path, noted(ledger, path))
    with replica.snapshot() as snapshot:
        assert len(list(snapshot.cells())) == 2_000 + len(CUSTOMERS) + 1
