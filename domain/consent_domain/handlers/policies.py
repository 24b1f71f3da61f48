"""Publishing a version of the policy: what it may not do is checked before anybody lives under it."""

from __future__ import annotations

from typing import Any

from consent_domain.commands import ImportPolicy, PublishPolicy
from consent_domain.errors import Refused
from consent_domain.events import Body, Notice, PolicyPublished
from consent_domain.handlers.checks import (
    id_of,
    instant_of,
    name_of,
    no_later,
    sha256_of,
    text_of,
    word_of,
)
from consent_domain.handlers.defaults import default_on, told_default
from consent_domain.handlers.policy_rules import check_cases, check_rules
from consent_domain.handlers.terms import Context, Verdict, backfilled, spoken, verdict
from consent_domain.instants import DAY, Micros, moment_of, rfc3339
from consent_domain.policy import (
    DIRECTIONS,
    PolicyRules,
    Profile,
    differences,
    offers,
    turned_on,
    widenings,
)
from consent_domain.state import State

_ANYBODY = Profile("", "", "", "")


def policy_stream(policy: str) -> str:
    """The stream of a policy."""
    return f"policy/{policy}"


def publish(state: State, command: PublishPolicy, context: Context) -> Verdict:
    """A new version, in force from its effective time; looser ones need their notice period."""
    effective = instant_of(command.effective_at, "effectiveAt")
    old = _checked(state, command, effective)
    if effective < context.now:
        _check_backdating(command, old, effective, context.now)
    notice = notice_of(command.notice, context.now)
    _check_notice(command.rules, old, notice, effective)
    said = spoken(command, context)
    first = context.next_position + (0 if state.everybody.book.opened else 1)
    bodies = _published(command, old, notice, effective, said, first)
    return verdict(context, bodies, _answer(command, effective, bodies))


def import_policy(state: State, command: ImportPolicy, context: Context) -> Verdict:
    """A version that took effect before the ledger was opened. Its notice period is history, not checked."""
    effective = no_later(command.effective_at, context.now, "effectiveAt")
    published = no_later(command.published_at, context.now, "publishedAt")
    old = _checked(state, command, effective)
    if effective < published:
        _check_backdating(command, old, effective, published)
    notice = notice_of(command.notice, context.now)
    said = backfilled(command, context, published)
    bodies = _published(command, old, notice, effective, said, context.next_position)
    return verdict(context, bodies, _answer(command, effective, bodies))


def notice_of(notice: Notice | None, now: Micros) -> Notice | None:
    """The notice itself in UTC, if it was given and says how."""
    if notice is None:
        return None
    return Notice(
        given_at=moment_of(no_later(notice.given_at, now, "notice.givenAt")),
        channel=name_of(notice.channel, "notice.channel"),
        text_sha256=sha256_of(notice.text_sha256, "notice.textSha256") if notice.text_sha256 else "",
    )


def _checked(state: State, command: PublishPolicy | ImportPolicy, effective: Micros) -> PolicyRules | None:
    """The rules of the version before, after every check that live and imported versions share."""
    everybody = state.everybody
    stream = policy_stream(id_of(command.policy, "policy"))
    if everybody.book.quarantined:
        raise Refused(
            "quarantined",
            f"the event at position {everybody.book.quarantined} cannot be read; no version can follow it "
            "until this service reads it: upgrade it",
        )
    other = next((name for name in everybody.versions if name.startswith("policy/") and name != stream), None)
    if other is not None:
        raise Refused(
            "invalid_value",
            f"this ledger's policy is {other.partition('/')[2]}, and it has one; publish a version of it",
        )
    id_of(command.version, "version")
    text_of(command.title, "title")
    text_of(command.why, "why")
    sha256_of(command.text_sha256, "textSha256")
    word_of(command.direction, DIRECTIONS, "direction")
    check_rules(command.rules)
    policies = everybody.book.policies
    if any(policy.version == command.version for policy in policies):
        raise Refused(
            "already_exists",
            f"policy version {command.version} was published; a version never changes: take another",
        )
    if policies and effective <= policies[-1].effective:
        raise Refused(
            "policy_out_of_order",
            f"version {command.version} would take effect at {rfc3339(effective)}, not after version "
            f"{policies[-1].version} ({rfc3339(policies[-1].effective)}); name a later time",
        )
    old = policies[-1].rules if policies else None
    check_cases(old, command.rules)
    _check_direction(command, old)
    return old


