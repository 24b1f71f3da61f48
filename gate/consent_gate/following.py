"""A thread that follows: a loop of its own, so that gates work in any program, with or without asyncio."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from consent_gate.folders import cache_folder
from consent_gate.follower import Follower
from consent_gate.replica import Replica
from consent_gate.signatures import Verifier
from consent_gate.sources import ClosableSource

STOP_SECONDS_MAX = 5.0


class ThreadFollowing:
    """Runs a follower in a thread of this process, from `start` to `stop` or the end of the process."""

    def __init__(
        self, replica: Replica, make_source: Callable[[], ClosableSource], origin: str | None = None
    ) -> None:
        """`make_source` is called inside the thread's loop."""
        self._replica = replica
        self._make_source = make_source
        self._origin = origin
        self._pid = 0
        self._follower: Follower | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._lock = threading.RLock()
        self._failure = ""

    @property
    def why(self) -> str:
        """What went wrong last, empty if nothing did."""
        return self._failure or ("" if self._follower is None else self._follower.why)

    @property
    def code(self) -> str:
        """Its code, as far as it has one."""
        return "" if self._failure or self._follower is None else self._follower.code

    @property
    def leads(self) -> bool:
        """Whether this process is the one that follows."""
        return self._follower is not None and self._follower.leads

    def start(self) -> None:
        """Begin. After a fork, whose child has no threads, begin again. Otherwise nothing."""
        if self._pid == os.getpid():
            return
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="consent-gate", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, waiting at most 5 s for the step that is going on."""
        self.let_go()
        if self._pid == os.getpid() and self._thread is not None:
            self._thread.join(STOP_SECONDS_MAX)

    def let_go(self) -> None:
        """End soon, without waiting: also for the garbage collector, from whatever thread it runs in."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._stopping = True
            if self._loop is not None and self._task is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._task.cancel)

    def _run(self) -> None:
        asyncio.run(self._follow())

    async def _follow(self) -> None:
        with self._lock:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            if self._stopping:
                return
        try:
            source = self._make_source()
        except Exception as error:
            self._failure = f"nobody follows here: {type(error).__name__}: {error}"
            return
        self._follower = follower = Follower(self._replica, source, self._origin)
        try:
            while True:
                seconds = await follower.step()
                await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            pass
        finally:
            with self._lock:
                self._loop = self._task = None
            follower.close()
            await source.close()


class HttpFollowing(ThreadFollowing):
    """Follows the feed of the ledger at a URL."""

    def __init__(self, replica: Replica, url: str, token: str, verifier_key: str | None) -> None:
        """Raises ConsentError `invalid_value` for a verifier key that is none."""
        # Not above: what follows beside the ledger needs no HTTP client.
        from consent_gate.http_source import HttpSource
        from consent_gate.snapshots.beginning import BeginningSource

        verifier = None if verifier_key is None else Verifier.parse(verifier_key)
        super().__init__(
            replica,
            lambda: BeginningSource(HttpSource(url, token, verifier), replica, url, token, verifier),
        )


def source_of(url: str, verifier_key: str | None) -> str:
    """Whose word a gate wants: what the key signed, or without one whatever comes from the URL."""
    return f"url {url}" if verifier_key is None else f"key {verifier_key}"


def default_folder(url: str, verifier_key: str | None) -> Path:
    """Where this user's gates on one ledger, with one key pinned, share their replica."""
    named = hashlib.sha256(f"{url}\n{verifier_key or ''}".encode()).hexdigest()
    return cache_folder() / named[:32]
