"""Given an error of a worker process, when it arrives elsewhere, then it is the same error."""

from __future__ import annotations

import pickle

import pytest
from consent_domain.errors import ConsentError, Refused, Unreadable
from consent_domain.proofs import ProofInvalid


@pytest.mark.parametrize(
    "error",
    [
        ConsentError("too_large", "at most 7", bytes_max=7),
        Refused("wrong_state", "it has ended"),
        Unreadable("no event", position=3),
        ProofInvalid("too short", index=2),
    ],
)
def test_given_an_error_when_it_is_pickled_then_nothing_of_it_is_lost(error: ConsentError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert (found.code, found.detail, found.extra, str(found), found.args) == (
        error.code,
        error.detail,
        error.extra,
        str(error),
        error.args,
    )
