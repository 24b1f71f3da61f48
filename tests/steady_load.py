"""A steady load of commands and checks from a client that records every answer, and what must hold of them.

Customers are enrolled and soon opt out of everything, but for a few who stay. A command whose answer
did not come, or was no verdict, is given again with the same Idempotency-Key until there is one. Each
request has a connection of its own, so that any worker may get it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

PURPOSE = "ranking.train"
STALENESS_SECONDS_MAX = 5.0
"""What the ledger allows a check that does not say."""
STALENESS_ASKED = (None, None, None, 1_000)
SETTLED_SECONDS_MAX = 30.0
REQUEST_SECONDS_MAX = 10.0
AGAIN_SECONDS = 0.1
PAUSE_SECONDS = 0.03
CUSTOMERS = 4
STAYING = 3
CHECKERS = 3
CHECKED_MAX = 20
"""How many of the newest customers are asked about: those of an outage, again and again."""
ENROLLED, OPTED_OUT = "workspace-enrolled.v1", "opt-out-requested.v1"
OPT_OUT = {"selector": {"all": True}, "applicant": {"role": "owner", "authority": "verified"}}


def command(workspace: str, type: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Path, body and headers of the command that leads to an event of this type."""
    key = {"idempotency-key": f"{type}/{workspace}"}
    if type == ENROLLED:
        return "/v1/workspaces", {"workspace": workspace, "plan": "business", "region": "eu"}, key
    return f"/v1/workspaces/{workspace}/opt-outs", OPT_OUT, key


class Acknowledged(NamedTuple):
    """An answered command. `at`: when its answer was here, by this process's clock."""

    workspace: str
    type: str
    position: int
    at: float
    visible: bool
    tries: int
    replayed: bool


class Checked(NamedTuple):
    """An answered check: when it was sent, and what the answer says."""

    workspace: str
    sent: float
    decision: str
    code: str
    position: int
    staleness: float | None
    staleness_max: float
    answered_by: str


