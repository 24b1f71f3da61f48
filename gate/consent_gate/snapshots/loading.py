"""A snapshot becomes a replica: cells in order into an environment of their own, switched to at the end.

Whatever goes wrong before that, the replica is as it was. Needs pyarrow. Cost: about a microsecond a
workspace.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from consent_domain.errors import ConsentError

from consent_gate.replica import Replica
from consent_gate.snapshots.note import SnapshotNote

if TYPE_CHECKING:
    from consent_gate.snapshots.reading import SnapshotFile

Progress = Callable[[int, int], None]
"""Called now and then with the rows done and the rows there are."""


def load_snapshot(
    replica: Replica, path: Path, note: SnapshotNote, asked: int = 0, progress: Progress | None = None
) -> None:
    """Fill the replica, which this process leads, with the file whose note was verified.

    `asked`: see `OrderedBuild.finish`. Raises ConsentError `proof_invalid` for a file that is not what the
    note says, `not_found` for none, `unavailable` without pyarrow; lmdb.Error or OSError for a folder
    that cannot take it.
    """
    with open_snapshot(path, note) as file:
        build = replica.build_in_order(note.origin, note.epoch, note.generation)
        try:
            done = 0
            for keys, values in file.cells():
                build.add(keys, values)
                done += len(keys)
                if progress is not None:
                    progress(done, note.rows)
            build.finish(note.position, note.time, asked)
        except BaseException:
            build.abandon()
            raise


def open_snapshot(path: Path, note: SnapshotNote) -> SnapshotFile:
    """The file, whose bytes are those of the note. Raises as `load_snapshot` does."""
    try:
        from consent_gate.snapshots.reading import SnapshotFile
    except ModuleNotFoundError as error:
        raise ConsentError(
            "unavailable", f"{error.name} is not installed: pip install 'consent-gate[snapshot]'"
        ) from error
    return SnapshotFile(path, note)
