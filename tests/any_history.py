"""Anything that may happen to a few workspaces, as a strategy, and a ledger to which it happens."""

from __future__ import annotations

from typing import Any

from consent_domain.commands import (
    ChangeWorkspace,
    CloseWorkspace,
    Command,
    GrantOptIn,
    ProcessOptOut,
    RequestOptIn,
    SucceedWorkspace,
    SuspendPurpose,
    WithdrawOptIn,
    WithdrawOptOut,
)
from consent_domain.errors import ConsentError
from consent_domain.instants import DAY
from consent_domain.policy import Exclusion
from consent_domain.purposes import Selector
from hypothesis import strategies as st
from scenario import (
    ALL,
    MEMBER,
    OWNER,
    START,
    Ledger,
    enrolled,
    notice,
    opt_out,
    policy,
    purpose,
    rule,
    rules,
    scope,
    workspace,
)

NAMES = ("acme", "w1", "w2", "w3", "w4")
KEYS = ("train", "serve")
PURPOSES = (purpose(), purpose("serve", processing="serve", reach="workspace", categories=["messages"]))

scopes = st.sampled_from((scope("acme"), scope("w1"), scope("w3"), scope("corp", "organisation")))
selectors = st.sampled_from((ALL, Selector(keys=["train"]), Selector(keys=["serve"])))


@st.composite
def policies(draw: st.DrawFn) -> Command:
    given_rules = [
        rule(draw(st.sampled_from(("opt_out", "opt_in", "required", "prohibited"))), *keys, **whom)
        for keys, whom in draw(
            st.lists(
                st.sampled_from(
                    (
                        ((), {}),
                        (("train",), {"plans": ["pro"]}),
                        (("serve",), {}),
                        ((), {"organisations": ["corp"]}),
                    )
                ),
                min_size=1,
                max_size=3,
            )
        )
    ]
    excluded = [Exclusion(selector=ALL, plans=["pro"], categories=["files"])] if draw(st.booleans()) else []
    return policy(
        str(draw(st.integers(2, 10**6))),
        START + draw(st.integers(2, 60)) * DAY,
        direction="looser",
        rules=rules(
            *given_rules,
            purposes=PURPOSES,
            exclusions=excluded,
            while_requested=draw(st.sampled_from(("", "permit"))),
        ),
        notice=notice(START),
    )


changes: st.SearchStrategy[Any] = st.one_of(
    policies(),
    st.builds(
        lambda where, what, by: opt_out(scope=where, selector=what, by=by),
        scopes,
        selectors,
        st.sampled_from((OWNER, MEMBER)),
    ),
    st.builds(lambda where: RequestOptIn(scope=where, keys=["train"], applicant=OWNER), scopes),
    st.builds(
        lambda name, plan, organisation: ChangeWorkspace(
            workspace=name, plan=plan, organisation=organisation
        ),
        st.sampled_from(NAMES),
        st.sampled_from(("free", "pro")),
        st.sampled_from(("", "corp")),
    ),
    st.builds(lambda name: CloseWorkspace(workspace=name, reason="left"), st.sampled_from(NAMES)),
    st.builds(
        lambda one, other: SucceedWorkspace(workspace=one, predecessor=other, kind="merge"),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
    ),
    st.builds(lambda key: SuspendPurpose(purpose=key, reason="incident"), st.just("serve")),
    st.sampled_from(("process", "withdraw", "grant", "end")),
    st.integers(1, 20),
)


def populated() -> Ledger:
    """Workspaces of all kinds, under a policy of two purposes."""
    return enrolled(rules=rules(purposes=PURPOSES)).given(
        workspace("w1", organisation="corp"),
        workspace("w2", plan="pro"),
        workspace("w3", kind="sandbox"),
        workspace("w4", plan="pro", organisation="corp"),
    )


def happen(ledger: Ledger, change: Any) -> None:
    """Let it happen if the rules let it; what is about a request is about the last one."""
    last = ledger.request()
    follow_up = {
        "process": ProcessOptOut(request=last, approved_by="staff-2"),
        "withdraw": WithdrawOptOut(request=last, applicant=OWNER),
        "grant": GrantOptIn(opt_in=last, applicant=OWNER, notice=notice(ledger.now)),
        "end": WithdrawOptIn(opt_in=last, applicant=OWNER),
    }
    if isinstance(change, int):
        ledger.wait(change * DAY)
        return
    try:
        ledger.given(follow_up[change] if isinstance(change, str) else change)
    except (ConsentError, AssertionError, KeyError):
        pass
