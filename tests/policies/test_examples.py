"""The invented vendor's history: texts and commands belong together, and each version says what it claims."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from consent_domain.commands import (
    Applicant,
    EnrolWorkspace,
    GrantOptIn,
    ImportCommand,
    ImportPolicy,
    ImportWorkspace,
    LiveCommand,
    PublishPolicy,
    RequestOptIn,
)
from consent_domain.events import Notice, Scope
from consent_domain.instants import SECOND, micros, moment_of
from consent_domain.policy import (
    PolicyRules,
    Profile,
    deadline_of,
    differences,
    exclusions_of,
    regime_of,
    turned_on,
    widenings,
)
from consent_domain.purposes import MODEL_CLASS, PROCESSING, REACH, RECIPIENT, Purpose
from msgspec.structs import replace
from scenario import Ledger

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COMMANDS = sorted((EXAMPLES / "policies").glob("*/*.json"))
ANYBODY = Profile("pro", "us", "", "")
NO_TRAINING = Profile("enterprise", "us", "no_training", "")
PUBLIC_SECTOR = Profile("public_sector", "eu", "", "")
FOR_EVERYBODY = ("channel_recommendation", "emoji_suggestion", "search_ranking", "autocomplete")
read_command = msgspec.json.Decoder(LiveCommand | ImportCommand).decode


def command(name: str) -> PublishPolicy | ImportPolicy:
    read = read_command((EXAMPLES / "policies" / name).read_bytes())
    assert isinstance(read, (PublishPolicy, ImportPolicy))
    return read


ONE = command("1-analysis/import.json")
TWO = command("2-training-by-default/import.json")
EDITORIAL = command("3-non-generative-only/publish-as-editorial.json")
THREE = command("3-non-generative-only/publish-as-stricter.json")
FOUR = command("4-generative-opt-in/publish.json")
VERSIONS = (ONE, TWO, THREE, FOUR)


def on(rules: PolicyRules, profile: Profile, processing: str = "train") -> set[str]:
    return {key for key in turned_on(rules, profile) if key.startswith(f"{processing}.")}


def widened(old: PolicyRules | None, new: PolicyRules, profile: Profile | None = None) -> set[str]:
    return {one.purpose for one in widenings(old, new) if profile is None or one.profile == profile}


def purpose_of(rules: PolicyRules, key: str) -> Purpose:
    return next(purpose for purpose in rules.purposes if purpose.key == key)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_command_names_the_text_beside_it(path: Path) -> None:
    text = (path.parent / "principles.md").read_bytes()
    read = read_command(path.read_bytes())
    assert isinstance(read, (PublishPolicy, ImportPolicy))
    assert read.text_sha256 == sha256(text).hexdigest()


@pytest.mark.parametrize("version", [*VERSIONS, EDITORIAL], ids=lambda one: f"{one.version}-{one.direction}")
def test_every_purpose_speaks_the_words_of_the_vocabulary(version: PublishPolicy | ImportPolicy) -> None:
    for purpose in version.rules.purposes:
        assert purpose.processing in PROCESSING
        assert purpose.key.startswith(f"{purpose.processing}.")
        assert purpose.reach in REACH
        assert purpose.model_class in MODEL_CLASS
        assert purpose.recipient in RECIPIENT
        assert purpose.categories == sorted(purpose.categories)
        assert purpose.justification.endswith(".")
        assert regime_of(version.rules, purpose, ANYBODY) is not None


def test_versions_follow_each_other_and_only_the_last_is_announced_for_later() -> None:
    effective = [version.effective_at for version in VERSIONS]
    assert effective == sorted(effective)
    assert effective[2] < datetime(2025, 1, 1, tzinfo=UTC)
    assert effective[3].year == 2099
    assert len({version.version for version in VERSIONS}) == 4


def test_version_1_analyses_and_trains_nothing() -> None:
    assert on(ONE.rules, ANYBODY) == set()
    assert on(ONE.rules, ANYBODY, "analyze") == {"analyze.product"}
    assert not any(purpose.processing in ("train", "fine_tune") for purpose in ONE.rules.purposes)
    text = (EXAMPLES / "policies" / "1-analysis" / "principles.md").read_text().lower()
    assert not any(word in text for word in ("train", "machine learning", "artificial", "model"))


def test_version_2_turns_training_on_for_everybody_but_who_has_a_contract() -> None:
    every_training = {f"train.{name}" for name in (*FOR_EVERYBODY, "own_workspace", "generative")}
    assert widened(ONE.rules, TWO.rules, Profile("", "", "", "")) == every_training | {
        f"serve.{name}" for name in FOR_EVERYBODY
    }
    assert on(TWO.rules, ANYBODY) == on(TWO.rules, PUBLIC_SECTOR) == every_training
    assert on(TWO.rules, NO_TRAINING) == set()
    assert on(TWO.rules, NO_TRAINING, "serve") == {f"serve.{name}" for name in FOR_EVERYBODY}
    assert TWO.direction == "looser"
    assert TWO.notice is not None
    assert (TWO.effective_at - TWO.notice.given_at).days >= TWO.rules.notice_days == 30


def test_version_3_called_editorial_is_the_same_rules_and_differs_in_what_decides() -> None:
    assert EDITORIAL.direction == "editorial"
    assert (EDITORIAL.rules, EDITORIAL.text_sha256, EDITORIAL.version, EDITORIAL.effective_at) == (
        THREE.rules,
        THREE.text_sha256,
        THREE.version,
        THREE.effective_at,
    )
    found = differences(TWO.rules, EDITORIAL.rules)
    assert "purpose train.generative for everybody else: was opt_out, becomes prohibited" in found
    assert "deadlines differ" in found
    assert any(
        sentence.startswith("purpose train.search_ranking: categories was content,") for sentence in found
    )


def test_version_3_is_stricter_widens_nothing_and_leaves_four_models_on() -> None:
    assert THREE.direction == "stricter"
    assert widenings(TWO.rules, THREE.rules) == []
    assert on(THREE.rules, ANYBODY) == {f"train.{name}" for name in (*FOR_EVERYBODY, "own_workspace")}
    assert on(THREE.rules, PUBLIC_SECTOR) == {"train.own_workspace"}
    assert on(THREE.rules, NO_TRAINING) == set()
    for key in ("train.generative", "share.third_party_model"):
        assert regime_of(THREE.rules, purpose_of(THREE.rules, key), ANYBODY) == "prohibited"


def test_version_4_offers_generative_training_to_those_who_say_yes_and_changes_nothing_else() -> None:
    assert widenings(THREE.rules, FOUR.rules) == []
    assert turned_on(FOUR.rules, ANYBODY) == turned_on(THREE.rules, ANYBODY)
    found = differences(THREE.rules, FOUR.rules)
    assert found
    assert all(sentence.startswith("purpose train.generative") for sentence in found)
    assert regime_of(FOUR.rules, purpose_of(FOUR.rules, "train.generative"), ANYBODY) == "opt_in"
    assert FOUR.direction == "looser"


@pytest.mark.parametrize(
    ("version", "region", "days", "extension"),
    [
        (TWO, "eu", 30, 60),
        (TWO, "uk", 30, 60),
        (TWO, "us-ca", 15, 0),
        (TWO, "us", None, None),
        (THREE, "eu", 30, 60),
        (THREE, "us-ca", 15, 0),
        (THREE, "us", 30, 0),
        (THREE, "apac", 30, 0),
    ],
)
def test_deadlines_by_region(
    version: PublishPolicy | ImportPolicy, region: str, days: int | None, extension: int | None
) -> None:
    rule = deadline_of(version.rules, region)
    if days is None:
        assert rule is None
    else:
        assert rule is not None
        assert (rule.days, rule.extension_days) == (days, extension)
        assert rule.law


def test_a_request_is_declined_for_listed_reasons_only() -> None:
    listed = {"duplicate", "no_authority", "required_by_policy", "not_our_customer"}
    assert all(set(version.rules.rejection_reasons) == listed for version in VERSIONS[1:])


# -- as the ledger takes them ----------------------------------------------------------------------------


def imported() -> Ledger:
    """Versions 1 and 2 as history, read in November 2026."""
    ledger = Ledger()
    ledger.now = micros(datetime(2026, 11, 2, tzinfo=UTC))
    return ledger.given(ONE, TWO)


def test_given_the_history_when_version_3_calls_itself_editorial_then_it_is_refused() -> None:
    refusal = imported().refused(EDITORIAL, "not_editorial")
    assert refusal.extra["differences"] == differences(TWO.rules, EDITORIAL.rules)


def test_given_the_history_when_versions_3_and_4_are_published_as_they_are_then_they_are_accepted() -> None:
    ledger = imported().given(THREE, FOUR)
    assert [policy.version for policy in ledger.book.policies] == [version.version for version in VERSIONS]
    assert ledger.book.opened > 0


def test_given_version_4_when_it_is_made_to_begin_soon_then_silence_is_no_and_a_yes_is_a_yes() -> None:
    ledger = imported().given(THREE)
    ledger.given(
        EnrolWorkspace(workspace="asked", plan="pro", region="eu"),
        EnrolWorkspace(workspace="silent", plan="pro", region="eu"),
        replace(FOUR, effective_at=moment_of(ledger.now + 5 * SECOND)),
    )
    ledger.wait(6 * SECOND)
    scope = Scope(kind="workspace", id="asked")
    owner = Applicant(role="owner", authority="verified")
    ledger.given(RequestOptIn(scope=scope, keys=["train.generative"], applicant=owner))
    shown = Notice(given_at=moment_of(ledger.now), channel="in_product")
    ledger.given(GrantOptIn(opt_in=ledger.request(), applicant=owner, notice=shown))
    assert ledger.decide("asked", "train.generative").permit
    silent = ledger.decide("silent", "train.generative")
    assert (silent.permit, silent.standing) == (False, "defaulted_off")
    assert ledger.decide("silent", "train.search_ranking").standing == "defaulted_on"


def test_data_of_2022_never_trains_whatever_came_later() -> None:
    customer = datetime(2021, 1, 1, tzinfo=UTC)
    old = ImportWorkspace(workspace="old", plan="pro", region="us", customer_since=customer)
    ledger = imported().given(old, THREE)
    for day, permit in ((datetime(2022, 6, 1, tzinfo=UTC), False), (datetime(2024, 6, 1, tzinfo=UTC), True)):
        decision = ledger.decide("old", "train.search_ranking", micros(day))
        assert decision.permit == permit
    assert ledger.decide("old", "analyze.product", micros(datetime(2022, 6, 1, tzinfo=UTC))).permit


# -- the customers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_workspaces", EXAMPLES / "make_workspaces.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def workspaces() -> list[dict[str, str]]:
    with (EXAMPLES / "workspaces.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_script_makes_the_committed_file_again(script: ModuleType) -> None:
    made = io.StringIO()
    script.write(made)
    committed = (EXAMPLES / "workspaces.csv").read_bytes()
    assert made.getvalue().encode() == committed
    assert len(committed) < 1_000_000


def test_the_customers_are_as_the_readme_says(workspaces: list[dict[str, str]]) -> None:
    assert len(workspaces) == len({row["workspace"] for row in workspaces}) == 10_000
    assert sum(bool(row["opted_out_at"]) for row in workspaces) == 540
    assert Counter(row["kind"] for row in workspaces)["sandbox"] == 24
    assert len({row["organisation"] for row in workspaces} - {""}) == 60
    assert sum(bool(row["organisation"]) for row in workspaces) == 900
    for row in workspaces:
        asked = row["opted_out_at"]
        assert bool(asked) == bool(row["opted_out_by"])
        assert not asked or asked > max(row["customer_since"], "2023-09-15")
        assert not (asked and (row["organisation"] or row["kind"] == "sandbox"))


@pytest.mark.parametrize(("version", "count"), [(TWO, 9_420), (THREE, 9_408)])
def test_how_many_customers_are_on_by_default(
    workspaces: list[dict[str, str]], version: PublishPolicy | ImportPolicy, count: int
) -> None:
    purpose = purpose_of(version.rules, "train.search_ranking")

    def is_on(row: dict[str, str]) -> bool:
        profile = Profile(row["plan"], row["region"], row["contract"], row["organisation"])
        excluded = any(exclusions_of(version.rules, (purpose,), purpose.categories, profile))
        opted_out = bool(row["opted_out_at"])
        on_by_default = regime_of(version.rules, purpose, profile) == "opt_out"
        return on_by_default and not excluded and not opted_out and row["kind"] == "production"

    assert sum(map(is_on, workspaces)) == count
