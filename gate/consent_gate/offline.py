"""Offline: a gate over a snapshot, where no ledger can be reached. Asked for by name, never fallen back to.

    gate = Gate.offline("facts.parquet", verifier_key=KEY, purpose="train.global", max_age=86_400)

A snapshot knows nothing of what was recorded after it. So it is judged for the ledger's time in its signed
note, and whatever it knows to change by now is denied as `stale`. It permits only while it is younger
than `max_age`, by two clocks at once: the host's, and the boot clock since it was loaded, which nobody can
set back. A host's clock that stands before the snapshot's time, or is seen to step back, tells no age, and
so nothing is permitted.

It is loaded into a replica of its own in the user's cache folder, that all processes share until the next
boot. Those that no process uses are removed when another one is made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from time import time_ns as wall_nanoseconds
from typing import NamedTuple

from consent_domain.errors import ConsentError
from consent_domain.instants import Micros, rfc3339

from consent_gate.boot import boot_nanoseconds
from consent_gate.cells import Meta
from consent_gate.election import Election
from consent_gate.folders import PRIVATE_FILE, cache_folder, make_private
from consent_gate.reader import Reader, View
from consent_gate.replica import Replica
from consent_gate.signatures import Verifier
from consent_gate.snapshots.loading import load_snapshot, open_snapshot
from consent_gate.snapshots.note import NOTE_BYTES_MAX, SnapshotNote, note_beside, read_note

LOAD_SECONDS_MAX = 600.0
"""How long a process waits for another one that loads the same snapshot."""
STEP_NANOSECONDS_MAX = 1_000_000_000
"""A clock that goes slower than the boot clock is not one that steps back."""
NOW_NANOSECONDS_MAX = 1_000_000_000
"""For how long a gate takes the same time for now."""
_PREFIX = "offline-"
_USED = "used.lock"
_LOOK_SECONDS = 0.05


class OfflineSnapshot(NamedTuple):
    """The SHA-256 of a snapshot, hex, and how old it was when it was asked."""

    sha256: str
    age_seconds: float

    def as_json(self) -> dict[str, object]:
        """The members, for `json.dumps`."""
        return {"snapshotSha256": self.sha256, "ageSeconds": round(self.age_seconds, 3)}


class AgingReader(Reader):
    """A reader of facts that do not change, while time goes on: what is known to change by now is denied.

    So what was worked out a second ago is worked out again.
    """

    _view: View | None = None

    @property
    def view(self) -> View | None:
        """What was read last, until the time for which it was read: a second, however long that took."""
        made, now = self._view, self._until()
        if made is None or made.tables.until is None or now is None:
            return None
        return made if 0 <= now - made.tables.until < NOW_NANOSECONDS_MAX // 1_000 else None

    @view.setter
    def view(self, made: View | None) -> None:
        self._view = made

    def aged(self, view: View) -> View:
        """As old as the clock says that says more."""
        assert view.tables.until is not None, "it is asked for each view"
        age = view.tables.until - NOW_NANOSECONDS_MAX // 1_000 - view.at
        return view._replace(asked=min(view.asked, boot_nanoseconds() - age * 1_000))


class Offline:
    """A loaded snapshot, and the clocks by which it ages: what `Gate` is given as its `Following`."""

    def __init__(self, path: Path, note: SnapshotNote, max_age: float, asked: int, used: int) -> None:
        """`asked` is the boot clock (ns) at the snapshot's time, `used` an open file, let go at the end."""
        self.note = note
        self.path = path
        self.max_age = max_age
        self._asked = asked
        self._used = used
        self._time = note.time * 1_000
        self._fastest = wall_nanoseconds() - boot_nanoseconds()
        self._stepped_back = False

    @property
    def age_seconds(self) -> float:
        """How old the snapshot is, by the clock that says more."""
        return max(wall_nanoseconds() - self._time, boot_nanoseconds() - self._asked) / 1e9

    def stated(self) -> OfflineSnapshot:
        """What reports say that they stand on."""
        return OfflineSnapshot(self.note.sha256, self.age_seconds)

    def now(self) -> Micros:
        """The ledger's time by now, as far as the clocks here can say."""
        return self.note.time + int(self.age_seconds * 1_000_000) + NOW_NANOSECONDS_MAX // 1_000

    def reader(self, replica: Replica) -> Reader:
        """A reader of the snapshot's replica."""
        return AgingReader(replica, until=self.now)

    def tells_no_age(self) -> bool:
        """Whether the host's clock cannot be believed, or says more than `max_age` when the boot clock does
        not: `Gate`'s `halted`."""
        now, boot = wall_nanoseconds(), boot_nanoseconds()
        ahead = now - boot
        if ahead < self._fastest - STEP_NANOSECONDS_MAX:
            self._stepped_back = True
        elif ahead > self._fastest:
            self._fastest = ahead
        if self._stepped_back or now < self._time:
            return True
        age_max = int(self.max_age * 1e9)
        return now - self._time > age_max >= boot - self._asked

    @property
    def code(self) -> str:
        """Nothing that goes wrong with a snapshot has one."""
        return ""

    @property
    def why(self) -> str:
        """What the gate stands on, and what is wrong with it."""
        said = (
            f"offline, on snapshot {self.note.sha256} of {rfc3339(self.note.time)}: "
            f"{self.age_seconds:.0f} s old, at most {self.max_age:.0f} s"
        )
        if self._stepped_back:
            return f"{said}; the host's clock stepped back, so nothing is permitted: open the gate again"
        if wall_nanoseconds() < self._time:
            return f"{said}; the host's clock is before the snapshot's time: set it"
        return f"{said}; too old: pull a newer one" if self.age_seconds > self.max_age else said

    def start(self) -> None:
        """Nothing is followed."""

    def stop(self) -> None:
        """Let others remove the replica, once no process uses it. Idempotent."""
        used, self._used = self._used, -1
        if used >= 0:
            os.close(used)


