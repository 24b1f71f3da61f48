"""Given data without an end, or a name that others want, when filtered, then nobody takes half for whole."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from consent_domain.errors import ConsentError
from consent_gate.commands.filter import _keep
from consent_gate.formats import writing
from consent_gate.formats.format import Format
from consent_gate.formats.writing import Target, write_whole
from pipes_files import filtered

TABLE = pa.table({"w": ["good", "bad", "good"], "n": [1, 2, 3]})
END = b"\xff\xff\xff\xff\0\0\0\0"


def stream(batches: int = 3) -> bytes:
    """A stream of that many record batches, as Arrow writes it."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, TABLE.schema) as writer:
        for _ in range(batches):
            writer.write_table(TABLE)
    data: bytes = sink.getvalue().to_pybytes()
    assert data.endswith(END)
    return data


def refused(folder: Path, content: bytes, why: str) -> None:
    (folder / "in.arrows").write_bytes(content)
    with pytest.raises(ConsentError, match=why) as error:
        filtered(folder / "in.arrows", folder / "out.arrows")
    assert error.value.code == "invalid_value"
    assert sorted(path.name for path in folder.iterdir()) == ["in.arrows"]


def test_given_a_stream_cut_off_between_two_messages_when_filtered_then_there_is_no_file(
    tmp_path: Path,
) -> None:
    """Arrow itself takes it for a whole one."""
    whole, cut = stream(), stream(2).removesuffix(END)
    assert whole.startswith(cut)
    refused(tmp_path, cut, "cut off")
    refused(tmp_path, stream(0).removesuffix(END), "cut off")


@pytest.mark.parametrize("bytes_left", range(1, 400, 13))
def test_given_a_stream_cut_off_anywhere_when_filtered_then_there_is_no_file(
    tmp_path: Path, bytes_left: int
) -> None:
    refused(tmp_path, stream()[:-bytes_left], "cannot be read as arrows")


def test_given_streams_one_behind_the_other_when_filtered_then_there_is_no_file(tmp_path: Path) -> None:
    """Arrow reads the first, and says nothing of the others."""
    refused(tmp_path, stream() + stream(), "stands behind its end")
    refused(tmp_path, stream() + b"\n", "stands behind its end")


def test_given_a_stream_without_rows_when_filtered_then_it_is_whole(tmp_path: Path) -> None:
    for batches in (0, 1, 5):
        (tmp_path / "in.arrows").write_bytes(stream(batches))
        filtered(tmp_path / "in.arrows", tmp_path / f"{batches}.arrows")
        assert ipc.open_stream((tmp_path / f"{batches}.arrows").read_bytes()).read_all().num_rows == (
            2 * batches
        )


# -- names ---------------------------------------------------------------------------------------------------


def written(path: Path, content: bytes) -> Target:
    """A target that is finished, and has not its name yet."""
    target = Target(str(path), Format("csv"))
    target.file.write(content)
    target.finish()
    return target


def test_given_two_jobs_that_write_to_one_name_when_they_end_at_once_then_the_first_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second looked a moment before the first was there."""
    out = tmp_path / "out.csv"
    with written(out, b"first") as first, written(out, b"second") as second:
        monkeypatch.setattr(writing, "require_absent", lambda path: None)
        first.keep()
        with pytest.raises(ConsentError) as refused:
            second.keep()
    assert refused.value.code == "invalid_value"
    assert out.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_given_many_jobs_that_end_at_once_then_one_alone_has_the_name(tmp_path: Path) -> None:
    out, kept, barrier = tmp_path / "out.csv", list[bytes](), threading.Barrier(8)

    def job(content: bytes) -> None:
        with written(out, content) as target:
            barrier.wait()
            try:
                target.keep()
            except ConsentError:
                return
            kept.append(content)

    jobs = [threading.Thread(target=job, args=(b"%d" % number,)) for number in range(8)]
    for one in jobs:
        one.start()
    for one in jobs:
        one.join()
    assert kept == [out.read_bytes()] and [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_given_a_report_whose_name_was_taken_meanwhile_then_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_whole(path, b"first")
    with pytest.raises(ConsentError, match="is there already"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first" and len(list(tmp_path.iterdir())) == 1


def test_given_a_name_beside_the_rows_that_was_taken_meanwhile_then_nothing_is_there_and_theirs_stays(
    tmp_path: Path,
) -> None:
    out, theirs, own = tmp_path / "out.csv", tmp_path / "run.json", tmp_path / "report.json"
    with written(out, b"rows") as target:
        theirs.write_bytes(b"somebody else's")
        with pytest.raises(ConsentError, match="is there already"):
            _keep(target, {own: b"{}", theirs: b"{}"})
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [
        ("run.json", b"somebody else's")
    ]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_given_a_file_system_without_links_then_files_get_their_names_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def link(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(writing.os, "link", link)
    with written(tmp_path / "out.csv", b"rows") as target:
        target.keep()
    with pytest.raises(ConsentError, match="is there already"), written(tmp_path / "out.csv", b"2") as target:
        target.keep()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out.csv", b"rows")]


KILLED = """
import signal
import sys
from pathlib import Path
import consent_gate.formats.writing as writing
from pipes_files import filtered
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started by
print("ready", flush=True)
source = Path(sys.argv[1])
for number in range(100_000):
    filtered(source, source.with_name(f"out{number}.parquet"))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_given_a_job_that_is_killed_at_any_moment_then_what_has_its_name_is_whole(
    tmp_path: Path, how: signal.Signals
) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.concat_tables([TABLE] * 1_000), source)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(source)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None and running.stdout.readline() == "ready\n"
    until(lambda: len(list(tmp_path.glob("out*"))) >= 3)
    running.send_signal(how)
    running.communicate()
    found = list(tmp_path.glob("out*.parquet"))
    assert len(found) >= 3 and all(pq.read_table(path).num_rows == 2_000 for path in found)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
