"""Unsealing: an auditor who may looks at a sealed field, and the look is recorded before it is answered."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import structlog
from consent_domain.envelope import Event, decode
from consent_domain.errors import ConsentError
from consent_domain.events import Sealed
from consent_domain.handlers.checks import text_of
from consent_domain.instants import Micros, micros
from consent_plumbing.postgres import Pool, acquire

from consent_ledger.database import STATEMENTS
from consent_ledger.erasures import Erasures
from consent_ledger.sealing import Sealer
from consent_ledger.writer import SUBJECT_FIELD

_log = structlog.get_logger()


class Unsealed(NamedTuple):
    """What a sealed field says, and under which number and time the look was recorded."""

    event: Event
    field: str
    subject: str
    number: int
    at: Micros


class Unsealer:
    """Opens sealed fields, one look at a time."""

    def __init__(self, pool: Pool, sealer: Sealer, erasures: Erasures) -> None:
        self._pool = pool
        self._sealer = sealer
        self._erasures = erasures

    async def look(self, position: int, principal: str, reason: str) -> Unsealed:
        """What is sealed in the event at `position`.

        The look is durable in `ledger.unsealings` first, also if nothing can be seen any more. Raises
        ConsentError `not_found` for no such event or one that seals nothing, `invalid_value` for an
        empty reason, `erased`, and what Erasures.apply and Sealer.unseal raise; and as the database does.
        """
        text_of(reason, "reason")
        event, sealed = await self._sealed_at(position)
        # What was erased while the key store was away is destroyed before it can be seen again.
        await self._erasures.apply()
        async with acquire(self._pool) as connection:
            recorded = await connection.fetchrow(STATEMENTS["insert_unsealing"], position, principal, reason)
        assert recorded is not None, "an insert answers its row"
        _log.info("unsealed", position=position, principal=principal, look=recorded["number"])
        subject = await self._sealer.unseal(sealed, event.stream, UUID(event.id), SUBJECT_FIELD)
        return Unsealed(event, SUBJECT_FIELD, subject, recorded["number"], micros(recorded["at"]))

    async def _sealed_at(self, position: int) -> tuple[Event, Sealed]:
        async with acquire(self._pool) as connection:
            row = await connection.fetchrow(STATEMENTS["events_after"], position - 1, 1)
        if row is None or row["position"] != position:
            raise ConsentError("not_found", f"there is no event at position {position}")
        event = decode(row["body"])
        requester = getattr(event.body, SUBJECT_FIELD, None)
        sealed = None if requester is None else requester.sealed
        if sealed is None:
            raise ConsentError("not_found", f"nothing is sealed in the event at position {position}")
        return event, sealed