def note_of(path: Path, verifier: Verifier | None) -> SnapshotNote:
    """The note beside a snapshot, verified. Raises ConsentError `not_found`, and as `read_note` does."""
    beside = note_beside(path)
    try:
        with beside.open("rb") as file:
            data = file.read(NOTE_BYTES_MAX + 1)
    except OSError as error:
        raise ConsentError(
            "not_found", f"{beside} cannot be read ({error.strerror}); pull the snapshot with its note"
        ) from error
    return read_note(data, verifier)


def open_offline(
    path: Path, verifier_key: str, max_age: float, replica_dir: Path | None = None
) -> tuple[Replica, Offline]:
    """The replica of a snapshot that the key vouches for, loaded unless it is there, and its clocks.

    Raises ConsentError `invalid_value` for a key or an age that is none, `not_found`, `proof_invalid`,
    `malformed` and `other_origin` for a file that is not to be believed, `stale` if the host's clock is
    before the snapshot's time, `unsafe_folder`, `unavailable` for a folder that cannot be made; OSError or
    lmdb.Error for one that cannot take it.
    """
    if not 0 < max_age < float("inf"):
        raise ConsentError("invalid_value", f"max_age is a number of seconds above 0, and not {max_age!r}")
    note = note_of(path, Verifier.parse(verifier_key))
    with open_snapshot(path, note):
        pass  # whatever is loaded already, the file is what the note says
    now, boot = wall_nanoseconds(), boot_nanoseconds()
    if now < note.time * 1_000:
        raise ConsentError(
            "stale", f"the snapshot is of {rfc3339(note.time)}, and the host's clock is before that: set it"
        )
    folder = replica_dir or cache_folder() / f"{_PREFIX}{note.sha256[:32]}"
    used = _hold(folder)
    try:
        if replica_dir is None:
            _remove_unused(folder)
        replica = Replica.open(folder, source=f"snapshot {note.sha256}")
        asked = _loaded(replica, path, note, boot - (now - note.time * 1_000) or -1)
    except BaseException:
        os.close(used)
        raise
    return replica, Offline(path, note, max_age, asked, used)


def _loaded(replica: Replica, path: Path, note: SnapshotNote, asked: int) -> int:
    """Load the snapshot unless it is there; from when its age counts, on the boot clock."""
    election = Election(replica.folder)
    deadline = time.monotonic() + LOAD_SECONDS_MAX
    try:
        if election.lead():
            replica.heed_reports()
        while True:
            meta = replica.meta
            if meta is not None and _is_of(meta, replica, note):
                return meta.watermark_asked
            if election.lead():
                replica.clear_others()
                load_snapshot(replica, path, note, asked)
            elif time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)
            else:
                raise ConsentError(
                    "unavailable", f"another process has been loading {path} for {LOAD_SECONDS_MAX:.0f} s"
                )
    finally:
        election.resign()


def _is_of(meta: Meta, replica: Replica, note: SnapshotNote) -> bool:
    return (
        meta.complete
        and meta.source == replica.source
        and (meta.origin, meta.epoch, meta.position) == note.token
        and meta.time == note.time
    )


# -- replicas of snapshots in the cache ----------------------------------------------------------------------


def _hold(folder: Path) -> int:
    """An open file that says, as long as it is open, that somebody uses the folder."""
    while True:
        make_private(folder)
        used = os.open(folder / _USED, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        fcntl.flock(used, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(folder / _USED), os.fstat(used)):
                return used
        os.close(used)  # somebody removed the folder in between


def _remove_unused(folder: Path) -> None:
    for other in folder.parent.glob(f"{_PREFIX}*"):
        if other == folder:
            continue
        try:
            used = os.open(other / _USED, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(other, ignore_errors=True)
        except BlockingIOError:
            pass  # in use
        finally:
            os.close(used)
