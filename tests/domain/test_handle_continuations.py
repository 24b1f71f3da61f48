"""Given a log that lost something, when it goes on, then in an epoch that nobody heard of, right there."""

from __future__ import annotations

import pytest
from consent_domain.commands import Command, ContinueLog
from consent_domain.events import LOG_STREAM, LogContinued
from consent_domain.state import BookState, fold_book_stored
from scenario import ORIGIN, Ledger, enrolled

ROOT = bytes(range(32))


def continued(ledger: Ledger, epoch: int = 2, **changed: object) -> Command:
    said: dict[str, object] = {"origin": ORIGIN, "epoch": epoch, "size": len(ledger.log), "root": ROOT}
    return ContinueLog(**(said | changed))  # type: ignore[arg-type]


def test_given_a_log_when_it_is_continued_then_the_event_says_behind_which_tree() -> None:
    ledger = enrolled()
    size = len(ledger.log)
    (body,) = ledger.when(continued(ledger))
    assert isinstance(body, LogContinued)
    assert (body.origin, body.epoch, body.size, body.root) == (ORIGIN, 2, str(size), ROOT)
    assert ledger.everybody.epoch == 2
    assert ledger.decide().permit, "a new epoch changes nobody's standing"


def test_given_a_ledger_that_was_never_opened_then_continuing_it_does_not_open_it() -> None:
    ledger = Ledger()
    assert [type(body) for body in ledger.when(continued(ledger))] == [LogContinued]
    assert not ledger.book.opened


@pytest.mark.parametrize("epoch", [0, 1, 2, (1 << 31) + 1])
def test_given_an_epoch_when_an_earlier_one_or_the_same_should_begin_then_it_is_refused(epoch: int) -> None:
    ledger = enrolled()
    ledger.when(continued(ledger))
    ledger.refused(continued(ledger, epoch), "wrong_state")


def test_given_an_epoch_of_which_only_its_name_is_known_then_the_one_after_it_may_begin() -> None:
    ledger = enrolled()
    ledger.when(continued(ledger, 5))
    assert ledger.everybody.epoch == 5


def test_given_another_size_or_no_root_then_it_is_refused() -> None:
    ledger = enrolled()
    ledger.refused(continued(ledger, size=len(ledger.log) - 1), "wrong_state")
    ledger.refused(continued(ledger, size=len(ledger.log) + 1), "wrong_state")
    ledger.refused(continued(ledger, root=b"short"), "invalid_value")


def test_given_an_event_of_the_log_that_cannot_be_read_then_the_epoch_stays_as_it_was() -> None:
    state = fold_book_stored(BookState(epoch=3), LOG_STREAM, 9, b"{}")
    assert (state.epoch, state.book.quarantined) == (3, 9)
