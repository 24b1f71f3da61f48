"""Health, metrics, and the API's own description: open to everybody, and without a customer's name."""

from __future__ import annotations

from litestar import Controller, MediaType, Response, get

from consent_ledger.http import messages, metrics
from consent_ledger.http.calls import Operation, encode
from consent_ledger.http.description import document_of
from consent_ledger.http.pages import CONTENT_SECURITY_POLICY, DESCRIPTION_PAGE
from consent_ledger.http.permissions import PUBLIC
from consent_ledger.http.respond import AnyRequest, GivenCall

LIVE = Operation(
    id="isLive", tag="Service", summary="The process answers.", roles=PUBLIC, answer=messages.Health
)
READY = Operation(
    id="isReady",
    tag="Service",
    summary="Checks permit and writes can be recorded; 503 with what is wrong otherwise.",
    roles=PUBLIC,
    answer=messages.Health,
    statuses=(200, 503),
)
METRICS = Operation(
    id="metrics",
    tag="Service",
    summary="Prometheus metrics; of all workers where there are several. They name no customer.",
    roles=PUBLIC,
    answer_type=metrics.MEDIA_TYPE,
)
DESCRIPTION = Operation(
    id="description", tag="Service", summary="This description, OpenAPI 3.1.", roles=PUBLIC, answer=dict
)
PAGE = Operation(
    id="descriptionPage",
    tag="Service",
    summary="This description, to read.",
    roles=PUBLIC,
    answer_type="text/html",
)


class Health(Controller):
    """What machines and newcomers ask first."""

    path = "/"

    @get("/health/live", operation=LIVE)
    async def live(self) -> Response[bytes]:
        return Response(encode(messages.Health(status="ok")), media_type=MediaType.JSON)

    @get("/health/ready", operation=READY)
    async def ready(self, call: GivenCall) -> Response[bytes]:
        health = await call.worker.health()
        status = 503 if health.failures else 200
        headers = {"Retry-After": "1"} if health.failures else None
        return Response(encode(health), status_code=status, media_type=MediaType.JSON, headers=headers)

    @get("/metrics", operation=METRICS)
    async def metrics(self, call: GivenCall) -> Response[bytes]:
        return Response(metrics.page(call.worker), media_type=metrics.MEDIA_TYPE)

    @get("/v1/openapi.json", operation=DESCRIPTION)
    async def description(self, request: AnyRequest) -> Response[bytes]:
        return Response(encode(document_of(request.app)), media_type=MediaType.JSON)

    @get("/docs", operation=PAGE)
    async def page(self) -> Response[bytes]:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(DESCRIPTION_PAGE, media_type=MediaType.HTML, headers=headers)
