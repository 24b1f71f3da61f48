"""Events as the ledger stored them (CloudEvents), in words. Unknown ones are shown by their type."""

from __future__ import annotations

from typing import Any

Stored = dict[str, Any]


def position_of(event: Stored) -> int:
    """The event's position."""
    return int(event["sequence"])


def type_of(event: Stored) -> str:
    """What happened, without the version of the message."""
    return str(event["type"]).rpartition(".v")[0] or str(event["type"])


def time_of(event: Stored) -> str:
    """When it was recorded, to the second."""
    return _second(event["time"])


def summary_of(event: Stored) -> str:
    """What an event says, in one line: most telling first. Sealed members stay sealed."""
    data: Stored = event.get("data") or {}
    said = [
        *_of_policy(data),
        *_of_workspace(data),
        *_of_choice(data),
        *_when(data),
        *([f"for the reason: {data['reason']}"] if data.get("reason") else []),
        *([f"approved by {data['approvedBy']}"] if data.get("approvedBy") else []),
        *([f"for {data['onBehalfOf']}"] if data.get("onBehalfOf") else []),
        *(["imported"] if data.get("provenance") == "backfilled" else []),
    ]
    return ", ".join(said)


def _of_policy(data: Stored) -> list[str]:
    if "rules" in data:
        return [f"version {data['version']} ({data['direction']}): {data['title']}"]
    if "policyVersion" in data:
        return [f"{len(data['purposes'])} purposes on by default under version {data['policyVersion']}"]
    return []


def _of_workspace(data: Stored) -> list[str]:
    names = ("kind", "plan", "region", "contract", "organisation", "predecessor", "successor")
    said = [f"{name} {data[name]}" for name in names if data.get(name)]
    return [*said, f"customer since {_second(data['customerSince'])}"] if "customerSince" in data else said


def _of_choice(data: Stored) -> list[str]:
    said = []
    if "selector" in data:
        said.append(f"of {_selected(data['selector'])}")
    if "keys" in data:
        said.append(f"of {', '.join(data['keys'])}")
    if "shown" in data:
        said.append(f"of {', '.join(purpose['key'] for purpose in data['shown'])}")
    if "requester" in data:
        requester = data["requester"]
        said.append(f"asked by {requester['role']} ({requester['authority']})")
    elif "authority" in data:
        said.append(f"authority now {data['authority']}")
    if "channel" in data:
        said.append(f"by {data['channel']}")
    if "action" in data:
        said.append(str(data["action"]))
    if data.get("joins"):
        said.append("joins an open request")
    return said


def _selected(selector: Stored) -> str:
    if selector.get("all"):
        return "everything"
    if selector.get("keys"):
        return ", ".join(selector["keys"])
    return "all that is " + ", ".join(f"{name} {value}" for name, value in selector.get("class", {}).items())


def _when(data: Stored) -> list[str]:
    said = [f"received {_second(data['receivedAt'])}"] if "receivedAt" in data else []
    if "effectiveAt" in data:
        said.append(f"counts from {_second(data['effectiveAt'])}")
    if "deadline" in data:
        said.append(f"due {_second(data['deadline']['dueAt'])} ({data['deadline']['rule']})")
    if "expiresAt" in data:
        said.append(f"runs out {_second(data['expiresAt'])}")
    return said


def _second(text: str) -> str:
    return f"{text[:19]}Z"
