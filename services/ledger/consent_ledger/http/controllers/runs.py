"""`/v1/runs`: what was made of whose data, verified against the log and signed."""

from __future__ import annotations

from litestar import Controller, Response, get, post

from consent_ledger.http import run_messages as messages
from consent_ledger.http import runs
from consent_ledger.http.calls import Operation, Parameter
from consent_ledger.http.controllers.workspaces import AFTER_POSITION, PAGE
from consent_ledger.http.permissions import ADMIN_PIPELINE, ASKERS, EVERY_ROLE
from consent_ledger.http.respond import GivenCall, respond

RUN_BYTES_MAX = 24 * 1024 * 1024
"""A set of 16 MiB in Base64, and a manifest."""
WORKSPACE = Parameter("workspace", {"type": "string"}, "The workspace whose data is asked about.")

REGISTER = Operation(
    id="registerRun",
    tag="Runs",
    summary="Register a run. The ledger computes every permit again that the manifest claims, and signs it.",
    roles=ADMIN_PIPELINE,
    body=messages.GivenRun,
    body_bytes_max=RUN_BYTES_MAX,
    answer=messages.RunAnswer,
    statuses=(201,),
    writes=True,
    refusals=(
        "manifest_refused", "unknown_run", "already_exists", "invalid_value", "invalid_token", "postdated",
        "event_too_large", "stale", "damaged",
    ),
)  # fmt: skip
LIST = Operation(
    id="listRuns",
    tag="Runs",
    summary="Runs in the order of their registration; by `workspace`, those that used its data.",
    roles=EVERY_ROLE,
    parameters=(
        WORKSPACE,
        Parameter("purpose", {"type": "string"}, "Only runs for this purpose."),
        AFTER_POSITION,
        PAGE,
    ),
    answer=messages.RunList,
    refusals=("unknown_workspace", "invalid_id"),
)
READ = Operation(
    id="readRun",
    tag="Runs",
    summary="One run: its manifest as it was hashed, the ledger's signature, what was discharged.",
    roles=ASKERS,
    answer=messages.RunState,
    refusals=("unknown_run", "invalid_id", "damaged"),
)
EXPLAIN = Operation(
    id="explainRun",
    tag="Runs",
    summary="Whether a run used a workspace's data, why that was permitted, and whether it would be now.",
    roles=EVERY_ROLE,
    parameters=(WORKSPACE,),
    answer=messages.Explained,
    refusals=("unknown_run", "unknown_workspace", "invalid_id", "damaged", "too_large"),
)
DISCHARGE = Operation(
    id="dischargeRun",
    tag="Runs",
    summary="Say what was done of what is due of a run, by all that was known at a token, with evidence.",
    roles=ADMIN_PIPELINE,
    body=messages.GivenDischarge,
    answer=messages.DischargeAnswer,
    writes=True,
    refusals=("unknown_run", "invalid_value", "invalid_token"),
)


class Runs(Controller):
    """Runs, by name."""

    path = "/v1/runs"

    @post("/", operation=REGISTER)
    async def register(self, call: GivenCall) -> Response[bytes]:
        return respond(await runs.register(call))

    @get("/", operation=LIST)
    async def list(self, call: GivenCall) -> Response[bytes]:
        return respond(await runs.listed(call))

    @get("/{run:str}", operation=READ)
    async def read(self, call: GivenCall) -> Response[bytes]:
        return respond(await runs.read(call))

    @get("/{run:str}/explain", operation=EXPLAIN)
    async def explain(self, call: GivenCall) -> Response[bytes]:
        return respond(await runs.explain(call))

    @post("/{run:str}/discharge", operation=DISCHARGE, status_code=200)
    async def discharge(self, call: GivenCall) -> Response[bytes]:
        return respond(await runs.discharge(call))