def _check_direction(command: PublishPolicy | ImportPolicy, old: PolicyRules | None) -> None:
    if command.direction == "editorial":
        found = ["there is no earlier version"] if old is None else differences(old, command.rules)
        if found:
            raise Refused(
                "not_editorial",
                f"version {command.version} is no matter of words: {found[0]}"
                + (f" (and {len(found) - 1} more differences)" if len(found) > 1 else "")
                + "; publish it as stricter or looser",
                differences=found,
            )
    if command.direction == "stricter":
        wider = widenings(old, command.rules)
        if wider:
            told = [f"purpose {one.purpose}: {one.why}" for one in wider]
            raise Refused(
                "wrong_direction",
                f"version {command.version} is not stricter: {told[0]}; publish it as looser, with notice",
                widenings=list(dict.fromkeys(told)),
            )


def _check_backdating(
    command: PublishPolicy | ImportPolicy, old: PolicyRules | None, effective: Micros, earliest: Micros
) -> None:
    """Only what narrows reaches back: a stricter version that also offers no new opt-in."""
    offered = offers(old, command.rules)
    if command.direction == "stricter" and not offered:
        return
    why = (
        f"it offers {', '.join(offered)} for opt-in"
        if command.direction == "stricter"
        else "it is not stricter"
    )
    raise Refused(
        "backdated",
        f"version {command.version} would take effect at {rfc3339(effective)}, before {rfc3339(earliest)}, "
        f"and {why}; name a later time",
    )


def _check_notice(
    rules: PolicyRules, old: PolicyRules | None, notice: Notice | None, effective: Micros
) -> None:
    """What is turned on by itself needs the longer of the notice periods of both versions."""
    days = max(rules.notice_days, 0 if old is None else old.notice_days)
    wider = widenings(old, rules) if days else []
    if not wider:
        return
    latest = effective - days * DAY
    if notice is None or instant_of(notice.given_at, "notice.givenAt") > latest:
        given = (
            "no notice is named" if notice is None else f"notice was given at {notice.given_at.isoformat()}"
        )
        raise Refused(
            "notice_too_short",
            f"purpose {wider[0].purpose} is turned on ({wider[0].why}), which needs notice of {days} days, "
            f"by {rfc3339(latest)}; {given}: let it take effect later",
            noticeDays=days,
            widenings=list(dict.fromkeys(f"purpose {one.purpose}: {one.why}" for one in wider)),
        )


def _published(
    command: PublishPolicy | ImportPolicy,
    old: PolicyRules | None,
    notice: Notice | None,
    effective: Micros,
    said: dict[str, Any],
    position: int,
) -> list[tuple[str, Body]]:
    """The version, and evidence of what it turns on for a customer that no rule names."""
    stream = policy_stream(command.policy)
    published = PolicyPublished(
        version=command.version,
        title=command.title,
        text_sha256=command.text_sha256,
        effective_at=moment_of(effective),
        direction=command.direction,
        why=command.why,
        rules=command.rules,
        notice=notice,
        **said,
    )
    bodies: list[tuple[str, Body]] = [(stream, published)]
    before = set() if old is None else set(turned_on(old, _ANYBODY))
    newly = [key for key in turned_on(command.rules, _ANYBODY) if key not in before]
    if newly:
        bodies.append((stream, default_on(newly, command.version, position, said, notice)))
    return bodies


def _answer(
    command: PublishPolicy | ImportPolicy, effective: Micros, bodies: list[tuple[str, Body]]
) -> dict[str, object]:
    return {
        "policy": command.policy,
        "policyVersion": command.version,
        "effectiveAt": rfc3339(effective),
        "onByDefault": told_default(bodies)["onByDefault"],
    }
