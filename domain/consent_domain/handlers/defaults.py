"""`default-on`: evidence that something was turned on although nobody asked."""

from __future__ import annotations

from typing import Any

from consent_domain.events import Body, DefaultOn, Notice


def default_on(
    purposes: list[str], version: str, position: int, said: dict[str, Any], notice: Notice | None = None
) -> DefaultOn:
    """The evidence that defaults were applied under a version of the policy, recorded at a position."""
    return DefaultOn(
        purposes=purposes, policy_version=version, policy_position=str(position), notice=notice, **said
    )


def told_default(bodies: list[tuple[str, Body]]) -> dict[str, object]:
    """What the caller is told of the defaults among the events."""
    for _, body in bodies:
        if isinstance(body, DefaultOn):
            return {"onByDefault": body.purposes, "policyVersion": body.policy_version}
    return {"onByDefault": []}
