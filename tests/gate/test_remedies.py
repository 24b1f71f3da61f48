"""What would make it a permit is said for every denial there is."""

from __future__ import annotations

from consent_domain.reasons import DENYING, PERMITTING
from consent_gate.remedies import REMEDIES


def test_every_reason_of_a_denial_has_a_remedy_and_no_permit_has_one() -> None:
    assert set(REMEDIES) == set(DENYING)
    assert not set(REMEDIES) & set(PERMITTING)
    assert all(words and not words.endswith(".") for words in REMEDIES.values())
