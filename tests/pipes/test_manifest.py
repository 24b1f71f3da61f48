"""Given a filter that writes a manifest, when it is registered as it is, then the ledger believes it."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from consent_command import TRAIN, Stack, consent

RECENT = "2024-06-01T00:00:00Z"
QUESTION = ["--column", "w", "--collected-column", "t", "--purpose", TRAIN]
UNTIL_SECONDS_MAX = 30.0


def digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def csv(stack: Stack) -> bytes:
    rows = [stack.on[30], stack.out[0], stack.on[31], stack.on[30]]
    return b"w,t\n" + "".join(f"{name},{RECENT}\n" for name in rows).encode()


def test_given_a_manifest_of_a_file_when_registered_then_its_workspaces_are_found_by_it(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_bytes(csv(stack))
    ran = consent(
        "filter", "in.csv", "out.csv", *QUESTION, "--json", "--manifest", "run.json", "--run", "pipe-1",
        "--output-uri", "s3://lake/kept", **stack.settings(),
    )  # fmt: skip
    assert ran.code == 0, ran.out
    manifest = json.loads((tmp_path / "run.json").read_text())["manifest"]
    assert manifest["inputs"] == [
        {"uri": (tmp_path / "in.csv").as_uri(), "digest": digest(tmp_path / "in.csv"), "rows": "4"}
    ]
    [output] = manifest["outputs"]
    assert (output["uri"], output["digest"]) == ("s3://lake/kept", digest(tmp_path / "out.csv"))
    assert (manifest["rowsIn"], manifest["rowsOut"], manifest["collected"]) == ("4", "3", "rows")
    assert (manifest["token"], manifest["workspaces"]) == (ran.told["token"], "2")
    assert ran.told["outDigest"] == output["digest"]
    registered = consent("runs", "register", "run.json", "--json", **stack.settings())
    assert registered.code == 0, registered.out
    ran = consent(
        "filter", "out.csv", "less.csv", *QUESTION, "--manifest", "next.json", "--run", "pipe-2",
        "--parent", "pipe-1", **stack.settings(),
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert consent("runs", "register", "next.json", **stack.settings()).code == 0
    deadline = time.monotonic() + UNTIL_SECONDS_MAX
    used: list[str] = []
    while "pipe-1" not in used and time.monotonic() < deadline:
        told = consent(
            "runs", "list", "--workspace", stack.on[31], "--json", **stack.settings("auditor")
        ).told
        used = [run["run"] for run in told]
        time.sleep(0.2)
    assert "pipe-1" in used
    other = consent("runs", "list", "--workspace", stack.out[0], "--json", **stack.settings("auditor"))
    assert "pipe-1" not in [run["run"] for run in other.told]


def test_given_who_permits_at_some_time_when_none_of_its_rows_stays_then_its_data_was_not_used(
    stack: Stack, tmp_path: Path
) -> None:
    kept, met = stack.on[32], stack.on[33]
    (tmp_path / "in.csv").write_text(f"w,t\n{kept},{RECENT}\n{met},1990-01-01T00:00:00Z\n{met},\n")
    ran = consent(
        "filter", "in.csv", "out.csv", *QUESTION, "--json", "--manifest", "run.json", "--run", "pipe-kept",
        **stack.settings(),
    )  # fmt: skip
    assert (ran.code, ran.told["kept"], ran.told["set"]["size"]) == (0, 1, 1), ran.out
    assert json.loads((tmp_path / "run.json").read_text())["manifest"]["workspaces"] == "1"
    assert consent("runs", "register", "run.json", **stack.settings()).code == 0
    audit = stack.settings("auditor")
    deadline = time.monotonic() + UNTIL_SECONDS_MAX
    while consent("runs", "explain", "pipe-kept", kept, "--json", **audit).code == 2:
        assert time.monotonic() < deadline, "it was not listed"
        time.sleep(0.2)
    used = {
        name: [run["run"] for run in consent("runs", "list", "--workspace", name, "--json", **audit).told]
        for name in (kept, met)
    }
    assert "pipe-kept" in used[kept] and "pipe-kept" not in used[met]


def test_given_a_manifest_that_cannot_be_made_when_filtered_then_there_is_no_file_of_any_kind(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_bytes(csv(stack))
    ran = consent(
        "filter",
        "in.csv",
        "out.csv",
        *QUESTION,
        "--manifest",
        "run.json",
        "--run",
        "no id",
        **stack.settings(),
    )
    assert ran.code == 2
    assert "run must be 1 to 128" in ran.err
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in.csv"]
