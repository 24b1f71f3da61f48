"""The folder of a replica: whose it is, and what happens to it while gates use it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_gate.election import Election
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from faulty import PURPOSE, TOKEN, Feed, connect, halves, permitted, process, ran, serving, until
from gate_ledger import gate_of
from scenario import opt_out, scope

ANOTHER_USER = 65_534
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


def can_mount() -> bool:
    """Whether this process may have a file system of its own."""
    tried = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(tried, capture_output=True).returncode == 0


mounts = pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722, 0o777, 0o1777])
def test_given_a_folder_that_others_may_write_into_then_there_is_no_gate_and_it_says_what_to_do(
    tmp_path: Path, mode: int
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConsentError, match="chmod go-w") as refused:
        Gate.connect("http://127.0.0.1:9", TOKEN, purpose=PURPOSE, replica_dir=folder)
    assert refused.value.code == "unsafe_folder"
    with Gate.connect("http://127.0.0.1:9", TOKEN, purpose=PURPOSE, replica_dir=folder / "own") as gate:
        assert not gate.check("w000")


@is_root
def test_given_a_folder_of_another_user_or_a_link_by_one_then_there_is_no_gate(tmp_path: Path) -> None:
    theirs, own, link = tmp_path / "theirs", tmp_path / "own", tmp_path / "link"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, ANOTHER_USER, ANOTHER_USER)
    own.mkdir(mode=0o700)
    link.symlink_to(own)
    Replica.open(link)
    os.chown(link, ANOTHER_USER, ANOTHER_USER, follow_symlinks=False)
    for folder in (theirs, link):
        with pytest.raises(ConsentError, match="belongs to user 65534") as refused:
            Replica.open(folder)
        assert refused.value.code == "unsafe_folder"


@is_root
@pytest.mark.parametrize("part", ["", "data.mdb", "lock.mdb"])
def test_given_a_part_of_a_replica_that_another_user_put_there_then_nothing_is_permitted(
    tmp_path: Path, part: str
) -> None:
    ledger, permits, denials = halves()
    gate_of(ledger, tmp_path, max_staleness=3600)
    (environment,) = tmp_path.glob("replica-*")
    os.chown(environment / part, ANOTHER_USER, ANOTHER_USER)
    code = """
gate = Gate(Replica.open(folder), purpose="train", max_staleness=3600)
print([gate.check(name).reasons[0].code for name in sys.argv[2:]], gate.status().state, gate.status().why)
"""
    (told,) = ran(code, tmp_path, permits[0], denials[0])
    assert told.startswith("['undecided', 'undecided'] halted")
    assert "belongs to user 65534" in told


@pytest.mark.parametrize("part", ["data.mdb", "lock.mdb"])
def test_given_a_link_planted_in_place_of_a_file_then_nothing_is_permitted(tmp_path: Path, part: str) -> None:
    ledger, permits, _ = halves()
    gate_of(ledger, tmp_path / "one", max_staleness=3600)
    (environment,) = (tmp_path / "one").glob("replica-*")
    (environment / part).rename(tmp_path / part)
    (environment / part).symlink_to(tmp_path / part)
    code = 'print(Gate(Replica.open(folder), purpose="train").check(sys.argv[2]).decision)'
    assert ran(code, tmp_path / "one", permits[0]) == ["undecided"]


def test_given_a_generous_umask_then_what_a_gate_makes_is_for_its_user_alone(tmp_path: Path) -> None:
    ledger, _, _ = halves(4)
    with serving(ledger) as feed:
        code = """
os.umask(0)
with Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder) as gate:
    print(gate.wait_until_live(20))
