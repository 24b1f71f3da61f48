"""Examples for the API's description, by operation. A test reads each with the struct that it is one of."""

from __future__ import annotations

from typing import Any

_TOKEN = "consent.local/ledger/1/10412"
_REQUEST = "0199e1a2-7c1e-7b2a-9d0e-3f1c2b4a5d6e"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

_SEARCH_RANKING: dict[str, Any] = {
    "key": "search_ranking.train",
    "processing": "train",
    "reach": "global",
    "modelClass": "non_generative",
    "recipient": "first_party",
    "categories": ["messages"],
    "legalBasis": "legitimate_interest",
    "justification": "Search results are ordered by what people opened before.",
}
_RULES: dict[str, Any] = {
    "purposes": [_SEARCH_RANKING],
    "rules": [{"selector": {"all": True}, "regime": "opt_out"}],
    "deadlines": [{"id": "gdpr-month", "days": 30, "regions": ["eu"], "law": "GDPR art. 12(3)"}],
    "rejectionReasons": ["duplicate", "no_authority"],
    "noticeDays": 30,
}
_OPT_OUT: dict[str, Any] = {
    "selector": {"class": {"processing": "train", "reach": "global"}},
    "applicant": {"role": "owner", "authority": "verified", "subject": "dana@example.com"},
    "channel": "form",
}
_APPLIED: dict[str, Any] = {
    "status": "applied",
    "token": _TOKEN,
    "firstPosition": "10412",
    "position": "10412",
    "recordedAt": "2026-01-31T09:00:00.000001Z",
    "version": 2,
}
_OPT_OUT_ANSWER: dict[str, Any] = {
    **_APPLIED,
    "request": _REQUEST,
    "statusUrl": f"/v1/requests/{_REQUEST}",
    "state": "received",
    "deniedSince": "2026-01-31T09:00:00.000000Z",
    "dueAt": "2026-03-02T09:00:00.000000Z",
    "joined": False,
    "visible": True,
}
_OPT_IN: dict[str, Any] = {
    "keys": ["assistant.train"],
    "applicant": {"role": "owner", "authority": "verified", "subject": "dana@example.com"},
}
_NOTICE: dict[str, Any] = {"givenAt": "2026-01-30T09:00:00Z", "channel": "console", "textSha256": _SHA256}
_STAFF_STEP: dict[str, Any] = {**_APPLIED, "request": _REQUEST, "state": "acknowledged", "visible": True}

_MANIFEST: dict[str, Any] = {
    "format": "consent-manifest.v1",
    "run": "ranker-2026-02-01",
    "purpose": "search_ranking.train",
    "categories": ["messages"],
    "token": _TOKEN,
    "at": "2026-01-31T09:00:00.000001Z",
    "policyVersion": "2026-01",
    "mode": "replica",
    "collected": "unstated",
    "workspaces": "2",
    "setSha256": "b1e5c6b2aa3cd0bb5ca7cc4e8c41dc4b3bd1ab0d2a4a0be3c39ddc3a4b1c0f5e",
    "outputs": [{"kind": "model", "uri": "models:/ranker", "version": "7"}],
    "parents": ["clicks-2026-01-31"],
    "code": "git:4f2a9c1",
    "rowsIn": "120000",
    "rowsOut": "118204",
    "reasons": {"defaulted_on": "118204", "opted_out": "1796"},
}

