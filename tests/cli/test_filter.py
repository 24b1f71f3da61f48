"""The filter's verdict on every row is what `settle` says of it, whatever the columns look like."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from consent_domain.decide import Collected, combine, settle
from consent_domain.errors import ConsentError
from consent_domain.facts import (
    Attributes,
    Book,
    Choices,
    OptIn,
    OptOut,
    OrganisationFacts,
    Published,
    Succession,
    Suspension,
    WorkspaceFacts,
)
from consent_domain.grounds import prepare
from consent_domain.instants import DAY, SECOND
from consent_domain.policy import Exclusion, PolicyRules, Rule
from consent_domain.purposes import Purpose, Selector
from consent_domain.ruling import rule
from consent_gate.filter import Filter
from consent_gate.verdicts import Verdict, Verdicts
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = 1_000 * DAY
TRAIN = "train.ranking"
GENERATE = "train.generative"


def purpose(key: str) -> Purpose:
    return Purpose(
        key=key,
        processing="train",
        reach="global",
        model_class="non_generative",
        recipient="first_party",
        categories=["messages"],
        legal_basis="legitimate_interest",
        justification="A test.",
    )


def policy(
    version: str, position: int, day: int, *rules: Rule, keys: tuple[str, ...] = (TRAIN,)
) -> Published:
    out = [Exclusion(selector=Selector(all=True), plans=["quiet"])]
    made = PolicyRules(purposes=[purpose(key) for key in keys], rules=list(rules), exclusions=out)
    return Published(version, position, day * DAY, "looser", made)


BOTH = (TRAIN, GENERATE)
EVERYTHING = Selector(all=True)
OPT_OUT = Rule(selector=EVERYTHING, regime="opt_out")
BOOK = Book(
    policies=(
        policy("1", 1, 100, Rule(selector=EVERYTHING, regime="prohibited")),
        policy("2", 2, 300, OPT_OUT),
        policy("3", 3, 500, Rule(selector=EVERYTHING, regime="opt_in")),
        policy("4", 4, 700, Rule(selector=Selector(keys=[GENERATE]), regime="opt_in"), OPT_OUT, keys=BOTH),
        policy("5", 5, 1_100, OPT_OUT, keys=BOTH),
    ),
    suspensions=(Suspension(TRAIN, 800 * DAY, 6, 820 * DAY),),
    opened=7,
)  # fmt: skip


class Facts:
    """A snapshot held in two tables."""

    def __init__(self, workspaces: dict[str, WorkspaceFacts], book: Book = BOOK) -> None:
        self.book = book
        self._workspaces = workspaces
        self._organisations = {
            "calm": OrganisationFacts(8),
            "strict": OrganisationFacts(9, Choices((OptOut("r", EVERYTHING, 600 * DAY, 12, 2),))),
        }

    def workspace(self, name: str) -> WorkspaceFacts | None:
        return self._workspaces.get(name)

    def organisation(self, name: str) -> OrganisationFacts | None:
        return self._organisations.get(name)


def attributes(since: int, position: int, plan: str = "pro", organisation: str = "") -> Attributes:
    return Attributes(since, position, plan, "eu", "", organisation)


def workspaces(seed: int) -> dict[str, WorkspaceFacts]:
    """Twenty workspaces of every kind: plain ones of several classes, and some with a history."""
    choose = random.Random(seed)
    made = {}
    for number in range(20):
        since = choose.randrange(0, 1_010) * DAY
        position = 20 + number
        plan = choose.choice(["pro", "pro", "pro", "quiet"])
        organisation = choose.choice(["", "", "calm", "strict", "gone"])
        facts = WorkspaceFacts(
            choose.choice(["production"] * 5 + ["sandbox"]),
            position,
            since,
            (attributes(since, position, plan, organisation),),
        )
        made[f"w{number}"] = _with_history(facts, choose)
    return made


def _with_history(facts: WorkspaceFacts, choose: random.Random) -> WorkspaceFacts:
    at = choose.randrange(200, 1_000) * DAY
    end = at + choose.randrange(1, 200) * DAY
    changes: list[dict[str, Any]] = [
        {},
        {},
        {},
        {"choices": Choices((OptOut("r", EVERYTHING, at, 40, 2),))},
        {"choices": Choices((OptOut("r", EVERYTHING, at, 40, 2, ended=end),))},
        {"choices": Choices((), (OptIn("o", tuple(map(purpose, BOTH)), BOTH, at, 41),))},
        {"choices": Choices((), (OptIn("o", (purpose(TRAIN),), (TRAIN,), at, 41, None, False, end, 42),))},
        {"closed": at, "closed_position": 43},
        {"attributes": (*facts.attributes, attributes(at, 44, "quiet"), attributes(end, 45))},
        {"successions": (Succession("w1", True, at, 46),)},
        {"quarantined": 47, "attributes": ()},
    ]  # fmt: skip
    values = {name: getattr(facts, name) for name in facts.__struct_fields__}
    return WorkspaceFacts(**(values | choose.choice(changes)))


def told(facts: Facts, purpose_key: str, owners: list[str | None] | None, collected: int | None) -> Verdict:
    """The verdict on one row by the rules themselves."""
    at = None if collected is None else Collected(collected, collected)
    if not owners:
        return Verdict(False, "no_workspace")
    decisions = []
    for owner in owners:
        if owner is None:
            return _first(decisions) or Verdict(False, "no_workspace")
        decision = settle(rule(facts, owner, purpose_key, (), NOW), at, NOW)
        decisions.append(Verdict(decision.permit, *(reason.code for reason in decision.reasons[:2])))
    return _first(decisions) or decisions[0]


def _first(verdicts: list[Verdict]) -> Verdict | None:
    return next((one for one in verdicts if not one.permit), None)


owner = st.one_of(
    st.none(), st.integers(0, 22).map("w{}".format), st.sampled_from(["", "w 1", "W1", "é", "w" * 200])
)
instant = st.one_of(
    st.none(), st.integers(0, 1_010).map(lambda day: day * DAY), st.integers(0, 1_200 * DAY),
    st.sampled_from([-1, NOW, NOW + 300 * SECOND, NOW + 300 * SECOND + 1, 1_100 * DAY]),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(owner, st.one_of(st.none(), st.lists(owner, max_size=3)), instant), max_size=40),
    st.sampled_from([TRAIN, GENERATE, "train.nothing"]),
    st.integers(0, 5),
)
def test_every_row_gets_the_verdict_of_the_rules(
    seed: int,
    rows: list[tuple[str | None, list[str | None] | None, int | None]],
    purpose_key: str,
    skipped: int,
) -> None:
    facts = Facts(workspaces(seed))
    batch = pa.record_batch(
        {
            "one": pa.array([row[0] for row in rows], pa.string()),
            "several": pa.array([row[1] for row in rows], pa.list_(pa.string())),
            "at": pa.array([row[2] for row in rows], pa.timestamp("us", "UTC")),
        }
    ).slice(skipped)
    rows = rows[skipped:]
    verdicts = Verdicts(facts, NOW, purpose_key)
    for columns, stated in (
        (["one"], True),
        (["several"], True),
        (["one", "several"], True),
        (["several"], False),
    ):
        filtering = Filter(verdicts, columns, "at" if stated else "")
        found = [verdicts.table[number] for number in filtering.verdicts(batch).to_pylist()]
        mask = Filter(verdicts, columns, "at" if stated else "").mask(batch).to_pylist()
        for index, (one, several, at) in enumerate(rows):
            shares = {"one": [one], "several": several}
            expected = [
                told(facts, purpose_key, shares[column], at if stated else None) for column in columns
            ]
            assert found[index] == (_first(expected) or expected[0])
            assert mask[index] is all(verdict.permit for verdict in expected)
        assert sum(filtering.counts.values()) == len(rows)


def test_what_a_class_says_of_a_member_is_what_the_rules_say() -> None:
    for seed in range(200):
        facts = Facts(workspaces(seed))
        case = prepare(BOOK, TRAIN, (), NOW)
        verdicts = Verdicts(facts, NOW, TRAIN)
        for name in workspaces(seed):
            standing = verdicts.standing(name)
            decision = combine([(name, settle(rule(facts, name, case.purpose, (), NOW), None, NOW))])
            assert verdicts.table[standing.unstated].permit == decision.permit
            assert verdicts.table[standing.unstated].code == decision.reasons[0].code


PERMITTED = Facts({"good": WorkspaceFacts("production", 20, 750 * DAY, (attributes(750 * DAY, 20),))})
RECENT = 900 * DAY


@pytest.mark.parametrize(
    "owners",
    [
        pa.array(["good"]),
        pa.array(["good"], pa.large_string()),
        pa.array(["good"], pa.string_view()),
        pa.array(["good"]).dictionary_encode(),
        pa.array([["good"]]),
        pa.array([["good", "good"]], pa.large_list(pa.string())),
        pa.array([["good", "good"]], pa.list_(pa.string(), 2)),
        pa.array([["good"]], pa.list_view(pa.string())),
        pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["good"]).dictionary_encode()),
    ],
    ids=lambda owners: str(owners.type),
)
def test_ids_may_be_any_kind_of_text_or_list_of_text(owners: pa.Array[Any]) -> None:
    batch = pa.record_batch({"owners": owners, "at": pa.array([RECENT], pa.timestamp("us", "UTC"))})
    assert Filter(Verdicts(PERMITTED, NOW, TRAIN), ["owners"], "at").mask(batch).to_pylist() == [True]


@pytest.mark.parametrize("owners", [pa.array([1]), pa.array([b"good"]), pa.array([[1]]), pa.array([None])])
def test_ids_that_are_no_text_are_refused_by_type(owners: pa.Array[Any]) -> None:
    batch = pa.record_batch({"owners": owners})
    with pytest.raises(ConsentError, match="workspace ids are text"):
        Filter(Verdicts(PERMITTED, NOW, TRAIN), ["owners"]).mask(batch)


def test_a_null_list_owns_nothing_whatever_lies_behind_it() -> None:
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 1, 2, 3], pa.int32()),
        pa.array(["good", "bad", "good"]),
        mask=pa.array([False, True, False]),
    )
    found = Filter(Verdicts(PERMITTED, NOW, TRAIN), ["w"], "at").mask(
        pa.record_batch({"w": hidden, "at": pa.array([RECENT] * 3, pa.timestamp("us", "UTC"))})
    )
    assert found.to_pylist() == [True, False, True]


@pytest.mark.parametrize(
    ("values", "permitted"),
    [
        (pa.array([RECENT // SECOND], pa.timestamp("s", "UTC")), True),
        (pa.array([RECENT // 1000], pa.timestamp("ms", "Europe/Berlin")), True),
        (pa.array([RECENT * 1000 + 999], pa.timestamp("ns", "UTC")), True),
        (pa.array([750 * DAY * 1000 - 1], pa.timestamp("ns", "UTC")), False),
        (pa.array([750 * DAY * 1000], pa.timestamp("ns", "UTC")), True),
        (pa.array([None], pa.timestamp("us", "UTC")), True),
    ],
)
def test_collection_times_are_instants_in_any_unit_and_zone(values: pa.Array[Any], permitted: bool) -> None:
    batch = pa.record_batch({"w": pa.array(["good"]), "at": values})
    # All the past of `good` qualifies only if nothing was suspended in it.
    facts = Facts(
        {"good": PERMITTED.workspace("good")},  # type: ignore[dict-item]
        Book(policies=BOOK.policies[:4], opened=7),
    )
    assert Filter(Verdicts(facts, NOW, TRAIN), ["w"], "at").mask(batch).to_pylist() == [permitted]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([datetime(2026, 1, 1)]),
        pa.array([datetime(2026, 1, 1, tzinfo=UTC).date()]),
        pa.array(["2026-01-01T00:00:00Z"]),
        pa.array([RECENT]),
    ],
)
def test_collection_times_that_name_no_instant_are_refused(values: pa.Array[Any]) -> None:
    batch = pa.record_batch({"w": pa.array(["good"]), "at": values})
    with pytest.raises(ConsentError, match="timestamp with a time zone"):
        Filter(Verdicts(PERMITTED, NOW, TRAIN), ["w"], "at").mask(batch)


def test_a_time_that_no_calendar_holds_is_no_permission() -> None:
    batch = pa.record_batch({"w": pa.array(["good"]), "at": pa.array([1 << 62], pa.timestamp("s", "UTC"))})
    with pytest.raises(pa.ArrowInvalid):
        Filter(Verdicts(PERMITTED, NOW, TRAIN), ["w"], "at").mask(batch)


@pytest.mark.parametrize("columns", [["W"], ["w", "other"], ["twice"]])
def test_a_column_that_is_not_there_or_there_twice_is_refused_by_name(columns: list[str]) -> None:
    batch = pa.RecordBatch.from_arrays(
        [pa.array(["good"]), pa.array(["good"]), pa.array(["good"])], names=["w", "twice", "twice"]
    )
    with pytest.raises(ConsentError, match=repr(columns[-1])):
        Filter(Verdicts(PERMITTED, NOW, TRAIN), columns).mask(batch)


def test_no_column_at_all_is_refused() -> None:
    with pytest.raises(ConsentError, match="at least one column"):
        Filter(Verdicts(PERMITTED, NOW, TRAIN), [])
