"""A published version of the vendor's principles: its rules for machines, and what separates two versions.

Law and policy are data. A policy says, per purpose and kind of customer, under which regime
data may be used; this module answers which regime that is, and what a new version would
change for anybody, so that a change called "editorial" can be held to its word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

from consent_domain.purposes import Purpose, Selector, Wire, category_within, selects, selects_any

REGIMES = ("opt_out", "opt_in", "required", "prohibited")
DIRECTIONS = ("looser", "stricter", "editorial")


class Rule(Wire, frozen=True, kw_only=True):
    """Under which regime the selected purposes stand, for the customers named; an empty list names all.

    The first rule that fits is the one that counts; a purpose that no rule fits is prohibited.
    """

    selector: Selector
    regime: str
    plans: list[str] = []
    regions: list[str] = []
    contracts: list[str] = []
    organisations: list[str] = []


class Exclusion(Wire, frozen=True, kw_only=True):
    """What customers of these plans or contracts (one list is given) were promised is left out."""

    selector: Selector
    plans: list[str] = []
    contracts: list[str] = []
    categories: list[str] = []


class DeadlineRule(Wire, frozen=True, kw_only=True):
    """Within how many days a request is due, by region (empty: everywhere); `law` is its source."""

    id: str
    days: int
    extension_days: int = 0
    regions: list[str] = []
    law: str = ""


class PolicyRules(Wire, frozen=True, kw_only=True):
    """The part of a policy that machines follow."""

    purposes: list[Purpose]
    rules: list[Rule]
    exclusions: list[Exclusion] = []
    deadlines: list[DeadlineRule] = []
    rejection_reasons: list[str] = []
    notice_days: int = 0
    while_requested: str = ""
    """`permit`: a pending opt-out still permits until it is due, and every decision says so."""


class Profile(NamedTuple):
    """What of a customer a policy may look at."""

    plan: str
    region: str
    contract: str
    organisation: str


def _fits(rule: Rule, profile: Profile) -> bool:
    return (
        (not rule.plans or profile.plan in rule.plans)
        and (not rule.regions or profile.region in rule.regions)
        and (not rule.contracts or profile.contract in rule.contracts)
        and (not rule.organisations or profile.organisation in rule.organisations)
    )


def regime_of(rules: PolicyRules, purpose: Purpose, profile: Profile) -> str | None:
    """The regime of the first rule that fits, or None where the policy is silent (and nothing is allowed)."""
    for rule in rules.rules:
        if selects(rule.selector, purpose) and _fits(rule, profile):
            return rule.regime
    return None


def exclusions_of(
    rules: PolicyRules, lineage: Iterable[Purpose], categories: Iterable[str], profile: Profile
) -> Iterator[str]:
    """`plan` or `contract` for each exclusion that takes any of `categories` of this customer out."""
    lineage, categories = tuple(lineage), tuple(categories)
    for exclusion in rules.exclusions:
        named_plan = profile.plan in exclusion.plans
        named_contract = bool(profile.contract) and profile.contract in exclusion.contracts
        if not (named_plan or named_contract) or not selects_any(exclusion.selector, lineage):
            continue
        touched = not exclusion.categories or any(
            category_within(one, exclusion.categories)
            or any(category_within(other, (one,)) for other in exclusion.categories)
            for one in categories
        )
        if touched:
            yield "plan" if named_plan else "contract"


def deadline_of(rules: PolicyRules, region: str) -> DeadlineRule | None:
    """The first deadline rule for the region, or None if the policy promises none."""
    return next((rule for rule in rules.deadlines if not rule.regions or region in rule.regions), None)


def told_apart(categories: Iterable[str], *versions: PolicyRules) -> list[str]:
    """Examples of all data in `categories` that exclusions of these versions may treat differently.

    `messages.*` stands for what lies within `messages` and has no name of its own.
    """
    named = {one for rules in versions for part in rules.exclusions for one in part.categories}
    categories = list(categories)
    found = {*categories, *(one for one in named if category_within(one, categories))}
    return sorted(found | {f"{one}.*" for one in found})


# -- what separates two versions -----------------------------------------------------------------------------

PERMISSIVE = ("opt_out", "required")


class Widening(NamedTuple):
    """A use that a new version turns on for customers of a profile although nobody asked them."""

    purpose: str
    profile: Profile
    why: str


def differences(old: PolicyRules, new: PolicyRules) -> list[str]:
    """Sentences for each difference that a decision or a deadline could notice; empty for editorial changes.

    Justifications, DPV terms and legal bases are words: a change of them is editorial.
    """
    sentences: list[str] = []
    before = {purpose.key: purpose for purpose in old.purposes}
    after = {purpose.key: purpose for purpose in new.purposes}
    sentences += [f"purpose {key} is no longer there" for key in before if key not in after]
    sentences += [f"purpose {key} is new" for key in after if key not in before]
    for key in (key for key in before if key in after):
        for field in ("processing", "reach", "model_class", "recipient", "categories", "replaces"):
            was, becomes = getattr(before[key], field), getattr(after[key], field)
            if (sorted(was) != sorted(becomes)) if isinstance(was, list) else was != becomes:
                sentences.append(f"purpose {key}: {field} was {_said(was)}, becomes {_said(becomes)}")
    for key, profile in _cases(old, new):
        was, becomes = _treatment(old, before.get(key), profile), _treatment(new, after.get(key), profile)
        if was != becomes and key in before and key in after:
            sentences.append(f"purpose {key} {_for(profile)}: was {was}, becomes {becomes}")
    for field in ("deadlines", "rejection_reasons", "notice_days", "while_requested"):
        if getattr(old, field) != getattr(new, field):
            sentences.append(f"{field} differ")
    if (old.rules, old.exclusions) != (new.rules, new.exclusions) and not sentences:
        sentences.append("the rules are written differently; an editorial version repeats them as they are")
    return list(dict.fromkeys(sentences))


def widenings(old: PolicyRules | None, new: PolicyRules) -> list[Widening]:
    """Every use that `new` turns on by itself and `old` did not allow, for every kind of customer."""
    found: list[Widening] = []
    before = {} if old is None else {purpose.key: purpose for purpose in old.purposes}
    after = {purpose.key: purpose for purpose in new.purposes}
    versions = (old or new, new)
    for key, profile in _cases(*versions):
        if key not in after:
            continue
        for category in [*told_apart(after[key].categories, *versions), None]:
            if not _allows(new, after[key], profile, category):
                continue
            if old is None or key not in before:
                found.append(Widening(key, profile, "new and on by default"))
            elif not _allows(old, before[key], profile, category):
                found.append(Widening(key, profile, "on by default, and was not"))
            elif _requires(new, after[key], profile) and not _requires(old, before[key], profile):
                found.append(Widening(key, profile, "an objection to it may be rejected"))
            elif _reworded(before[key], after[key]):
                found.append(Widening(key, profile, "the purpose itself became wider or another"))
            elif not set(after[key].replaces) <= set(before[key].replaces):
                found.append(Widening(key, profile, "it takes over what was collected for another purpose"))
            else:
                continue
            break
    if old is not None and new.while_requested == "permit" != old.while_requested:
        found.append(Widening("*", Profile("", "", "", ""), "use goes on while an opt-out is pending"))
    return found


def offers(old: PolicyRules | None, new: PolicyRules) -> list[str]:
    """Keys of the purposes that `new` permits to some who opt in, where `old` permitted nothing."""
    before = {} if old is None else {purpose.key: purpose for purpose in old.purposes}
    after = {purpose.key: purpose for purpose in new.purposes}
    offered = (*PERMISSIVE, "opt_in")
    return sorted(
        {
            key
            for key, profile in _cases(old or new, new)
            if key in after
            and any(
                _allows(new, after[key], profile, category, offered)
                and not (
                    old is not None
                    and key in before
                    and _allows(old, before[key], profile, category, offered)
                )
                for category in told_apart(after[key].categories, old or new, new)
            )
        }
    )


def turned_on(rules: PolicyRules, profile: Profile) -> list[str]:
    """Keys of the purposes that are on by default (`opt_out`) for a customer nobody asked, sorted."""
    return sorted(
        purpose.key
        for purpose in rules.purposes
        if regime_of(rules, purpose, profile) == "opt_out"
        and not any(exclusions_of(rules, (purpose,), purpose.categories, profile))
    )


def _reworded(was: Purpose, becomes: Purpose) -> bool:
    attributes = ("processing", "reach", "model_class", "recipient")
    return any(getattr(was, name) != getattr(becomes, name) for name in attributes) or any(
        not category_within(category, was.categories) for category in becomes.categories
    )


def _requires(rules: PolicyRules, purpose: Purpose, profile: Profile) -> bool:
    return regime_of(rules, purpose, profile) == "required"


def _allows(
    rules: PolicyRules,
    purpose: Purpose,
    profile: Profile,
    category: str | None,
    regimes: tuple[str, ...] = PERMISSIVE,
) -> bool:
    categories = purpose.categories if category is None else [category]
    return regime_of(rules, purpose, profile) in regimes and not any(
        exclusions_of(rules, (purpose,), categories, profile)
    )


def _treatment(rules: PolicyRules, purpose: Purpose | None, profile: Profile) -> str:
    if purpose is None:
        return "absent"
    regime = regime_of(rules, purpose, profile) or "not covered"
    excluded = sorted(set(exclusions_of(rules, (purpose,), purpose.categories, profile)))
    return regime + (f", excluded by {' and '.join(excluded)}" if excluded else "")


def _cases(old: PolicyRules, new: PolicyRules) -> Iterator[tuple[str, Profile]]:
    """Every purpose with every kind of customer that either version tells apart, and one of neither."""
    keys = list(dict.fromkeys(purpose.key for rules in (old, new) for purpose in rules.purposes))

    def values(field: str) -> list[str]:
        named = {
            value
            for rules in (old, new)
            for part in (rules.rules, rules.exclusions)
            for item in part
            for value in getattr(item, field, [])
        }
        return ["", *sorted(named)]

    fields = ("plans", "regions", "contracts", "organisations")
    profiles = [Profile(*combination) for combination in product(*(values(field) for field in fields))]
    return ((key, profile) for key in keys for profile in profiles)


def _said(value: object) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else str(value) or "nothing"


def _for(profile: Profile) -> str:
    named = [f"{field} {value}" for field, value in zip(Profile._fields, profile, strict=True) if value]
    return f"for {', '.join(named)}" if named else "for everybody else"
