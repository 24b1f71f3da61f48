"""On a terminal: bars and tables with rich, plain ones without it; the exit code is the same."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from signed_logs import KEY

RUN = "import sys; from consent_gate.cli import main; sys.exit(main(sys.argv[1:]))"
WITHOUT_RICH = f"import sys; sys.modules['rich'] = None; {RUN}"


def on_a_terminal(program: str, *words: str) -> tuple[int, str]:
    """Run `consent` with a terminal for its output and errors; its exit code, and what was shown."""
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "100", "HOME": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65_536):
            shown += part
    except OSError:
        pass  # the other side has closed it
    os.close(ours)
    return process.wait(30), shown.decode()


@pytest.mark.parametrize("program", [RUN, WITHOUT_RICH])
def test_verify_and_replay_show_how_far_they_are(exported: Path, program: str) -> None:
    code, shown = on_a_terminal(program, "verify", str(exported), "--key", KEY)
    assert (code, "GOOD" in shown, "600" in shown) == (0, True, True)
    code, shown = on_a_terminal(program, "replay", str(exported), "--key", KEY, "--summary")
    assert (code, "replayed 600 events" in shown, "default-on.v1" in shown) == (0, True, True)
    assert ("━" in shown) == (program == RUN)


@pytest.mark.parametrize("program", [RUN, WITHOUT_RICH])
def test_what_is_bad_is_bad_on_a_terminal_too(exported: Path, program: str) -> None:
    (exported / "tile/entries/000").write_bytes(b"")
    code, shown = on_a_terminal(program, "verify", str(exported), "--key", KEY)
    assert (code, "BAD" in shown) == (1, True)
