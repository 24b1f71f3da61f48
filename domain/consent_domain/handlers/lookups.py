"""What a command names, looked up in the state: found and readable, or refused."""

from __future__ import annotations

from consent_domain.errors import Refused
from consent_domain.events import Scope
from consent_domain.facts import Choices, OrganisationFacts, WorkspaceFacts
from consent_domain.handlers.terms import Context
from consent_domain.requests import Request
from consent_domain.state import State, StreamState


def workspace_stream(name: str) -> str:
    """The stream of a workspace."""
    return f"workspace/{name}"


def organisation_stream(name: str) -> str:
    """The stream of an organisation."""
    return f"organisation/{name}"


def scope_stream(scope: Scope) -> str:
    """The stream of what a choice binds."""
    return f"{scope.kind}/{scope.id}"


def readable_book(state: State) -> None:
    """Refuse what would allow more use while an event that everybody depends on cannot be read."""
    position = state.everybody.book.quarantined
    if position:
        raise Refused(
            "quarantined",
            f"the event at position {position}, which everybody depends on, cannot be read; "
            "everything is denied and nothing can be allowed until this service reads it: upgrade it",
        )


def known_workspace(state: State, name: str) -> tuple[StreamState, WorkspaceFacts]:
    """The workspace's state and facts, for any command that names it."""
    stream = state.stream(workspace_stream(name))
    if stream is None or not isinstance(stream.facts, WorkspaceFacts):
        raise Refused("unknown_workspace", f"no workspace {name} is enrolled; enrol it first")
    _readable(stream.facts.quarantined, f"workspace {name}")
    if stream.facts.erased_position:
        raise Refused(
            "wrong_state", f"workspace {name} was erased at position {stream.facts.erased_position}"
        )
    return stream, stream.facts


def active_workspace(state: State, name: str) -> tuple[StreamState, WorkspaceFacts]:
    """`known_workspace` that is not closed."""
    stream, facts = known_workspace(state, name)
    if facts.closed is not None:
        raise Refused(
            "wrong_state", f"workspace {name} was closed at position {facts.closed_position}; it stays closed"
        )
    return stream, facts


def known_organisation(state: State, name: str) -> tuple[StreamState, OrganisationFacts]:
    """The organisation's state and facts, for any command that names it."""
    stream = state.stream(organisation_stream(name))
    if stream is None or not isinstance(stream.facts, OrganisationFacts):
        raise Refused("unknown_organisation", f"no organisation {name} is registered; register it first")
    _readable(stream.facts.quarantined, f"organisation {name}")
    return stream, stream.facts


def known_scope(state: State, scope: Scope) -> tuple[StreamState, Choices, str]:
    """The state and choices of what a choice binds, and its region (empty for an organisation)."""
    if scope.kind == "workspace":
        stream, workspace = known_workspace(state, scope.id)
        return stream, workspace.choices, workspace.attributes[-1].region
    organisation_state, organisation = known_organisation(state, scope.id)
    return organisation_state, organisation.choices, ""


def known_request(state: State, context: Context, request: str, kind: str) -> tuple[StreamState, Request]:
    """The request of that kind and the stream it lives on; `kind` is `opt_out` or `opt_in`."""
    where = context.request_stream or ""
    stream = state.stream(where) if where.startswith(("workspace/", "organisation/")) else None
    found = None if stream is None else stream.requests.get(request)
    if stream is None or found is None or found.kind != kind:
        code, what = ("unknown_request", "opt-out") if kind == "opt_out" else ("unknown_opt_in", "opt-in")
        raise Refused(code, f"no {what} has this id; the answer to the request for it named its id")
    known_scope(state, Scope(kind=found.scope_kind, id=found.scope_id))
    return stream, found


def _readable(position: int, what: str) -> None:
    if position:
        raise Refused(
            "quarantined",
            f"the event of {what} at position {position} cannot be read; everything is denied for it "
            "until this service reads it: upgrade it",
        )
