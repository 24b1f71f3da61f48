"""A large replica that is empty begins with a snapshot, and goes on with the feed's pages from there.

It is a `sources.Source` around the feed's own. What cannot be had, or not be believed, is no harm: the
pages that the feed answers bring the same facts, in more time.
"""

from __future__ import annotations

import asyncio
import threading
from importlib.util import find_spec

from consent_domain.errors import ConsentError
from consent_domain.feed import Page
from consent_domain.identifiers import Token

from consent_gate.replica import Replica
from consent_gate.signatures import Verifier
from consent_gate.snapshots.loading import load_snapshot
from consent_gate.snapshots.note import note_beside
from consent_gate.snapshots.pulling import pull
from consent_gate.sources import Begun, ClosableSource, Events, Pages, StartAnew

POSITION_MIN = 200_000
"""Below so many events pages are there before a snapshot is."""
_FILE = "snapshot.parquet"


class BeginningSource:
    """Asks `pages`, and once, where these would be many, the ledger's snapshot instead."""

    def __init__(
        self, pages: ClosableSource, replica: Replica, url: str, token: str, verifier: Verifier | None
    ) -> None:
        self._pages = pages
        self._replica = replica
        self._ledger = (url, token, verifier)
        self._tried = find_spec("pyarrow") is None or find_spec("numpy") is None
        self._stopped = threading.Event()

    async def ask(self, after: Token | None) -> Pages | Events | StartAnew | Begun:
        """See `sources.Source`. Beginning with a snapshot takes as long as fetching and loading it."""
        answer = await self._pages.ask(after)
        if after is not None or self._tried or not isinstance(answer, Pages):
            return answer
        if not answer.page.more or answer.page.watermark.position < POSITION_MIN:
            return answer
        self._tried = True
        try:
            await asyncio.to_thread(self._begin, answer.page)
        except asyncio.CancelledError:
            self._stopped.set()
            raise
        except Exception:
            return answer  # nothing was switched to
        return Begun()

    async def close(self) -> None:
        """Give the connections back."""
        await self._pages.close()

    def _begin(self, now: Page) -> None:
        path = self._replica.folder / _FILE
        try:
            url, token, verifier = self._ledger
            note = pull(url, token, path, verifier, resume=True, progress=self._go_on).note
            before = self._replica.meta
            if before is not None and before.origin != note.origin:
                raise ConsentError("other_origin", f"the replica follows {before.origin}")
            if (note.origin, note.epoch) != (now.origin, now.epoch) or note.position > now.watermark.position:
                raise ConsentError("forked", f"the snapshot is of {note.token}, and the log stands elsewhere")
            if note.generation != now.generation:
                raise ConsentError("resync", "the snapshot is of a view that was folded anew since")
            load_snapshot(self._replica, path, note, progress=self._go_on)
        finally:
            for left in (path, note_beside(path)):
                left.unlink(missing_ok=True)

    def _go_on(self, done: int, total: int | None) -> None:
        if self._stopped.is_set():
            raise ConsentError("unavailable", "nobody follows any more")
