"""The questions that two books may answer differently: purposes, and data categories told apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from consent_domain.facts import Book
from consent_domain.grounds import prepare
from consent_domain.instants import Micros
from consent_domain.policy import PolicyRules, told_apart
from consent_domain.state import policy_at


class Question(NamedTuple):
    """A use of data: of all that the purpose takes if `category` is empty. `messages.*` stands for what
    lies within `messages` and has no name of its own."""

    purpose: str
    category: str = ""

    @property
    def categories(self) -> tuple[str, ...]:
        """As a check names them."""
        return (self.category,) if self.category else ()


def questions(before: Book, after: Book, at: Micros) -> list[Question]:
    """Every purpose of the versions in force at `at`, and each category that any version may tell apart.

    A purpose whose definitions all take the same data is asked about as a whole: an answer about part
    of it is no other. Raises nothing. Cost O(policies × purposes).
    """
    in_force = [policy for policy in (policy_at(before, at), policy_at(after, at)) if policy is not None]
    keys = dict.fromkeys(purpose.key for policy in in_force for purpose in policy.rules.purposes)
    versions = [policy.rules for policy in after.policies]
    return [question for key in keys for question in _of_purpose(key, before, after, versions, at)]


def _of_purpose(
    key: str, before: Book, after: Book, versions: list[PolicyRules], at: Micros
) -> Iterator[Question]:
    yield Question(key)
    lineage = [*prepare(before, key, (), at).lineage, *prepare(after, key, (), at).lineage]
    named = {one for rules in versions for part in rules.exclusions for one in part.categories}
    taken = {frozenset(purpose.categories) for purpose in lineage}
    if len(taken) == 1 and not named:
        return
    everything = sorted(frozenset().union(*taken))
    apart = told_apart(everything, *versions) if named else everything
    yield from (Question(key, category) for category in apart)
