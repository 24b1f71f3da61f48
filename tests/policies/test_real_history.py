"""Five versions of one real vendor's terms, of 2023: what a check of the same data answers under each.

The texts are not part of this project: they are read where they lie beside it, and these tests are
skipped where they do not. The rules are what we read out of the texts; others may read them otherwise.
"""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest
from consent_domain.commands import Applicant, EarlierOptOut, ImportPolicy, ImportWorkspace
from consent_domain.decide import Collected, Decision, decide
from consent_domain.instants import Micros, micros
from consent_domain.policy import PolicyRules, Rule, differences, offers, widenings
from consent_domain.purposes import Purpose, Selector
from msgspec.structs import replace
from scenario import Ledger

TEXTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "policies"

pytestmark = pytest.mark.skipif(
    not TEXTS.is_dir(), reason="the vendor's texts are not here: ../shared/data/policies is absent"
)

FEBRUARY, APRIL, JULY, AUGUST_7, AUGUST_11 = (
    f"zoom-tos-2023-{day}.md" for day in ("02-01", "04-01", "07-28", "08-07", "08-11")
)
LIVE_STREAMS = ["audio", "chat", "video"]
OTHER_COMMUNICATIONS = ["attachments", "reactions", "screen_sharing", "whiteboard"]
DOCUMENTS = ["documents", "recordings", "transcripts"]


def training(key: str, categories: list[str], justification: str) -> Purpose:
    """The texts do not say which kinds of models, so the model class is left at `any`."""
    return Purpose(
        key=key,
        processing="train",
        reach="global",
        model_class="any",
        recipient="first_party",
        categories=categories,
        legal_basis="contract",
        justification=justification,
    )


def required(*keys: str) -> Rule:
    return Rule(selector=Selector(keys=list(keys)), regime="required")


SERVICE = Purpose(
    key="serve.meetings",
    processing="serve",
    reach="workspace",
    model_class="non_generative",
    recipient="first_party",
    categories=sorted([*LIVE_STREAMS, *OTHER_COMMUNICATIONS, *DOCUMENTS, "telemetry"]),
    legal_basis="contract",
    justification="The service is provided.",
)
COMMUNICATIONS = training("train.communications", LIVE_STREAMS, "Licensed for machine learning (10.4 ii).")
CONTENT = training(
    "train.content", sorted([*OTHER_COMMUNICATIONS, *DOCUMENTS]), "Licensed for machine learning (10.4 ii)."
)
TELEMETRY = training("train.telemetry", ["telemetry"], "Consented to for training of models (10.2).")

# February: content is touched in order to provide the service, as the customer instructs, or as law
# asks. There is no word of learning, so there is no purpose for it, and what has no rule is denied.
IN_FEBRUARY = PolicyRules(purposes=[SERVICE], rules=[required("serve.meetings")])

# April: by accepting, the customer grants a licence that names machine learning and training (10.4),
# and consents to training on telemetry (10.2). There is no way to object short of leaving, hence
# `required` and not `opt_out`. Section 10 tells apart two kinds of data, content and telemetry; content
# is two purposes here because the version of 7 August draws a line through it.
IN_APRIL = PolicyRules(
    purposes=[SERVICE, COMMUNICATIONS, CONTENT, TELEMETRY],
    rules=[required("serve.meetings", "train.communications", "train.content", "train.telemetry")],
)

# July: section 10 is the same to the letter; what changed is about taxes.
IN_JULY = IN_APRIL

# 7 August: a sentence under 10.4 makes audio, video and chat depend on consent for training. The licence
# on all other content and 10.2 stay.
ON_AUGUST_7 = replace(
    IN_APRIL,
    rules=[
        Rule(selector=Selector(keys=["train.communications"]), regime="opt_in"),
        required("serve.meetings", "train.content", "train.telemetry"),
    ],
)

# 11 August: no communications-like content trains models, whoever says yes; the sentence names more than
# audio, video and chat. Other content has permitted uses, and learning is none of them. Telemetry is owned
# by the vendor, but the consent to train on it is gone, and what customers are not told has no rule here.
ON_AUGUST_11 = PolicyRules(
    purposes=[
        SERVICE,
        replace(COMMUNICATIONS, categories=sorted([*LIVE_STREAMS, *OTHER_COMMUNICATIONS])),
    ],
    rules=[
        Rule(selector=Selector(keys=["train.communications"]), regime="prohibited"),
        required("serve.meetings"),
    ],
)

