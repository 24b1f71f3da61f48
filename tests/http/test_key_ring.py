"""Given the keys of the API, when they were not read lately, then nobody is let in and nothing is ready."""

from __future__ import annotations

import pytest
from consent_domain.errors import ConsentError
from consent_ledger.key_ring import STALE_SECONDS_MAX, KeyRing
from consent_plumbing.postgres import open_pool
from http_service import make_keys


async def test_given_keys_when_they_were_never_read_or_too_long_ago_then_unavailable_and_not_unauthenticated(
    migrated_database_url: str,
) -> None:
    keys = await make_keys(migrated_database_url)
    header = f"Bearer {keys['pipeline']}".encode()
    now = 1_000.0
    pool = await open_pool(migrated_database_url, "tests", 1)
    try:
        ring = KeyRing(pool, lambda: now)
        assert not ring.is_current
        with pytest.raises(ConsentError) as refused:
            ring.authenticate(header)
        assert refused.value.code == "unavailable"
        await ring.reload()
        assert ring.is_current and ring.authenticate(header).role == "pipeline"
        now += STALE_SECONDS_MAX + 1
        assert not ring.is_current
        with pytest.raises(ConsentError) as refused:
            ring.authenticate(header)
        assert refused.value.code == "unavailable"
    finally:
        pool.terminate()
