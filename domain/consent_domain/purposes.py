"""Purposes: what data would be used for, and selectors that name sets of them.

A selector is stored as it was said and evaluated whenever something is decided, so that
`{"all": true}` also names the purposes to come.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

PROCESSING = ("train", "fine_tune", "evaluate", "serve", "analyze", "embed", "share", "human_review")
TRAINING = ("train", "fine_tune")
REACH = ("global", "workspace")
MODEL_CLASS = ("generative", "non_generative")
RECIPIENT = ("first_party", "affiliate", "third_party")


class Wire(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """What every message of the contract shares: lowerCamelCase, zero values left out, nothing unknown."""


class Purpose(Wire, frozen=True, kw_only=True):
    """One purpose as a policy defines it. `replaces` names the earlier keys that it succeeds."""

    key: str
    processing: str
    reach: str
    model_class: str
    recipient: str
    categories: list[str]
    legal_basis: str
    justification: str
    dpv: list[str] = []
    replaces: list[str] = []


class PurposeClass(Wire, frozen=True, kw_only=True):
    """Attributes that a purpose must have; an empty one is any."""

    processing: str = ""
    reach: str = ""
    model_class: str = ""
    recipient: str = ""


class Selector(Wire, frozen=True, kw_only=True):
    """A set of purposes: exactly one of `all`, `keys` and `class` is given."""

    all: bool = False
    keys: list[str] = []
    class_: PurposeClass | None = msgspec.field(default=None, name="class")


def is_well_formed(selector: Selector) -> bool:
    """Whether the selector says exactly one thing; a class must say something of a purpose."""
    said = [selector.all, bool(selector.keys), selector.class_ is not None]
    return sum(said) == 1 and selector.class_ != PurposeClass()


def selects(selector: Selector, purpose: Purpose) -> bool:
    """Whether the selector names this one definition of a purpose. Pure, O(keys)."""
    if selector.all:
        return True
    if selector.class_ is not None:
        wanted = selector.class_
        return (
            wanted.processing in ("", purpose.processing)
            and wanted.reach in ("", purpose.reach)
            and wanted.model_class in ("", purpose.model_class)
            and wanted.recipient in ("", purpose.recipient)
        )
    return purpose.key in selector.keys


def selects_any(selector: Selector, lineage: Iterable[Purpose]) -> bool:
    """Whether the selector names any definition in the lineage of a purpose.

    What narrows is asked this way: an objection follows a purpose to its successors and
    through every rewording of its attributes.
    """
    return selector.all or any(selects(selector, definition) for definition in lineage)


def covers_selector(wider: Selector, narrower: Selector) -> bool:
    """Whether whatever `narrower` names, now and later, `wider` names too (may miss some, never errs)."""
    if wider.all or wider == narrower:
        return True
    if wider.keys and narrower.keys:
        return set(narrower.keys) <= set(wider.keys)
    if wider.class_ is not None and narrower.class_ is not None:
        return all(
            getattr(wider.class_, name) in ("", getattr(narrower.class_, name))
            for name in PurposeClass.__struct_fields__
        )
    return False


def same_attributes(shown: Purpose, current: Purpose) -> bool:
    """Whether `current` is no more than what a notice showed: equal attributes, no further category."""
    return (
        shown.key == current.key
        and shown.processing == current.processing
        and shown.reach == current.reach
        and shown.model_class == current.model_class
        and shown.recipient == current.recipient
        and set(current.categories) <= set(shown.categories)
    )


def reaches_outside(purpose: Purpose) -> bool:
    """Whether data leaves the workspace: global models, or a recipient that is not the vendor."""
    return purpose.reach != "workspace" or purpose.recipient != "first_party"


def may_train(purpose: Purpose) -> bool:
    """Whether a model may learn from the data: also where the processing is a word that is not known here."""
    return purpose.processing in TRAINING or purpose.processing not in PROCESSING


def category_within(asked: str, taken: Iterable[str]) -> bool:
    """Whether `asked` or a dotted category above it is taken: `messages` holds `messages.direct`."""
    return any(asked == category or asked.startswith(category + ".") for category in taken)


def categories_overlap(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether any category of one is, holds, or lies within a category of the other."""
    other = tuple(other)
    return any(category_within(a, (b,)) or category_within(b, (a,)) for a in one for b in other)
