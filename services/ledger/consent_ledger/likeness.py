"""Whether what an import says is recorded already, so that a file can be imported again.

Compared is everything but what every recording gives anew: positions, ids of requests, who typed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from consent_domain.commands import ImportCommand, ImportPolicy
from consent_domain.envelope import Event
from consent_domain.errors import ConsentError
from consent_domain.events import BY_BODY
from consent_domain.handle import Context, handle, streams_of
from consent_domain.instants import micros
from consent_domain.state import StreamState, fold
from msgspec.structs import replace

from consent_ledger.memory import Tentative

_GIVEN_ANEW = {
    "position": 0,
    "closed_position": 0,
    "ended_position": 0,
    "first_position": 0,
    "last_position": 0,
    "request": "",
    "id": "",
    "joins": "",
    "recorded_by": "",
}


def is_recorded(state: Tentative, command: ImportCommand, context: Context) -> bool:
    """Whether the ledger holds what `command` says, and nothing else of the same name. Never raises."""
    if isinstance(command, ImportPolicy):
        return any(
            (policy.version, policy.direction, policy.rules)
            == (command.version, command.direction, command.rules)
            and policy.effective == micros(command.effective_at)
            for policy in state.everybody.book.policies
        )
    name = streams_of(command, None)[0]
    recorded = state.stream(name)
    if recorded is None:
        return False
    # As if it were imported for the first time, before the ledger was opened.
    everybody = dataclasses.replace(state.everybody, book=replace(state.everybody.book, opened=0))
    earlier = Tentative(everybody, {**state.streams, name: None})
    try:
        drafts = handle(earlier, command, context).drafts
    except ConsentError:
        return False
    again: StreamState | None = None
    for stream, body, event_id in drafts:
        event = Event(
            context.next_position, str(event_id), stream, BY_BODY[type(body)].name, context.now, body
        )
        again = fold(again, event)
    return again is not None and _alike(recorded) == _alike(again)


def _alike(state: StreamState) -> Any:
    return state.version, _without(state.facts), [_without(one) for one in state.requests.values()]


def _without(value: Any) -> Any:
    """A struct without what is given anew, at any depth."""
    if isinstance(value, tuple | list):
        return [_without(one) for one in value]
    fields = getattr(value, "__struct_fields__", None)
    if fields is None:
        return value
    return {name: _GIVEN_ANEW.get(name, _without(getattr(value, name))) for name in fields}
