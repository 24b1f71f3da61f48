"""A replica whose bytes are not those that were written permits nobody who is denied, and is fetched anew."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_gate.boot import boot_nanoseconds
from consent_gate.damage import DamageReports, report_damage
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.replica import Replica
from faulty import PURPOSE, connect, halves, in_child, permitted, serving, until
from gate_ledger import EPOCH, replica_of

PAGE = 4096
STALENESS_SECONDS = 3600.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str], list[str]]]:
    """A replica's folder, whom it permits and whom it denies. Nobody opens it: copies are."""
    folder = tmp_path_factory.mktemp("sound")
    ledger, permits, denials = halves()
    assert in_child(lambda: replica_of(ledger, folder).position > 0)
    yield folder, permits, denials


def copied(world: Path, folder: Path) -> Path:
    """The data file of a copy of the replica at `world`, which is at `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world, folder)
    return next(folder.glob("replica-*/data.mdb"))


def new_gate(folder: Path) -> Gate:
    return Gate(Replica.open(folder), purpose=PURPOSE, max_staleness=STALENESS_SECONDS)


def flip(file: int, offset: int, bit: int) -> None:
    (byte,) = os.pread(file, 1, offset)
    os.pwrite(file, bytes([byte ^ 1 << bit]), offset)


def denies_all(folder: Path, denials: list[str]) -> bool:
    """Whether nobody who is denied is permitted, nor a stranger, by a gate that knows nothing yet."""
    gate = new_gate(folder)
    found = [*permitted(gate, [*denials, "stranger"])]
    answers = gate.check_many([*denials, "stranger"])
    return not found and not any(answers.permitted)


def test_given_any_bit_of_a_workspaces_id_or_cell_flipped_then_no_neighbour_that_is_denied_is_permitted(
    world: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    sound, permits, denials = world
    data = copied(sound, tmp_path / "copy")
    gate = new_gate(tmp_path / "copy")
    assert permitted(gate, permits + denials) == permits
    content = data.read_bytes()
    victims = (denials[3], permits[3])
    strangers = ["stranger", *(chr(ord("w") ^ 1 << bit) + denials[3][1:] for bit in range(5))]
    file = os.open(data, os.O_RDWR)
    for victim in victims:
        for start in places(content, victim.encode()):
            for offset in range(start, start + len(victim) + 19):
                for bit in range(8):
                    flip(file, offset, bit)
                    again = new_gate(tmp_path / "copy")
                    assert permitted(again, [*denials, *strangers]) == []
                    assert not any(again.check_many([*denials, *strangers]).permitted)
                    flip(file, offset, bit)
    os.close(file)
    assert permitted(new_gate(tmp_path / "copy"), permits + denials) == permits


def places(content: bytes, name: bytes) -> list[int]:
    found, start = [], content.find(name)
    while start >= 0:
        found.append(start)
        start = content.find(name, start + 1)
    return found


def test_given_bits_flipped_anywhere_in_the_file_then_nobody_denied_is_permitted(
    world: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    sound, permits, denials = world
    data = copied(sound, tmp_path / "copy")
    source = random.Random(4)
    size = data.stat().st_size

    def attacked() -> bool:
        file = os.open(data, os.O_RDWR)
        for _ in range(1_500):
            offset, bit = source.randrange(size), source.randrange(8)
            flip(file, offset, bit)
            if not denies_all(tmp_path / "copy", denials):
                return False
            flip(file, offset, bit)
        return permitted(new_gate(tmp_path / "copy"), permits + denials) == permits

    assert in_child(attacked)


def zeroed(file: int, page: int, _: random.Random) -> None:
    os.pwrite(file, bytes(PAGE), page * PAGE)


def noise(file: int, page: int, source: random.Random) -> None:
    os.pwrite(file, source.randbytes(PAGE), page * PAGE)


def swapped(file: int, page: int, source: random.Random) -> None:
    other = source.randrange(os.fstat(file).st_size // PAGE)
    os.pwrite(file, os.pread(file, PAGE, other * PAGE), page * PAGE)


@pytest.mark.parametrize("damage", [zeroed, noise, swapped])
def test_given_any_page_lost_then_nobody_denied_is_permitted(
    world: tuple[Path, list[str], list[str]],
    tmp_path: Path,
    damage: Callable[[int, int, random.Random], None],
) -> None:
    sound, _, denials = world
    pages = next(sound.glob("replica-*/data.mdb")).stat().st_size // PAGE
    for page in range(pages):
        data = copied(sound, tmp_path / "copy")
        file = os.open(data, os.O_RDWR)
        damage(file, page, random.Random(page))
        os.close(file)
        # A process may end by what LMDB makes of noise; it does not end with a permit.
        ended = in_child(lambda: (denies_all(tmp_path / "copy", denials), True)[0])
        assert ended, f"page {page}"


def test_given_a_file_cut_short_at_any_page_then_it_is_not_mapped_and_the_gate_says_why(
    world: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    sound, permits, denials = world
    pages = next(sound.glob("replica-*/data.mdb")).stat().st_size // PAGE
    for page in range(pages):
        for more in (0, 1):
            data = copied(sound, tmp_path / "copy")
            os.truncate(data, page * PAGE + more)
            gate = new_gate(tmp_path / "copy")
            assert permitted(gate, permits + denials) == []
            assert gate.check(permits[0]).reasons[0].code in ("catching_up", "undecided")
            assert gate.status().why


def test_given_any_byte_of_current_changed_or_gone_then_nothing_is_read_that_it_does_not_name(
    world: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    sound, permits, denials = world
    copied(sound, tmp_path / "copy")
    current = tmp_path / "copy" / "current"
    content = current.read_bytes()
    changed = [
        content[:offset] + bytes([byte]) + content[offset + 1 :]
        for offset in range(len(content))
        for byte in {0, 0xFF, ord('"'), ord("9"), ord("-"), ord("/"), content[offset] ^ 1} - {content[offset]}
    ]
    cut = [content[:length] for length in range(len(content))]
    for wrong in [*changed, *cut, b"\xff" * 100, b"[]", b"null", content * 2]:
        current.write_bytes(wrong)
        gate = new_gate(tmp_path / "copy")
        assert set(permitted(gate, permits + denials)) in (set(), set(permits))
    elsewhere = [
        content.replace(b"replica-", b"../copy/replica-"),
        content.replace(b'"map_bytes":', b'"map_bytes":-'),
        content.replace(b'"map_bytes":', b'"map_bytes":99999'),
    ]
    for wrong in elsewhere:
        assert wrong != content
        current.write_bytes(wrong)
        assert permitted(new_gate(tmp_path / "copy"), permits) == []


def test_given_a_damaged_cell_then_the_reader_reports_it_and_the_follower_fetches_everything_anew(
    tmp_path: Path,
) -> None:
    ledger, permits, denials = halves()
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(20)
        assert permitted(gate, permits + denials) == permits
        (data,) = tmp_path.glob("replica-*/data.mdb")
        file = os.open(data, os.O_RDWR)
        for offset in places(data.read_bytes(), permits[2].encode()):
            flip(file, offset + len(permits[2]) + 4, 2)
        os.close(file)
        answer = gate.check(permits[2])
        assert (answer.decision, answer.reasons[0].code) == ("undecided", "undecided")
        until(lambda: gate.check(permits[2]))
        assert permitted(gate, permits + denials) == permits
        until(lambda: data.parent not in tmp_path.iterdir())


def test_given_a_damaged_cell_that_a_job_meets_then_it_raises_and_the_next_one_finds_it_fetched_anew(
    tmp_path: Path,
) -> None:
    ledger, permits, denials = halves()
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(20)
        (data,) = tmp_path.glob("replica-*/data.mdb")
        file = os.open(data, os.O_RDWR)
        for offset in places(data.read_bytes(), denials[2].encode()):
            flip(file, offset + len(denials[2]) + 8, 1)
        os.close(file)
        rows = [{"workspace": name} for name in permits + denials]
        with pytest.raises(ConsentError, match="damaged"):
            list(gate.filter(rows, "workspace").data)
        until(lambda: data.parent not in tmp_path.iterdir())
        assert list(gate.filter(rows, "workspace").data) == rows[: len(permits)]


@pytest.mark.parametrize("damage", ["meta", "cut", "noise", "gone", "current"])
def test_given_a_replica_found_damaged_at_the_start_then_it_is_fetched_anew(
    tmp_path: Path, damage: str
) -> None:
    ledger, permits, denials = halves()
    with serving(ledger) as feed:

        def filled() -> bool:
            with connect(feed, tmp_path) as gate:
                return gate.wait_until_live(20)

        def healed() -> bool:
            with connect(feed, tmp_path) as gate:
                until(lambda: gate.status().state == "live")
                return permitted(gate, permits + denials) == permits

        assert in_child(filled)
        (data,) = tmp_path.glob("replica-*/data.mdb")
        content = data.read_bytes()
        if damage == "meta":
            for offset in places(content, b"\x00meta"):
                content = content[: offset + 8] + b"\xc1" + content[offset + 9 :]
            data.write_bytes(content)
        elif damage == "cut":
            os.truncate(data, len(content) // 2)
        elif damage == "noise":
            data.write_bytes(random.Random(1).randbytes(len(content)))
        elif damage == "gone":
            data.unlink()
        else:
            (tmp_path / "current").write_bytes(b"\x00" * 20)
        assert in_child(healed)


def test_given_reports_one_after_the_other_then_everything_is_not_fetched_for_each(tmp_path: Path) -> None:
    reports = DamageReports(tmp_path)
    report_damage(tmp_path / "replica-1")
    assert not reports.heed("replica-2")  # it was replaced meanwhile
    reports = DamageReports(tmp_path)
    report_damage(tmp_path / "replica-1")
    assert reports.heed("replica-1")
    assert not reports.heed("replica-1")
    report_damage(tmp_path / "replica-1")
    assert not reports.heed("replica-1")


def test_given_pages_that_were_taken_and_given_back_then_the_file_is_as_long_as_it_says(
    tmp_path: Path,
) -> None:
    ledger, _, _ = halves()
    replica = replica_of(ledger, tmp_path)
    store = replica.store()
    assert store is not None
    environment = store.environment
    for tick in range(50):
        with store.change() as change:
            facts = ledger.workspace("w001")
            for number in range(200):
                change.put("workspace", f"x{number:05d}", facts)
            for number in range(200):
                change._transaction.delete(f"x{number:05d}".encode())
        replica.note_watermark(Mark(EPOCH, len(ledger.log), ledger.now + 1 + tick, boot_nanoseconds()))
        assert (environment.path / "data.mdb").stat().st_size >= environment.file_bytes_min