# The day from which each says that it is in force, which is not always that of the file.
VERSIONS = (
    (FEBRUARY, "2023-02-01", "looser", IN_FEBRUARY),
    (APRIL, "2023-03-31", "looser", IN_APRIL),
    (JULY, "2023-07-27", "editorial", IN_JULY),
    (AUGUST_7, "2023-08-07", "stricter", ON_AUGUST_7),
    (AUGUST_11, "2023-08-11", "stricter", ON_AUGUST_11),
)


def instant(day: str) -> Micros:
    return micros(datetime.fromisoformat(f"{day}T12:00:00Z"))


def section_10(name: str) -> str:
    """Section 10 of the versions that have one about data, without what follows it."""
    text = (TEXTS / name).read_text()
    return text[text.index("**10.1") : re.search(r"\n\d+\. \*\*ELIGIBILITY", text).start()]  # type: ignore[union-attr]


def policy(name: str, effective: str, direction: str, rules: PolicyRules) -> ImportPolicy:
    day = datetime.fromisoformat(f"{effective}T00:00:00Z")
    return ImportPolicy(
        version=effective,
        title="Terms of service",
        text_sha256=sha256((TEXTS / name).read_bytes()).hexdigest(),
        published_at=day,
        effective_at=day,
        direction=direction,
        why="as we read section 10",
        rules=rules,
    )


def workspace(name: str, *opt_outs: EarlierOptOut) -> ImportWorkspace:
    since = datetime.fromisoformat("2022-01-10T00:00:00Z")
    return ImportWorkspace(
        workspace=name, plan="pro", region="us", customer_since=since, opt_outs=list(opt_outs)
    )


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """The history, backfilled: `silent` asked for nothing, `objected` wrote on 20 May and was heard."""
    mail = EarlierOptOut(
        selector=Selector(all=True),
        received_at=datetime.fromisoformat("2023-05-20T12:00:00Z"),
        applicant=Applicant(role="owner", authority="verified"),
        processed_at=datetime.fromisoformat("2023-06-15T12:00:00Z"),
    )
    return Ledger().given(
        *(policy(*version) for version in VERSIONS), workspace("silent"), workspace("objected", mail)
    )


def answer(
    ledger: Ledger, purpose: str, asked: str, collected: str, who: str = "silent", *categories: str
) -> Decision:
    then = instant(collected)
    return decide(ledger, [who], purpose, categories, instant(asked), Collected(then, then))


# -- what the texts say ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "effective"), [version[:2] for version in VERSIONS])
def test_a_text_says_when_it_is_in_force(name: str, effective: str) -> None:
    first_line = (TEXTS / name).read_text().splitlines()[0]
    day = datetime.strptime(first_line.partition(": ")[2].strip(), "%B %d, %Y")
    assert day.date().isoformat() == effective


def test_february_does_not_know_learning_and_april_does() -> None:
    assert not re.search("machine learning|artificial intelligence", (TEXTS / FEBRUARY).read_text(), re.I)
    assert section_10(APRIL).count("machine learning") == 2


def test_july_changed_nothing_of_section_10() -> None:
    assert section_10(APRIL) == section_10(JULY)


def test_the_7th_of_august_adds_a_sentence_about_consent_and_keeps_the_licence() -> None:
    added = set(section_10(AUGUST_7).splitlines()) - set(section_10(JULY).splitlines())
    assert len(added) == 1
    assert "without your consent" in added.pop()
    assert section_10(AUGUST_7).count("machine learning") == 2


def test_the_11th_of_august_takes_learning_out() -> None:
    assert "machine learning" not in section_10(AUGUST_11)
    assert "does not use any of your audio, video, chat, screen sharing" in section_10(AUGUST_11)


# -- what the rules do -----------------------------------------------------------------------------------


def test_april_widens_july_is_editorial_and_august_narrows_twice() -> None:
    assert {one.purpose for one in widenings(IN_FEBRUARY, IN_APRIL)} == {
        "train.communications",
        "train.content",
        "train.telemetry",
    }
    assert differences(IN_APRIL, IN_JULY) == []
    assert widenings(IN_JULY, ON_AUGUST_7) == widenings(ON_AUGUST_7, ON_AUGUST_11) == []
    assert offers(IN_JULY, ON_AUGUST_7) == offers(ON_AUGUST_7, ON_AUGUST_11) == []
    assert differences(IN_JULY, ON_AUGUST_7) == [
        "purpose train.communications for everybody else: was required, becomes opt_in"
    ]
    assert differences(ON_AUGUST_7, ON_AUGUST_11)


