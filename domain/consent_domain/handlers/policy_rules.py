"""Whether a policy's rules for machines are well formed.

Vocabularies of purposes (processing, reach, model class, recipient, categories) are open: an
unknown word is no error. What machines branch on (regimes, selectors, keys) is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from consent_domain.errors import Refused
from consent_domain.handlers.checks import id_of, ids_of, name_of, selector_of, text_of, word_of
from consent_domain.policy import REGIMES, DeadlineRule, Exclusion, PolicyRules, Rule
from consent_domain.purposes import Purpose

DAYS_MAX = 3_660
PARTS_MAX = 500
"""How many purposes, rules, exclusions, deadlines or reasons a policy may have, each."""
CASES_MAX = 20_000
"""How many kinds of customers times purposes two versions may tell apart: each is compared."""

_CUSTOMER_FIELDS = ("plans", "regions", "contracts", "organisations")


def check_rules(rules: PolicyRules) -> None:
    """Refuse `invalid_value` or `invalid_id` what is malformed, saying where."""
    for field in ("purposes", "rules", "exclusions", "deadlines", "rejection_reasons"):
        if len(getattr(rules, field)) > PARTS_MAX:
            raise Refused("invalid_value", f"rules.{field} has more than {PARTS_MAX} entries; shorten it")
    keys = ids_of((purpose.key for purpose in rules.purposes), "rules.purposes[].key")
    for number, purpose in enumerate(rules.purposes):
        _check_purpose(purpose, f"rules.purposes[{number}]")
    for number, rule in enumerate(rules.rules):
        _check_rule(rule, set(keys), f"rules.rules[{number}]")
    for number, exclusion in enumerate(rules.exclusions):
        _check_exclusion(exclusion, f"rules.exclusions[{number}]")
    ids_of((deadline.id for deadline in rules.deadlines), "rules.deadlines[].id")
    for number, deadline in enumerate(rules.deadlines):
        _check_deadline(deadline, f"rules.deadlines[{number}]")
    ids_of(rules.rejection_reasons, "rules.rejectionReasons")
    _check_days(rules.notice_days, "rules.noticeDays")
    word_of(rules.while_requested or "deny", ("permit", "deny"), "rules.whileRequested")


def check_cases(old: PolicyRules | None, new: PolicyRules) -> None:
    """Refuse rules that, with those before them, tell apart more kinds of customers than can be compared."""
    both = [rules for rules in (old, new) if rules is not None]
    named = [
        {
            value
            for rules in both
            for part in (*rules.rules, *rules.exclusions)
            for value in getattr(part, field, ())
        }
        for field in _CUSTOMER_FIELDS
    ]
    purposes = {purpose.key for rules in both for purpose in rules.purposes}
    cases = prod(len(values) + 1 for values in named) * len(purposes)
    if cases > CASES_MAX:
        raise Refused(
            "invalid_value",
            f"the rules tell apart {cases} cases (plans × regions × contracts × organisations × purposes) "
            f"of at most {CASES_MAX}; name fewer, or record single customers' promises as contracts",
        )


def _check_purpose(purpose: Purpose, where: str) -> None:
    for field in ("processing", "reach", "model_class", "recipient"):
        name_of(getattr(purpose, field), f"{where}.{field}")
    if not purpose.categories:
        raise Refused("invalid_value", f"{where}.categories is empty; name the data that {purpose.key} takes")
    ids_of(purpose.categories, f"{where}.categories")
    if purpose.key in ids_of(purpose.replaces, f"{where}.replaces"):
        raise Refused("invalid_value", f"{where} replaces itself; name earlier keys only")
    name_of(purpose.legal_basis, f"{where}.legalBasis", empty=True)
    text_of(purpose.justification, f"{where}.justification", empty=True)
    for term in purpose.dpv:
        name_of(term, f"{where}.dpv")


def _check_rule(rule: Rule, keys: set[str], where: str) -> None:
    selector_of(rule.selector, f"{where}.selector")
    word_of(rule.regime, REGIMES, f"{where}.regime")
    unknown = [key for key in rule.selector.keys if key not in keys]
    if unknown:
        raise Refused(
            "invalid_value",
            f"{where}.selector names {unknown[0]}, which is none of the policy's purposes; a rule that fits "
            "nothing would let a later one count",
        )
    _check_customers(rule, where)


def _check_exclusion(exclusion: Exclusion, where: str) -> None:
    selector_of(exclusion.selector, f"{where}.selector")
    if bool(exclusion.plans) == bool(exclusion.contracts):
        raise Refused("invalid_value", f"{where} must name plans or contracts, one of the two")
    ids_of(exclusion.categories, f"{where}.categories")
    _check_customers(exclusion, where)


def _check_customers(part: Rule | Exclusion, where: str) -> None:
    for field in _CUSTOMER_FIELDS:
        values: Sequence[str] = getattr(part, field, ())
        for value in values:
            name_of(value, f"{where}.{field}")


def _check_deadline(deadline: DeadlineRule, where: str) -> None:
    id_of(deadline.id, f"{where}.id")
    _check_days(deadline.days, f"{where}.days")
    _check_days(deadline.extension_days, f"{where}.extensionDays")
    name_of(deadline.law, f"{where}.law", empty=True)
    for region in deadline.regions:
        name_of(region, f"{where}.regions")


def _check_days(days: int, where: str) -> None:
    if not 0 <= days <= DAYS_MAX:
        raise Refused("invalid_value", f"{where} is {days}; it must be 0 to {DAYS_MAX} days")