BODIES: dict[str, dict[str, Any]] = {
    "registerRun": {
        "one": {
            "manifest": _MANIFEST,
            "set": "AQAAAAAAAAAAAAAAOjAAAAEAAAAAAAEAEAAAAAUACQA=",
        }
    },
    "dischargeRun": {
        "retrained": {
            "action": "retrained",
            "through": _TOKEN,
            "outputs": ["models:/ranker"],
            "evidence": "Version 8 was trained without these workspaces; version 7 was deleted.",
        }
    },
    "recipientApplied": {"one": {"token": _TOKEN}},
    "check": {
        "one": {
            "workspace": "acme",
            "purpose": "search_ranking.train",
            "collected": {"at": "2026-01-15T10:30:00Z"},
        },
        "sharedChannel": {
            "workspaces": ["acme", "globex"],
            "purpose": "search_ranking.train",
            "categories": ["messages"],
            "collected": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-31T00:00:00Z"},
        },
        "whatWasKnown": {"workspace": "acme", "purpose": "search_ranking.train", "knownAt": _TOKEN},
    },
    "checkBatch": {
        "three": {"purpose": "search_ranking.train", "workspaces": ["acme", "globex", "nobody"]},
    },
    "enrolWorkspace": {
        "one": {
            "workspace": "acme",
            "plan": "business",
            "region": "eu",
            "organisation": "acme-group",
            "customerSince": "2024-05-01T00:00:00Z",
        }
    },
    "changeWorkspace": {"plan": {"plan": "enterprise"}, "leaveOrganisation": {"organisation": ""}},
    "closeWorkspace": {"left": {"reason": "left"}},
    "succeedWorkspace": {"merge": {"predecessor": "acme-old", "kind": "merge"}},
    "optWorkspaceOut": {"global training": _OPT_OUT, "everything": {**_OPT_OUT, "selector": {"all": True}}},
    "requestWorkspaceOptIn": {"one": _OPT_IN},
    "registerOrganisation": {"one": {"organisation": "acme-group"}},
    "optOrganisationOut": {"global training": _OPT_OUT},
    "requestOrganisationOptIn": {"one": _OPT_IN},
    "acknowledgeOptOut": {"proven": {"authority": "verified"}},
    "requireActionForOptOut": {"proof": {"action": "confirm that you own the workspace"}},
    "delayOptOut": {"one": {"reason": "the request names forty workspaces"}},
    "processOptOut": {"one": {"approvedBy": "key-0123abcd"}},
    "rejectOptOut": {"one": {"reason": "no_authority", "approvedBy": "key-0123abcd"}},
    "withdrawOptOut": {"owner": {"applicant": {"role": "owner", "authority": "verified"}}},
    "grantOptIn": {"one": {"applicant": {"role": "owner", "authority": "verified"}, "notice": _NOTICE}},
    "refuseOptIn": {"one": {"applicant": {"role": "owner", "authority": "verified"}}},
    "withdrawOptIn": {"one": {"applicant": {"role": "owner", "authority": "verified"}}},
    "publishPolicy": {
        "one": {
            "version": "2026-01",
            "title": "How we use your data",
            "textSha256": _SHA256,
            "effectiveAt": "2026-03-15T00:00:00Z",
            "direction": "looser",
            "why": "search ranking is trained from now on",
            "rules": _RULES,
            "notice": {**_NOTICE, "channel": "email"},
        }
    },
    "eraseWorkspace": {"either person": {"reason": "the contract ended a year ago"}},
    "keepText": {"markdown": {"text": "# Principles\n\nWe do not train on your messages."}},
    "findPerson": {"by address": {"subject": "dana@example.com"}},
    "erasePerson": {"one": {}, "for somebody": {"onBehalfOf": "key-0123abcd"}},
    "unsealEvent": {"one": {"reason": "case 17: who asked for this opt-out?"}},
    "suspendPurpose": {"one": {"reason": "an inquiry by the regulator"}},
    "resumePurpose": {"one": {"reason": "the inquiry has ended"}},
    "runCommands": {
        "two": {
            "commands": [
                {"command": "enrol-workspace", "workspace": "acme", "plan": "business", "region": "eu"},
                {"command": "request-opt-out", "scope": {"kind": "workspace", "id": "acme"}, **_OPT_OUT},
            ]
        }
    },
    "importHistory": {
        "one line": {
            "command": "import-workspace",
            "workspace": "acme",
            "plan": "business",
            "region": "eu",
            "customerSince": "2019-05-01T00:00:00Z",
            "optOuts": [
                {
                    "selector": {"all": True},
                    "receivedAt": "2024-05-17T10:00:00Z",
                    "applicant": {"role": "owner", "authority": "verified"},
                    "processedAt": "2024-06-01T10:00:00Z",
                }
            ],
        }
    },
}
"""Bodies, by the operation's id and the example's name."""

_DENIED = "Data of acme may not be used for search_ranking.train: an opt-out was requested (event 10412)."
_DURATIONS = {"median": 3.5, "ninetiethPercentile": 12.0}
_REQUEST_STATE: dict[str, Any] = {
    "request": _REQUEST,
    "kind": "opt_out",
    "scope": {"kind": "workspace", "id": "acme"},
    "state": "received",
    "authority": "verified",
    "requesterRole": "owner",
    "channel": "form",
    "receivedAt": "2026-01-31T09:00:00.000000Z",
    "dueAt": "2026-03-02T09:00:00.000000Z",
    "rule": "gdpr-month",
    "law": "GDPR art. 12(3)",
    "selector": {"class": {"processing": "train", "reach": "global"}},
    "firstPosition": "10412",
    "position": "10412",
}