class Load:
    """The customers and what they were answered."""

    def __init__(self, url: str, keys: dict[str, str], name: str) -> None:
        """Nothing is asked yet. `name` tells this load's customers from others'."""
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=REQUEST_SECONDS_MAX,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._keys = keys
        self._name = name
        self._random = random.Random(name)
        self._numbers = itertools.count(1)
        self._stopping = False
        self._staying = [f"{name}-stays-{number}" for number in range(STAYING)]
        self._customers: list[str] = []
        self.acknowledged: list[Acknowledged] = []
        self.checks: list[Checked] = []
        self.troubles: Counter[str] = Counter()
        self.wrong: list[str] = []

    @asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """The load goes on inside; at the end every command that was begun is settled."""
        try:
            for workspace in self._staying:
                await self._give(workspace, ENROLLED)
            async with asyncio.TaskGroup() as tasks:  # whose failure ends what the load is for
                for _ in range(CUSTOMERS):
                    tasks.create_task(self._customer())
                for _ in range(CHECKERS):
                    tasks.create_task(self._checker())
                try:
                    yield
                finally:
                    self._stopping = True
        finally:
            await self._client.aclose()

    async def until_acknowledged(self, more: int, seconds_max: float = 20.0) -> None:
        """Wait until so many more commands are answered."""
        wanted = len(self.acknowledged) + more
        deadline = time.monotonic() + seconds_max
        while len(self.acknowledged) < wanted:
            count = more - (wanted - len(self.acknowledged))
            assert time.monotonic() < deadline, (
                f"{count} of {more} were answered; {self.wrong[:3]} {self.troubles}"
            )
            await asyncio.sleep(0.02)

    # -- commands --------------------------------------------------------------------------------------------

    async def _customer(self) -> None:
        while not self._stopping:
            workspace = f"{self._name}-{next(self._numbers)}"
            await self._give(workspace, ENROLLED)
            self._customers.append(workspace)
            await asyncio.sleep(PAUSE_SECONDS)
            await self._give(workspace, OPTED_OUT)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _give(self, workspace: str, type: str) -> None:
        """Give a command until there is a verdict, and record it."""
        path, body, key = command(workspace, type)
        key["authorization"] = f"Bearer {self._keys['admin']}"
        deadline = time.monotonic() + SETTLED_SECONDS_MAX
        for tries in itertools.count(1):
            answer = await self._ask(path, body, key)
            if answer is not None and answer.status_code in (201, 202):
                told = answer.json()
                # The enrolment's commit ends with `default-on`; what is looked for is the first event.
                self.acknowledged.append(
                    Acknowledged(
                        workspace,
                        type,
                        int(told["firstPosition"]),
                        time.monotonic(),
                        told.get("visible", False),
                        tries,
                        told.get("replayed", False),
                    )
                )
                return
            self._note("command", answer, ("unavailable", "outcome_unknown", "overloaded"))
            if self.wrong or time.monotonic() > deadline:
                self.wrong.append(f"{path} was not settled in {SETTLED_SECONDS_MAX:.0f} s")
                return
            await asyncio.sleep(AGAIN_SECONDS)

    # -- checks ----------------------------------------------------------------------------------------------

    async def _checker(self) -> None:
        key = {"authorization": f"Bearer {self._keys['pipeline']}"}
        while not self._stopping:
            await asyncio.sleep(PAUSE_SECONDS / 2)
            workspace = self._random.choice([*self._staying, *self._customers[-CHECKED_MAX:]])
            asked: dict[str, Any] = {"workspace": workspace, "purpose": PURPOSE}
            staleness = self._random.choice(STALENESS_ASKED)
            if staleness is not None:
                asked["maxStalenessMs"] = staleness
            sent = time.monotonic()
            answer = await self._ask("/v1/check", asked, key)
            if answer is None or answer.status_code != 200:
                self._note("check", answer, ("unavailable",))
                continue
            self.checks.append(_checked(workspace, sent, answer.json(), staleness))

    async def _ask(self, path: str, body: object, headers: dict[str, str]) -> httpx.Response | None:
        """The answer, or None if none came."""
        try:
            return await self._client.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            self.troubles[type(error).__name__] += 1
            return None

    def _note(self, what: str, answer: httpx.Response | None, expected: Sequence[str]) -> None:
        if answer is None:
            return
        code = answer.json().get("code", "") if answer.content else ""
        self.troubles[f"{what}: {code}"] += 1
        if answer.status_code != 503 or code not in expected:
            self.wrong.append(f"{what}: {answer.status_code} {answer.text}")

    # -- what must hold --------------------------------------------------------------------------------------

    def require_sound(self) -> None:
        """No permit that was wrong by what was acknowledged, or by the position it stands on."""
        assert not self.wrong, self.wrong[:5]
        outs = {one.workspace: one for one in self.acknowledged if one.type == OPTED_OUT}
        for check in self.checks:
            if check.decision != "permit":
                continue
            assert check.staleness is not None and check.staleness <= check.staleness_max, check
            out = outs.get(check.workspace)
            if out is None:
                continue
            assert check.position < out.position, f"{check} is a permit at or after {out}"
            if out.visible:
                assert check.sent < out.at, f"{check} was permitted after {out}"
            assert check.sent < out.at + check.staleness_max, (
                f"{check} stands on something older than it says"
            )


def _checked(workspace: str, sent: float, answer: dict[str, Any], asked_ms: int | None) -> Checked:
    staleness = answer["stalenessMs"]
    return Checked(
        workspace,
        sent,
        answer["decision"],
        answer["reasons"][0]["code"] if answer["reasons"] else "",
        int(answer["token"].rsplit("/", 1)[1]) if answer["token"] else 0,
        None if staleness is None else staleness / 1000,
        STALENESS_SECONDS_MAX if asked_ms is None else asked_ms / 1000,
        answer["decisionId"].split("-")[0],
    )
