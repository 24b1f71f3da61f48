"""Time travel: the same question about what was known, and about what was in effect, at another time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from consent_domain.commands import (
    ChangeWorkspace,
    ImportPolicy,
    RegisterOrganisation,
    RequestOptOut,
    SucceedWorkspace,
    SuspendPurpose,
    WithdrawOptOut,
)
from consent_domain.decide import Collected
from consent_domain.errors import ConsentError
from consent_domain.events import Scope
from consent_domain.identifiers import Token, parse_token
from consent_domain.instants import SECOND, Micros, moment_of
from consent_ledger.books import Books
from consent_ledger.outcome import Outcome
from consent_ledger.time_travel import Past, Question, When, answer, parse_when, viewing
from scenario import OWNER, START, purpose, rules
from servers import fresh_database
from writing import Desk, desk, enrol, opt_out


def policy() -> ImportPolicy:
    """On by default, since before the ledger was opened."""
    published = moment_of(START)
    return ImportPolicy(
        version="1",
        title="Principles",
        text_sha256="ab" * 32,
        published_at=published,
        effective_at=published,
        direction="looser",
        why="first of all",
        rules=rules(purposes=tuple(purpose(key) for key in ("train", "one", "two", "three"))),
    )


async def ask(
    at: Desk,
    *workspaces: str,
    known_at: Token | Micros | None = None,
    as_of: Micros | None = None,
    collected: Collected | None = None,
) -> Past:
    names = workspaces or ("acme",)
    question = Question(names, "train", (), collected, When(known_at, as_of))
    return await answer(at.pool, Books(), question)


def when(outcome: Outcome) -> Micros:
    assert outcome.recorded_at is not None, outcome
    return outcome.recorded_at


def codes(past: Past) -> list[str]:
    return [reason.code for reason in past.decision.reasons]


async def test_given_an_opt_out_when_asked_what_was_known_before_then_permit_and_now_deny(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as ledger:
        await ledger.write(policy())
        before = await ledger.write(enrol("acme"))
        after = await ledger.write(opt_out("acme"))
        then = await ask(ledger, known_at=parse_token(before.token), as_of=when(before))
        assert then.decision.permit and str(then.token) == before.token and then.at == when(before)
        assert (await ask(ledger, known_at=when(after) - 1, as_of=when(before))).decision.permit
        now = await ask(ledger)
        assert not now.decision.permit
        assert now.decision.reasons[0].position == after.last_position
        assert codes(await ask(ledger, known_at=parse_token(after.token))) == ["opt_out_requested"]


async def test_given_knowledge_of_now_when_asked_about_then_then_what_took_effect_later_does_not_count(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as ledger:
        await ledger.write(policy())
        enrolled = await ledger.write(enrol("acme"))
        await ledger.write(opt_out("acme"))
        assert (await ask(ledger, as_of=when(enrolled))).decision.permit
        assert codes(await ask(ledger, as_of=when(enrolled) - SECOND)) == ["before_enrolment"]


async def test_given_times_between_events_then_the_last_event_before_counts(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as ledger:
        outcomes = [await ledger.write(policy())]
        outcomes += [await ledger.write(enrol(f"w{number}")) for number in range(9)]
        for outcome in outcomes:
            assert (await ask(ledger, known_at=when(outcome))).token.position == outcome.last_position
        assert (await ask(ledger, known_at=0)).token.position == 0
        assert codes(await ask(ledger, known_at=0)) == ["unknown_workspace"]


async def test_given_organisations_and_successions_then_all_that_is_linked_is_read(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as ledger:
        await ledger.write(policy())
        await ledger.write(RegisterOrganisation(organisation="group"))
        for name in ("old", "heir"):
            await ledger.write(enrol(name))
        await ledger.write(ChangeWorkspace(workspace="heir", organisation="group"))
        succeeded = await ledger.write(SucceedWorkspace(workspace="heir", predecessor="old", kind="clone"))
        assert succeeded.status == "applied", succeeded
        permitted = await ask(ledger, "heir")
        assert permitted.decision.permit
        await ledger.write(opt_out("old"))
        assert codes(await ask(ledger, "heir"))[0] == "collected_unstated"
        group = Scope(kind="organisation", id="group")
        await ledger.write(RequestOptOut(scope=group, selector=opt_out("old").selector, applicant=OWNER))
        assert codes(await ask(ledger, "heir")) == ["organisation_opt_out_requested"]


async def test_given_a_withdrawn_opt_out_when_data_from_meanwhile_is_asked_about_then_deny(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as ledger:
        await ledger.write(policy())
        enrolled = await ledger.write(enrol("acme"))
        asked = await ledger.write(opt_out("acme"))
        request = str(asked.answer["request"])
        withdrawn = await ledger.write(WithdrawOptOut(request=request, applicant=OWNER))
        during = Collected(when(asked) + 1, when(asked) + 1)
        earlier = Collected(when(enrolled), when(enrolled))
        assert withdrawn.status == "applied", withdrawn
        assert codes(await ask(ledger, collected=during))[0] == "collected_outside_windows"
        assert (await ask(ledger, collected=earlier)).decision.permit


@pytest.mark.parametrize(
    ("known_at", "as_of_seconds", "code"),
    [
        (Token("another.log/ledger", 1, 1), None, "invalid_token"),
        (Token("test.local/ledger", 2, 1), None, "invalid_token"),
        (Token("test.local/ledger", 1, 1_000), None, "invalid_token"),
        (None, timedelta(hours=1).total_seconds(), "invalid_time"),
    ],
)
async def test_given_a_past_that_is_none_then_refused(
    migrated_database_url: str, known_at: Token | None, as_of_seconds: float | None, code: str
) -> None:
    async with desk(migrated_database_url) as ledger:
        enrolled = await ledger.write(enrol("acme"))
        as_of = None if as_of_seconds is None else when(enrolled) + int(as_of_seconds) * SECOND
        with pytest.raises(ConsentError) as refused:
            await ask(ledger, known_at=known_at, as_of=as_of)
        assert refused.value.code == code
        with pytest.raises(ConsentError, match="future"):
            await ask(ledger, known_at=when(enrolled) + 3_600 * SECOND)


# -- what is kept between questions --------------------------------------------------------------------------


def stop(key: str) -> SuspendPurpose:
    return SuspendPurpose(purpose=key, reason="regulator")


async def test_given_kept_states_when_asked_about_any_position_then_it_is_as_folded_from_the_first_event(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as ledger:
        await ledger.write(policy())
        last = 0
        for key in ("one", "two", "three", "train"):
            await ledger.write(enrol(f"w-{key}"))
            last = (await ledger.write(stop(key))).last_position
        assert last
        kept = Books(kept_max=2)
        for position in [*range(last + 1), *range(last, -1, -1), 3, last, 1]:
            async with viewing(ledger.pool, kept, When()) as view:
                assert await kept.until(view.connection, position) == await Books().until(
                    view.connection, position
                )
        assert len(kept._kept) <= 2


class Slow:
    """A connection whose rows come when they are let through."""

    def __init__(self, connection, let: asyncio.Event) -> None:
        self._connection, self._let = connection, let

    async def fetch(self, *query):
        await self._let.wait()
        return await self._connection.fetch(*query)


async def test_given_a_state_that_others_put_out_while_it_is_read_then_the_answer_is_the_same(
    postgres_url: str, migrated_database_template: str
) -> None:
    async with (
        fresh_database(postgres_url, template=migrated_database_template) as url,
        desk(url) as ledger,
    ):
        await ledger.write(policy())
        await ledger.write(stop("one"))
        async with viewing(ledger.pool, Books(), When()) as view:
            last = view.token.position
            for kept in (Books(kept_max=1), Books(kept_max=2)):
                before = await kept.until(view.connection, last - 1)
                let = asyncio.Event()
                slow = asyncio.create_task(kept.until(Slow(view.connection, let), last - 1))  # type: ignore[arg-type]
                await asyncio.sleep(0)
                await kept.until(view.connection, last)
                let.set()
                assert await slow == before


async def test_given_another_log_at_the_same_positions_then_nothing_kept_of_the_first_is_used(
    postgres_url: str, migrated_database_template: str
) -> None:
    kept = Books()
    for key in ("one", "two"):
        async with (
            fresh_database(postgres_url, template=migrated_database_template) as url,
            desk(url) as ledger,
        ):
            await ledger.write(policy())
            await ledger.write(stop(key))
            async with viewing(ledger.pool, kept, When()) as view:
                everybody = await view.everybody()
        assert [one.key for one in everybody.book.suspensions] == [key]


@pytest.mark.parametrize(
    ("known_at", "as_of", "code"),
    [
        ("", None, "invalid_time"),
        ("yesterday", None, "invalid_time"),
        ("a/b/c", None, "invalid_token"),
        ("2026-01-31", None, "invalid_time"),
        ("2026-01-31T09:00:00", None, "invalid_time"),
        (None, "0001-01-01T00:00:00+23:00", "invalid_time"),
        (None, "1969-12-31T23:59:59Z", "invalid_time"),
        (None, "2026-01-31T09:00:00+99:00", "invalid_time"),
    ],
)
def test_given_words_that_name_no_moment_then_they_are_refused(
    known_at: str | None, as_of: str | None, code: str
) -> None:
    with pytest.raises(ConsentError) as refused:
        parse_when(known_at, as_of)
    assert refused.value.code == code