ANSWERS: dict[str, dict[str, Any]] = {
    "check": {
        "permit": {
            "decision": "permit",
            "standing": "defaulted_on",
            "reasons": [{"code": "defaulted_on", "position": "2"}],
            "policyVersion": "2026-01",
            "token": _TOKEN,
            "ledgerTime": "2026-01-31T09:00:00.000001Z",
            "stalenessMs": 12,
            "permittedCollected": [{"from": "2024-05-01T00:00:00Z"}],
            "decisionId": "5f1c2b4a5d6e7f80-17",
            "sentence": "Data of acme may be used for search_ranking.train: "
            "it is on by default: nobody was asked (event 2).",
        },
        "deny": {
            "decision": "deny",
            "standing": "opt_out_requested",
            "reasons": [{"code": "opt_out_requested", "position": "10412"}],
            "policyVersion": "2026-01",
            "token": _TOKEN,
            "ledgerTime": "2026-01-31T09:00:00.000001Z",
            "stalenessMs": 12,
            "permittedCollected": [],
            "decisionId": "5f1c2b4a5d6e7f80-18",
            "sentence": _DENIED,
        },
    },
    "checkBatch": {
        "three": {
            "token": _TOKEN,
            "ledgerTime": "2026-01-31T09:00:00.000001Z",
            "stalenessMs": 12,
            "policyVersion": "2026-01",
            "permitted": [False, True, False],
            "reasonCodes": ["opt_out_requested", "defaulted_on", "unknown_workspace"],
            "reasons": [0, 1, 2],
        }
    },
    "enrolWorkspace": {"applied": {**_APPLIED, "firstPosition": "10411"}},
    "readWorkspace": {
        "one": {
            "workspace": "acme",
            "kind": "production",
            "plan": "business",
            "region": "eu",
            "organisation": "acme-group",
            "customerSince": "2024-05-01T00:00:00.000000Z",
            "enrolledPosition": "17",
            "version": 3,
            "purposes": [
                {
                    "purpose": "search_ranking.train",
                    "standing": "opt_out_requested",
                    "decision": "deny",
                    "reasons": [{"code": "opt_out_requested", "position": "10412"}],
                    "sentence": _DENIED,
                    "policyVersion": "2026-01",
                    "since": "2026-01-31T09:00:00.000000Z",
                    "sincePolicyVersion": "2026-01",
                }
            ],
            "token": _TOKEN,
            "ledgerTime": "2026-01-31T09:00:00.000001Z",
            "stalenessMs": 12,
        }
    },
    "readHistory": {
        "one": {
            "events": [
                {
                    "position": "17",
                    "event": {
                        "specversion": "1.0",
                        "id": "0199e1a2-7c1e-7b2a-9d0e-3f1c2b4a5d6f",
                        "source": "consent.local/ledger",
                        "type": "workspace-enrolled.v1",
                        "subject": "workspace/acme",
                        "sequence": "00000000000000000017",
                        "time": "2024-05-01T00:00:00.000000Z",
                        "datacontenttype": "application/json",
                        "dataschema": "proto:consent.v1.WorkspaceEnrolled",
                        "effect": "standing",
                        "data": {
                            "recordedBy": {"principal": "key-0123abcd", "authentication": "api_key"},
                            "kind": "production",
                            "plan": "business",
                            "region": "eu",
                            "customerSince": "2024-05-01T00:00:00Z",
                        },
                    },
                }
            ],
            "next": "17",
        }
    },
    "optWorkspaceOut": {"denied at once": _OPT_OUT_ANSWER},
    "optOrganisationOut": {"denied at once": _OPT_OUT_ANSWER},
    "processOptOut": {"one": {**_STAFF_STEP, "state": "processed"}},
    "acknowledgeOptOut": {"one": _STAFF_STEP},
    "eraseWorkspace": {
        "proposed": {**_APPLIED, "workspace": "acme", "proposed": True, "visible": True},
        "erased": {
            **_APPLIED,
            "workspace": "acme",
            "erased": True,
            "keys": 3,
            "destroyed": True,
            "visible": True,
        },
    },
    "findPerson": {
        "one": {"person": _SHA256, "streams": ["workspace/acme", "workspace/globex"], "erasedAt": ["871"]}
    },
    "erasePerson": {"erased": {**_APPLIED, "person": _SHA256, "keys": 2, "destroyed": True}},
    "unsealEvent": {
        "one": {
            "position": "10412",
            "event": _REQUEST,
            "stream": "workspace/acme",
            "type": "opt-out-requested.v1",
            "field": "requester",
            "subject": "dana@example.com",
            "person": _SHA256,
            "unsealing": "4",
        }
    },
    "listUnsealings": {
        "one": {
            "unsealings": [
                {
                    "unsealing": "4",
                    "position": "10412",
                    "principal": "key-0123abcd",
                    "reason": "case 17: who asked for this opt-out?",
                    "at": "2026-01-31T09:00:00.000001Z",
                }
            ]
        }
    },
    "listOrganisations": {
        "one": {
            "organisations": [
                {
                    "organisation": "acme-group",
                    "registeredAt": "2024-05-01T00:00:00.000000Z",
                    "position": "16",
                    "version": 1,
                }
            ]
        }
    },
    "listRequests": {"one": {"requests": [_REQUEST_STATE], "last90Days": _DURATIONS}},
    "readRequest": {"one": {**_REQUEST_STATE, "last90Days": _DURATIONS}},
    "listPolicies": {
        "one": {
            "policies": [
                {
                    "policy": "principles",
                    "version": "2026-01",
                    "title": "How we use your data",
                    "textSha256": _SHA256,
                    "direction": "looser",
                    "why": "search ranking is trained from now on",
                    "position": "2",
                    "recordedAt": "2026-01-31T09:00:00.000000Z",
                    "effectiveAt": "2026-03-15T00:00:00.000000Z",
                    "inForce": True,
                    "rules": _RULES,
                }
            ],
            "token": _TOKEN,
        }
    },
    "publishPolicy": {"applied": _APPLIED},
    "listPurposes": {
        "one": {
            "purposes": [{"purpose": _SEARCH_RANKING, "policyVersion": "2026-01", "inForce": True}],
            "token": _TOKEN,
        }
    },
    "suspendPurpose": {"applied": _APPLIED},
    "runCommands": {
        "one applied, one refused": {
            "verdicts": [
                _APPLIED,
                {
                    "status": "not_applied",
                    "code": "wrong_state",
                    "title": "Not possible in the present state",
                    "detail": "workspace acme is closed",
                },
            ]
        }
    },
    "importHistory": {
        "some": {
            "lines": 10000,
            "applied": 9998,
            "skipped": 1,
            "refused": 1,
            "events": 20312,
            "firstPosition": "3",
            "lastPosition": "20314",
            "token": "consent.local/ledger/1/20314",
            "refusals": [{"line": 17, "code": "backdated", "detail": "customerSince lies before 1970"}],
        },
    },
    "wasEverOptedIn": {
        "by default, then opted out": {
            "workspace": "acme",
            "purpose": "train.search_ranking",
            "optedIn": False,
            "defaultedOn": True,
            "permitted": True,
            "sentence": "No: acme was never opted in to train.search_ranking; it was on by default from "
            "2026-03-15T00:00:00Z to 2026-04-02T09:00:00Z under version 2026-01: nobody was asked.",
            "periods": [
                {
                    "standing": "defaulted_on",
                    "since": "2026-03-15T00:00:00.000000Z",
                    "until": "2026-04-02T09:00:00.000000Z",
                    "policyVersion": "2026-01",
                    "reasons": [{"code": "defaulted_on", "position": "2"}],
                    "appliedAt": ["17"],
                    "endedBy": [{"code": "opt_out_requested", "position": "42"}],
                }
            ],
            "consents": [],
            "evidence": [
                {
                    "position": "42",
                    "stream": "workspace/acme",
                    "type": "opt-out-requested.v1",
                    "recordedAt": "2026-04-02T09:00:00.000000Z",
                    "requesterRole": "owner",
                    "authority": "verified",
                    "requesterSealed": True,
                    "recordedBy": "key-a1b2c3d4",
                }
            ],
            "token": _TOKEN,
            "ledgerTime": "2026-04-03T00:00:00.000000Z",
        }
    },
    "readLog": {
        "first epoch": {
            "origin": "consent.local/ledger",
            "epoch": 1,
            "name": "consent.local/ledger",
            "prefix": "/log",
            "size": "10412",
            "witnessedSize": "10412",
            "verifierKeys": ["consent.local/ledger+1a2b3c4d+AQ…"],
            "witnesses": [{"name": "auditor.example/w", "state": "cosigning", "size": "10412"}],
            "epochs": [{"epoch": 1, "name": "consent.local/ledger", "prefix": "/log", "size": "10412"}],
        }
    },
    "isReady": {
        "ready": {
            "status": "ok",
            "position": "10412",
            "stalenessMs": 12,
            "log": {"size": "10412", "behindMs": 0, "witnessedSize": "10412"},
        }
    },
    "isLive": {"live": {"status": "ok"}},
}
"""Answers, by the operation's id and the example's name."""