def test_a_version_of_april_that_called_itself_editorial_would_have_been_refused() -> None:
    before = Ledger().given(policy(*VERSIONS[0]))
    refusal = before.refused(policy(APRIL, "2023-03-31", "editorial", IN_APRIL), "not_editorial")
    assert "purpose train.communications is new" in str(refusal.extra["differences"])
    before.refused(policy(APRIL, "2023-03-31", "stricter", IN_APRIL), "wrong_direction")


# -- what a check answers --------------------------------------------------------------------------------

PERMIT = ("permit", "required", "required_by_policy")
OUTSIDE = ("deny", "required", "collected_outside_windows")


@pytest.mark.parametrize(
    ("purpose", "collected", "asked", "expected"),
    [
        # Chat of February: before April nobody was told, and April does not reach back.
        ("train.communications", "2023-02-15", "2023-03-01", ("deny", "unknown", "unknown_purpose")),
        ("train.communications", "2023-02-15", "2023-04-15", OUTSIDE),
        ("train.communications", "2023-02-15", "2023-07-29", OUTSIDE),
        ("train.communications", "2023-02-15", "2023-08-08", ("deny", "defaulted_off", "opt_in_missing")),
        ("train.communications", "2023-02-15", "2023-08-12", ("deny", "prohibited", "prohibited_by_policy")),
        # Chat of April: permitted from April on, until the 7th of August; then no past yes counts.
        ("train.communications", "2023-04-10", "2023-04-15", PERMIT),
        ("train.communications", "2023-04-10", "2023-07-29", PERMIT),
        ("train.communications", "2023-04-10", "2023-08-08", ("deny", "defaulted_off", "opt_in_missing")),
        ("train.communications", "2023-04-10", "2023-08-12", ("deny", "prohibited", "prohibited_by_policy")),
        # Documents of April: four days longer.
        ("train.content", "2023-04-10", "2023-07-29", PERMIT),
        ("train.content", "2023-04-10", "2023-08-08", PERMIT),
        ("train.content", "2023-04-10", "2023-08-12", ("deny", "unknown", "purpose_not_in_policy")),
        # Telemetry likewise.
        ("train.telemetry", "2023-02-15", "2023-08-08", OUTSIDE),
        ("train.telemetry", "2023-08-08", "2023-08-09", PERMIT),
        ("train.telemetry", "2023-08-08", "2023-08-12", ("deny", "unknown", "purpose_not_in_policy")),
        # The service itself was always allowed, on all data.
        ("serve.meetings", "2023-02-15", "2023-03-01", PERMIT),
        ("serve.meetings", "2023-02-15", "2023-08-12", PERMIT),
    ],
)
def test_the_same_data_asked_on_each_date(
    ledger: Ledger, purpose: str, collected: str, asked: str, expected: tuple[str, str, str]
) -> None:
    decision = answer(ledger, purpose, asked, collected)
    given = "permit" if decision.permit else "deny"
    assert (given, decision.standing, decision.reasons[0].code) == expected


def test_a_reason_names_the_version_that_gives_it(ledger: Ledger) -> None:
    decision = answer(ledger, "train.communications", "2023-08-12", "2023-04-10")
    assert decision.policy_version == "2023-08-11"
    published = next(one for one in ledger.book.policies if one.version == "2023-08-11")
    assert decision.reasons[0].position == published.position


def test_whoever_does_not_know_when_it_was_collected_is_told_which_windows_hold(ledger: Ledger) -> None:
    decision = decide(ledger, ["silent"], "train.content", (), instant("2023-08-08"), None)
    assert not decision.permit
    assert decision.reasons[0].code == "collected_unstated"
    assert [(one.start, one.end) for one in decision.windows] == [
        (micros(datetime.fromisoformat("2023-03-31T00:00:00Z")), None)
    ]


@pytest.mark.parametrize(
    ("asked", "permit", "code"),
    [
        ("2023-04-15", True, "required_by_policy"),
        # Received and not yet processed: it denies from receipt, and terms that call the use required
        # are no ground to ignore it.
        ("2023-05-21", False, "opted_out"),
        ("2023-07-29", False, "opted_out"),
        ("2023-08-08", False, "opted_out"),
    ],
)
def test_an_objection_that_was_heard_counts_from_the_day_it_was_received(
    ledger: Ledger, asked: str, permit: bool, code: str
) -> None:
    decision = answer(ledger, "train.content", asked, "2023-04-10", "objected")
    assert (decision.permit, decision.reasons[0].code) == (permit, code)


def test_a_category_that_the_purpose_does_not_take_is_denied(ledger: Ledger) -> None:
    decision = answer(ledger, "train.content", "2023-07-29", "2023-04-10", "silent", "chat")
    assert not decision.permit
    assert decision.reasons[0].code == "category_not_in_purpose"