"""
        assert ran(code, tmp_path / "new", feed.url, TOKEN) == ["True"]
    made = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert len(made) > 4
    assert [path.name for path in made if path.stat().st_mode & 0o022] == []


def test_given_other_folders_beside_a_replica_then_they_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "one.jpg").write_text("precious")
    ledger, permits, _ = halves()
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(20) and gate.check(permits[0])
    assert (tmp_path / "photographs" / "one.jpg").read_text() == "precious"


# -- while it is in use --------------------------------------------------------------------------------------


def moved_away(folder: Path, _: Feed) -> None:
    folder.rename(folder.with_name("elsewhere"))


def removed(folder: Path, _: Feed) -> None:
    shutil.rmtree(folder)


def an_old_copy_in_its_place(folder: Path, feed: Feed) -> None:
    of_a_build = shutil.ignore_patterns("*.rows")  # there only as long as one goes on
    shutil.copytree(folder, folder.with_name("copy"), ignore=of_a_build)
    feed.given(opt_out(scope=scope("w002")))
    folder.rename(folder.with_name("elsewhere"))
    folder.with_name("copy").rename(folder)


def lock_removed(folder: Path, _: Feed) -> None:
    (folder / "leader.lock").unlink()


def current_removed(folder: Path, _: Feed) -> None:
    (folder / "current").unlink()


@pytest.mark.parametrize(
    "fault", [moved_away, removed, an_old_copy_in_its_place, lock_removed, current_removed]
)
def test_given_a_folder_that_is_taken_away_while_in_use_then_gates_go_on_by_themselves_and_follow(
    tmp_path: Path, fault: object
) -> None:
    ledger, permits, denials = halves()
    folder = tmp_path / "replica"
    with serving(ledger) as feed, connect(feed, folder) as leader, connect(feed, folder) as other:
        assert leader.wait_until_live(20) and other.wait_until_live(20)
        fault(folder, feed)  # type: ignore[operator]
        position = feed.given(opt_out(scope=scope("w004")))
        for gate in (leader, other):
            until(lambda gate=gate: gate.position() >= position and gate.status().state == "live")
            assert not gate.check("w004")
            assert permitted(gate, denials) == []
            assert gate.check(permits[3])
        with connect(feed, folder) as later:
            until(lambda: later.status().state == "live" and later.position() >= position)
            assert not later.check("w004") and later.check(permits[3])


def test_given_a_lock_file_removed_while_one_leads_then_two_do_not_lead_for_long(tmp_path: Path) -> None:
    one, other = Election(tmp_path), Election(tmp_path)
    assert one.lead() and not other.lead()
    (tmp_path / "leader.lock").unlink()
    assert other.lead()
    assert not one.lead()
    assert other.lead() and not one.lead()
    other.resign()
    assert one.lead()
    one.resign()


def test_given_a_file_system_without_locks_then_nobody_leads_and_the_gate_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    ledger, permits, _ = halves()
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        until(lambda: "No locks available" in gate.status().why)
        assert permitted(gate, permits) == []


HELD = """
import fcntl
file = open(folder / "leader.lock", "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(600)
"""


def test_given_a_lock_that_a_process_holds_and_does_nothing_then_undecided_until_it_ends(
    tmp_path: Path,
) -> None:
    ledger, permits, _ = halves()
    with serving(ledger) as feed:
        with process(HELD, tmp_path) as hung, connect(feed, tmp_path) as gate:
            assert not gate.wait_until_live(1.5)
            answer = gate.check(permits[0])
            assert (answer.decision, answer.reasons[0].code) == ("undecided", "catching_up")
            assert gate.status().why
            hung.kill()
            until(lambda: gate.check(permits[0]))


# -- disks ---------------------------------------------------------------------------------------------------

ON_A_DISK = """
mount -t tmpfs -o size=$1,mode=700 none "$2" && shift 2 && exec "$@"
"""
FULL = """
ballast = folder.parent / "ballast"
from faulty import KEY
gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder, verifier_key=KEY,
                    max_staleness=2.0)
assert gate.wait_until_live(20), gate.status()
assert gate.check("w000") and not gate.check("w001")
with open(ballast, "wb", buffering=0) as file:
    try:
        while file.write(bytes(1 << 12)):
            pass
    except OSError:
        pass
    try:
        while file.write(b"x"):
            pass
    except OSError:
        pass
print("full", flush=True)
sys.stdin.readline()
deadline = time.monotonic() + 20
while gate.check("w002"):
    assert time.monotonic() < deadline, "an opt-out was not heard of, and the gate went on permitting"
    time.sleep(0.01)
code = gate.check("w002").reasons[0].code
assert code in ("stale", "catching_up", "opt_out_requested"), code
if code != "opt_out_requested":
    while "No space left" not in gate.status().why:
        assert time.monotonic() < deadline, gate.status()
        time.sleep(0.01)
store = gate.replica.store()
if store is not None:  # whoever reads takes a slot, on a page of the lock file that nobody touched before
    held = [store.environment.lmdb.begin() for _ in range(900)]
    [one.abort() for one in held]
    del held
ballast.unlink()
while not gate.check("w000"):
    assert time.monotonic() < deadline + 20, gate.status()
    time.sleep(0.01)
assert not gate.check("w002"), "the opt-out"
gate.close()
print("again")
"""


@mounts
def test_given_a_disk_that_fills_then_stale_with_the_reason_and_live_again_when_there_is_room(
    tmp_path: Path,
) -> None:
    ledger, _, _ = halves(400)
    with serving(ledger) as feed:
        disk = ("unshare", "-m", "sh", "-c", ON_A_DISK, "sh", "1m", str(tmp_path))
        with process(FULL, tmp_path / "replica", feed.url, TOKEN, prefix=disk) as gate:
            feed.given(opt_out(scope=scope("w002")))
            told, errors = gate.communicate("go on\n", timeout=90)
            assert (told, errors, gate.returncode) == ("again\n", "", 0)


NO_ROOM = """
gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder)
deadline = time.monotonic() + 20
while "No space left" not in gate.status().why:
    assert not gate.check("w000")
    assert time.monotonic() < deadline, gate.status()
gate.close()
print("says so")
"""


@mounts
def test_given_a_disk_without_room_for_a_replica_then_the_gate_says_so(tmp_path: Path) -> None:
    ledger, _, _ = halves()
    with serving(ledger) as feed:
        disk = ("unshare", "-m", "sh", "-c", ON_A_DISK, "sh", "48k", str(tmp_path))
        assert ran(NO_ROOM, tmp_path / "replica", feed.url, TOKEN, prefix=disk) == ["says so"]


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"
"""
READING = """
gate = Gate(Replica.open(folder), purpose="train", max_staleness=3600)
print(gate.check("w000").decision, gate.status().why)
"""


@mounts
def test_given_a_folder_that_is_read_only_then_undecided_and_it_says_why(tmp_path: Path) -> None:
    ledger, permits, _ = halves()
    assert gate_of(ledger, tmp_path, max_staleness=3600).check(permits[0])
    prefix = ("unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(tmp_path))
    (told,) = ran(READING, tmp_path, prefix=prefix)
    assert told.startswith("undecided ") and "Read-only file system" in told
