"""One performance: a folder, a stage, the story, and nothing left of them."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consent_local.children import ServerError
from consent_local.demo.examples import Examples
from consent_local.demo.stage import Stage
from consent_local.demo.story import Story
from consent_local.demo.telling import Telling

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
"""Of the clone that this is installed from."""


def play(examples: Path | None, keep: bool) -> None:
    """Tell the story from beginning to end, in a temporary folder that is removed unless `keep`.

    Raises Untrue if a claim is not true, ServerError if something does not start, stop or answer.
    """
    telling = Telling()
    begun = time.monotonic()
    found = Examples(examples or EXAMPLES)
    telling.title(
        "The consent ledger, in ten steps",
        "A messaging vendor trains models on what its customers write. This is one afternoon at that vendor, "
        "on real servers, with invented customers. Every ✓ is a claim that was just checked.",
    )
    with _folder(keep) as folder, _told_to_stop():
        stage = Stage(folder)
        try:
            story = Story(stage, telling, found, folder)
            story.open()
            story.run()
        finally:
            ended = stage.stop()
        if stage.left_running() or ended != "ended with exit code 0":
            raise ServerError(f"`consent-local up` {ended}; still running: {stage.left_running()}")
    seconds = time.monotonic() - begun
    print(
        f"\nThe end: {telling.claims} claims were checked in {seconds:.0f} s, and nothing is left running.\n"
    )


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    """A folder that PostgreSQL's account can pass through, so that the cluster lies inside it."""
    folder = Path(tempfile.mkdtemp(prefix="consent-demo-"))
    os.chmod(folder, 0o711)
    try:
        yield folder
    finally:
        if keep:
            print(f"\nkept, to go on with: consent-local up --data-dir {Stage(folder).data}")
        else:
            _remove(folder)


def _remove(folder: Path) -> None:
    try:
        Stage(folder).remove()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """SIGTERM ends the story as Ctrl-C does: everything is stopped and removed."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
