"""`consent filter` as a shell uses it: bytes in, bytes out, words on standard error, and an exit code."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from consent_command import TRAIN, Stack, consent

CONSENT = str(Path(sys.executable).with_name("consent"))
RECENT = "2024-06-01T00:00:00Z"
QUESTION = ["--column", "w", "--collected-column", "t", "--purpose", TRAIN]
SECONDS_MAX = 100
NOWHERE = "http://127.0.0.1:9"


class Piped(NamedTuple):
    """How a pipeline ended."""

    code: int
    out: bytes
    err: str


def piped(stack: Stack, *words: str, data: bytes = b"", **environment: str) -> Piped:
    """`consent filter WORDS` with `data` on its standard input."""
    settings = os.environ | stack.settings(CONSENT_REPLICA=str(Path.cwd() / "replica")) | environment
    done = subprocess.run(
        [CONSENT, "filter", *words], env=settings, input=data, capture_output=True, timeout=SECONDS_MAX
    )
    return Piped(done.returncode, done.stdout, done.stderr.decode())


def csv(stack: Stack, rows: int = 3) -> bytes:
    """Rows of somebody who is on and somebody who is out, by turns."""
    owners = [stack.on[0], stack.out[0]]
    return b"w,t,n\n" + "".join(f"{owners[n % 2]},{RECENT},{n:03}\n" for n in range(rows)).encode()


def of_those_on(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join([lines[0], *lines[1::2]])


def test_given_csv_on_standard_input_when_filtered_then_lines_go_on_and_words_go_to_standard_error(
    stack: Stack,
) -> None:
    ran = piped(stack, *QUESTION, "--from", "csv", data=csv(stack))
    assert (ran.code, ran.out) == (0, of_those_on(csv(stack))), ran.err
    assert ran.err.startswith(f"kept 2 of 3 rows, dropped 1, for {TRAIN}")
    assert "opted_out  (it was opted out)" in ran.err
    assert "%" not in ran.err, "no progress where nobody watches"


def test_given_json_for_programs_when_rows_go_to_standard_output_then_the_report_does_not(
    stack: Stack, tmp_path: Path
) -> None:
    data = b'{"w":"%b","t":"%b"}\n' % (stack.on[0].encode(), RECENT.encode())
    ran = piped(stack, "-", "-", *QUESTION, "--from", "jsonl", "--json", "--report", "report.json", data=data)
    assert (ran.code, ran.out) == (0, data)
    told = json.loads(ran.err)
    assert (told["rows"], told["kept"], told["out"]) == (1, 1, "-")
    assert json.loads((tmp_path / "report.json").read_text()) == told
    failed = piped(stack, *QUESTION, "--from", "jsonl", "--json", data=b"[]\n")
    assert (failed.code, failed.out) == (2, b"")
    assert json.loads(failed.err)["code"] == "invalid_value"


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "arrows"])
def test_given_record_batches_on_standard_input_when_filtered_then_they_go_on(
    stack: Stack, suffix: str, tmp_path: Path
) -> None:
    times = pa.array([RECENT] * 3).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"w": [stack.on[0], stack.out[0], stack.on[0]], "t": times, "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "in.parquet")
    for name, make in (("arrow", ipc.new_file), ("arrows", ipc.new_stream)):
        with make(str(tmp_path / f"in.{name}"), table.schema) as writer:
            writer.write_table(table)
    data = (tmp_path / f"in.{suffix}").read_bytes()
    for written in ("parquet", "arrow", "arrows"):
        ran = piped(stack, *QUESTION, "--from", suffix, "--to", written, data=data)
        assert ran.code == 0, ran.err
        source = pa.BufferReader(ran.out)
        found = {
            "parquet": lambda: pq.read_table(source),  # noqa: B023
            "arrow": lambda: ipc.open_file(source).read_all(),  # noqa: B023
            "arrows": lambda: ipc.open_stream(source).read_all(),  # noqa: B023
        }[written]()
        assert found["n"].to_pylist() == [1, 3]


def test_given_a_file_by_its_suffix_when_compressed_then_what_is_written_is_too(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(csv(stack)))
    ran = consent("filter", "in.csv.gz", "out.csv.gz", *QUESTION, **stack.settings())
    assert ran.code == 0, ran.err
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()) == of_those_on(csv(stack))
    assert "written to out.csv.gz" in ran.out


def test_given_a_reader_that_goes_away_when_rows_are_left_then_nothing_is_said_and_the_code_is_no_yes(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_bytes(csv(stack, 300_000))
    settings = os.environ | stack.settings(CONSENT_REPLICA=str(tmp_path / "replica"))
    words = [CONSENT, "filter", "in.csv", "-", *QUESTION]
    for suffix in ("", ".gz"):
        running = subprocess.Popen(
            [*words, "--to", f"csv{suffix}"], env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert running.stdout is not None and running.stderr is not None
        assert len(running.stdout.read(10)) == 10
        running.stdout.close()
        assert running.wait(SECONDS_MAX) == 2
        assert running.stderr.read() == b""
        running.stderr.close()


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_given_a_failure_half_way_when_rows_went_to_standard_output_then_they_have_no_end(
    stack: Stack, tmp_path: Path, suffix: str
) -> None:
    count = 600_000
    times = pa.array([RECENT] * count).cast(pa.timestamp("us", "UTC"))
    noise = pa.array(os.urandom(8).hex() for _ in range(count))
    table = pa.table({"w": [stack.on[0]] * count, "t": times, "noise": noise})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100_000, compression="zstd")
    data = bytearray((tmp_path / "in.parquet").read_bytes())
    data[-len(data) // 5 : -len(data) // 5 + 3_000] = bytes(3_000)
    (tmp_path / "in.parquet").write_bytes(data)
    ran = piped(stack, "in.parquet", "-", *QUESTION, "--to", suffix)
    assert ran.code == 2
    assert "in.parquet cannot be read as parquet" in ran.err
    assert ran.out, "something went out before"
    with pytest.raises(pa.ArrowInvalid):
        (pq.read_table if suffix == "parquet" else ipc.open_file)(pa.BufferReader(ran.out))


def test_given_a_job_that_is_stopped_when_its_input_goes_on_then_there_is_no_file(
    stack: Stack, tmp_path: Path
) -> None:
    settings = os.environ | stack.settings(CONSENT_REPLICA=str(tmp_path / "replica"))
    running = subprocess.Popen(
        [CONSENT, "filter", "-", "out.csv", *QUESTION], env=settings,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert running.stdin is not None
    running.stdin.write(csv(stack, 100_000))
    running.stdin.flush()
    while not list(tmp_path.glob(".out.csv.*.partial")):
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert running.wait(SECONDS_MAX) == 2
    running.stdin.close()
    assert running.stderr is not None and running.stdout is not None
    assert "stopped before there was an answer" in running.stderr.read().decode()
    running.stderr.close()
    running.stdout.close()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_given_a_target_that_is_the_source_under_any_name_when_filtered_then_it_is_refused(
    stack: Stack, tmp_path: Path
) -> None:
    content = csv(stack)
    (tmp_path / "in.csv").write_bytes(content)
    (tmp_path / "soft.csv").symlink_to("in.csv")
    os.link(tmp_path / "in.csv", tmp_path / "hard.csv")
    for target in ("in.csv", "./in.csv", "soft.csv", "hard.csv"):
        ran = consent("filter", "in.csv", target, *QUESTION, "--overwrite", **stack.settings())
        assert (ran.code, "into itself" in ran.err) == (2, True)
    for redirected in (
        "consent filter in.csv - --to csv {} >> in.csv",
        "consent filter - in.csv {} < in.csv",
    ):
        command = redirected.format(" ".join(QUESTION)).replace("consent", CONSENT, 1)
        ended = subprocess.run(
            command, shell=True, env=os.environ | stack.settings(), capture_output=True, timeout=SECONDS_MAX
        )
        assert (ended.returncode, b"into itself" in ended.stderr) == (2, True), ended.stderr
    words = ["filter", "in.csv", "out.csv", *QUESTION, "--overwrite", "--report"]
    ran = consent(*words, "in.csv", **stack.settings())
    assert (ran.code, "into itself" in ran.err) == (2, True)
    ran = consent(*words, "nowhere/report.json", **stack.settings())
    assert (ran.code, "the folder nowhere" in ran.err) == (2, True)
    ran = consent(*words, "out.csv", **stack.settings())
    assert (ran.code, "different files" in ran.err) == (2, True)
    assert (tmp_path / "in.csv").read_bytes() == content


def test_given_a_disk_that_is_full_when_rows_are_written_then_it_is_no_yes(stack: Stack) -> None:
    with open("/dev/full", "wb") as full:
        settings = os.environ | stack.settings(CONSENT_REPLICA=str(Path.cwd() / "replica"))
        done = subprocess.run(
            [CONSENT, "filter", *QUESTION, "--from", "csv"], env=settings, input=csv(stack),
            stdout=full, stderr=subprocess.PIPE, timeout=SECONDS_MAX,
        )  # fmt: skip
    assert done.returncode == 2
    assert b"standard output cannot be written" in done.stderr


def test_given_a_ledger_that_is_gone_when_filtered_then_nothing_goes_out(stack: Stack) -> None:
    ran = piped(stack, *QUESTION, "--from", "csv", data=csv(stack), CONSENT_URL=NOWHERE)
    assert (ran.code, ran.out) == (2, b"")
    assert "is the ledger running there?" in ran.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "nothing says the format; say it by --from"),
        (["--from", "xml"], "no format"),
        (["--from", "csv", "--to", "jsonl"], "not converted"),
        (["--from", "jsonl", "--separator", ";"], "--separator is for CSV"),
        (["nowhere.csv"], "nowhere.csv cannot be read"),
        (["--from", "csv", "--run", "r"], "--manifest FILE"),
        (["--from", "csv", "--manifest", "m.json"], "say what it is called by --run"),
        (["--from", "csv", "--manifest", "m.json", "--run", "r"], "say --input-uri"),
        (
            ["--from", "csv", "--manifest", "m.json", "--run", "r", "--input-uri", "s3://a"],
            "say --output-uri",
        ),
        (["--from", "csv", "--report", "-"], "name files"),
    ],
)
def test_given_words_that_make_no_sense_when_filtered_then_they_are_refused(
    stack: Stack, words: list[str], why: str, tmp_path: Path
) -> None:
    ran = consent("filter", *words, *QUESTION, **stack.settings())
    assert (ran.code, ran.out) == (2, "")
    assert why in ran.err
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_given_a_misspelt_purpose_when_filtered_then_no_empty_answer_looks_like_one_about_the_data(
    stack: Stack,
) -> None:
    Path("in.csv").write_bytes(csv(stack))
    for words in (["in.csv", "out.csv"], ["in.csv"]):
        ran = piped(stack, *words, *QUESTION[:-1], "trian")
        assert ran.code == 2 and "no policy knows the purpose 'trian'" in ran.err
    assert not Path("out.csv").exists()


def test_given_a_replica_that_cannot_be_kept_when_filtered_then_it_says_which_folder(stack: Stack) -> None:
    Path("file").touch()
    ran = piped(stack, *QUESTION, "--from", "csv", data=csv(stack), CONSENT_REPLICA="file/replica")
    assert ran.code == 2 and "file/replica cannot be made (Not a directory)" in ran.err


def test_given_rows_dropped_for_want_of_a_time_when_filtered_then_it_says_which_option_helps(
    stack: Stack,
) -> None:
    ran = piped(stack, "--column", "w", "--purpose", TRAIN, "--from", "csv", data=csv(stack))
    assert "by --collected-column" in ran.err
    assert "by --collected-column" not in piped(stack, *QUESTION, "--from", "csv", data=csv(stack)).err
