"""The gate: what a pipeline asks before it touches a workspace's data.

    with Gate.connect("https://ledger.example", token, purpose="train.global") as gate:
        if gate.check("acme", collected=message_time):
            ...

It follows the ledger's feed into a replica that all processes of the host share, and answers
from there: `live` within `max_staleness` or not at all. A gate may be shared by threads and is
usable after a fork; `check` is a matter of microseconds, so asynchronous code calls it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload
from weakref import WeakSet, finalize

from consent_domain.errors import ConsentError

from consent_gate.addresses import require_address, require_key
from consent_gate.asking import STALENESS_SECONDS_MAX, require_staleness, tuple_of
from consent_gate.batches import Batch
from consent_gate.boot import boot_nanoseconds
from consent_gate.checks import Checks, Floors, Halted
from consent_gate.filtering import Filtering
from consent_gate.questions import When
from consent_gate.reader import Reader, View
from consent_gate.replica import Replica
from consent_gate.states import Following, Status

if TYPE_CHECKING:
    from consent_gate.engines.job import Job, Result
    from consent_gate.offline import Offline
    from consent_gate.server_mode import ServerGate
    from consent_gate.watch import News, Watch


class Gate(Filtering):
    """Checks against the replica of this host."""

    asks_over_the_network = False

    def __init__(
        self,
        replica: Replica,
        *,
        purpose: str | None = None,
        max_staleness: float = STALENESS_SECONDS_MAX,
        floors: Floors | None = None,
        following: Following | None = None,
        halted: Halted | None = None,
        snapshot: Offline | None = None,
    ) -> None:
        """A gate over a replica that somebody follows for; `connect` makes one that follows by itself.

        `purpose` is asked where a check names none. `max_staleness` is in seconds. `floors` say how far
        the replica must be for an answer, `following` is started now and stopped by `close`. While
        `halted` says so the gate is halted, whatever its replica is. `snapshot` is what `offline` gives.
        """
        self.replica = replica
        self.snapshot = snapshot
        """What an offline gate stands on, and how old that is."""
        self.max_staleness = max_staleness
        self._following = following
        self._reader = (
            Reader(replica, self._start_following) if snapshot is None else snapshot.reader(replica)
        )
        self._replica_checks = Checks(self._reader, max_staleness, floors, halted)
        super().__init__(self._replica_checks, purpose)
        self._closed = False
        self._watches: WeakSet[Watch] = WeakSet()
        self._start_following()

    def _start_following(self) -> None:
        if self._following is not None and not self._closed:
            self._following.start()

    @overload
    @classmethod
    def connect(
        cls,
        url: str,
        token: str,
        *,
        purpose: str | None = ...,
        max_staleness: float = ...,
        replica_dir: Path | str | None = ...,
        verifier_key: str | None = ...,
        mode: Literal["replica"] = ...,
    ) -> Gate: ...

    @overload
    @classmethod
    def connect(
        cls,
        url: str,
        token: str,
        *,
        purpose: str | None = ...,
        max_staleness: float = ...,
        mode: Literal["server"],
    ) -> ServerGate: ...

    @classmethod
    def connect(
        cls,
        url: str,
        token: str,
        *,
        purpose: str | None = None,
        max_staleness: float = STALENESS_SECONDS_MAX,
        replica_dir: Path | str | None = None,
        verifier_key: str | None = None,
        mode: str = "replica",
    ) -> Gate | ServerGate:
        """A gate that follows the ledger at `url` with an API key; returns before anything is fetched.

        `replica_dir` is shared by all gates of the host on this ledger; by default it lies in the user's
        cache folder. With `verifier_key` (`name+hash+base64`) whatever that key did not sign halts the gate.
        With `mode="server"` there is no replica, and each question goes to the ledger.
        Gates with another key, or without one and with another URL, need a folder of their own.

        Raises ConsentError `invalid_value` for an address, API key, age, verifier key or mode that is none,
        `unsafe_folder` for a folder that other users may write into, `unavailable` if it cannot be made.
        """
        require_address(url)
        require_key(token)
        require_staleness(max_staleness)
        if mode == "server":
            from consent_gate.server_mode import ServerGate

            if replica_dir is not None or verifier_key is not None:
                raise ConsentError(
                    "invalid_value",
                    "a gate with mode='server' keeps no replica and checks no signatures: leave replica_dir "
                    "and verifier_key out, or leave mode out",
                )
            return ServerGate(url, token, purpose=purpose, max_staleness=max_staleness)
        if mode != "replica":
            raise ConsentError("invalid_value", f"mode is 'replica' or 'server', and not {mode!r}")
        from consent_gate.following import HttpFollowing, default_folder, source_of

        folder = Path(replica_dir or default_folder(url, verifier_key))
        replica = Replica.open(folder, source=source_of(url, verifier_key))
        following = HttpFollowing(replica, url, token, verifier_key)
        gate = cls(replica, purpose=purpose, max_staleness=max_staleness, following=following)
        finalize(gate, following.let_go).atexit = False  # whoever forgets to close a gate keeps no thread
        return gate

    @classmethod
    def offline(
        cls,
        path: Path | str,
        *,
        verifier_key: str,
        max_age: float,
        purpose: str | None = None,
        replica_dir: Path | str | None = None,
    ) -> Gate:
        """A gate over a snapshot file, where no ledger can be reached; it needs the extra `snapshot`.

        It permits only while the snapshot is younger than `max_age` seconds by the host's clock, and knows
        nothing of what was recorded since. `verifier_key` is the feed's, pinned. Loading takes about a second
        a million workspaces, once a boot. Raises as `consent_gate.offline.open_offline` does.
        """
        from consent_gate.offline import open_offline

        folder = None if replica_dir is None else Path(replica_dir)
        replica, snapshot = open_offline(Path(path), verifier_key, max_age, folder)
        return cls(
            replica,
            purpose=purpose,
            max_staleness=max_age,
            following=snapshot,
            halted=snapshot.tells_no_age,
            snapshot=snapshot,
        )

    def batch(
        self,
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Batch:
        """A question about many workspaces that are handed over slice by slice."""
        asked = self.purpose if purpose is None else purpose
        return Batch(self._replica_checks, asked, tuple_of(categories), collected, max_staleness, at_least)

    # -- whole data sets -------------------------------------------------------------------------------------

    def _job(
        self, purpose: str | None, categories: Sequence[str], seconds_max: float, *, single: bool
    ) -> Job:
        from consent_gate.engines.job import Job

        asked = self.purpose if purpose is None else purpose
        return Job(self, asked, tuple_of(categories), seconds_max, single)

    def knows(self, view: View, moment: int) -> bool:
        """Whether a view may be decided on, and knows all that was recorded before `moment` (boot clock, ns).

        Offline, what the snapshot knows is all there is, for as long as it is young enough.
        """
        if self._replica_checks.problem_of(view):
            return False
        if self.snapshot is None:
            return view.asked >= moment
        return 0 <= boot_nanoseconds() - view.asked <= self.max_staleness * 1e9

    # -- while data is in use --------------------------------------------------------------------------------

    def watch(
        self,
        used: str | Sequence[str] | Job | Result,
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        on_withdrawal: Callable[[News], object] | None = None,
    ) -> Watch:
        """News of who withdraws: of workspaces, or of a job (or a result) and whomever it meets.

        Of a job, whatever changed since its moment is told; of workspaces, what changes from now on, and at
        once those that permit nothing. Events are a `Withdrawal` or a `Silence`: see `consent_gate.watch`.
        `on_withdrawal` is called with each from a thread of this process until the watch, or the gate, is
        closed; one that raises is told to `threading.excepthook`, kept in `failures`, and watching goes on.
        Raises ConsentError `malformed` for a question that nobody can answer, or nobody to watch.
        """
        from consent_gate.watch import Watch
        from consent_gate.watch_sources import source_of
        from consent_gate.watched import Watched

        asked = self.purpose if purpose is None else purpose
        source, question = source_of(used, asked, tuple_of(categories))
        watch = Watch(
            self._reader,
            Watched(*question),
            source,
            self.max_staleness,
            self._replica_checks.halted,
            on_withdrawal,
        )
        self._watches.add(watch)
        return watch

    # -- how it is -------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Whether checks can be answered now, and on what they stand. Never raises."""
        following = self._following
        why, code = ("", "") if following is None else (following.why, following.code)
        try:
            transaction, view = self._reader.begin()
        except Exception as error:
            if isinstance(error, ConsentError) and error.code in ("other_origin", "unsafe_folder"):
                return Status("halted", "", 0, None, why or str(error), error.code)
            return Status("catching_up", "", 0, None, why or str(error), code)
        transaction.abort()
        staleness = (boot_nanoseconds() - view.asked) / 1e9 if view.asked else None
        problem = self._replica_checks.problem_of(view)
        if problem:
            state = problem
        elif staleness is None or not 0 <= staleness <= self.max_staleness:
            state = "stale"
            self._reader.open_again()
        else:
            state = "live"
        why = view.meta.halted or why
        return Status(state, str(view.token), view.meta.position, staleness, why, code)

    # -- its end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop following and watching; answers go on until they are stale. Idempotent."""
        if not self._closed:
            self._closed = True
            for watch in list(self._watches):
                watch.close()
            if self._following is not None:
                self._following.stop()
