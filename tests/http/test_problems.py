"""Given any failure, when it is answered, then it is an RFC 9457 problem with a stable code and no secret."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import pytest
from consent_domain.errors import STATUS, ConsentError
from consent_ledger.http.problems import MEDIA_TYPE, TITLES, answer_to
from litestar.exceptions import HTTPException, NotFoundException


def told(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    status, body, headers = answer_to(error)
    return status, msgspec.json.decode(body), {name.decode(): value.decode() for name, value in headers}


def test_given_every_code_when_it_is_told_then_it_has_a_title_a_type_and_its_status() -> None:
    assert TITLES.keys() == STATUS.keys()
    for code, status in STATUS.items():
        answered, problem, headers = told(ConsentError(code, "what was wrong"))
        assert (answered, problem["status"], problem["code"]) == (status, status, code)
        assert (problem["title"], problem["detail"]) == (TITLES[code], "what was wrong")
        assert problem["type"] == f"urn:consent-ledger:problem:{code}"
        assert problem["instance"].startswith("urn:uuid:")
        assert headers["content-type"] == MEDIA_TYPE
        assert ("retry-after" in headers) == (status == 503)
        assert ("www-authenticate" in headers) == (status == 401)


def test_given_more_to_say_when_it_is_told_then_programs_find_it_and_no_member_is_replaced() -> None:
    _, problem, _ = told(
        ConsentError("version_conflict", "it changed", current_version=7, status=200, type="x")
    )
    assert problem["currentVersion"] == 7
    assert (problem["status"], problem["code"]) == (409, "version_conflict")
    assert problem["type"].endswith("version_conflict")


def test_given_an_error_that_nobody_foresaw_when_it_is_told_then_nothing_of_it_leaks() -> None:
    status, problem, _ = told(RuntimeError("password=hunter2 in /srv/secret.py"))
    assert (status, problem["code"]) == (500, "internal")
    assert "hunter2" not in str(problem) and "secret" not in str(problem)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("host db.internal"),
        TimeoutError(),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.UndefinedTableError("ledger.events"),
        asyncpg.InterfaceError("pool is closed"),
    ],
)
def test_given_a_database_that_is_down_or_empty_when_it_is_told_then_it_is_503_to_try_again(
    error: Exception,
) -> None:
    status, problem, headers = told(error)
    assert (status, problem["code"], headers["retry-after"]) == (503, "unavailable", "1")
    assert "internal" not in problem["detail"]


def test_given_the_framework_answers_by_itself_when_it_is_told_then_it_has_our_codes() -> None:
    assert told(NotFoundException())[1]["code"] == "not_found"
    assert told(HTTPException(status_code=405))[1]["code"] == "method_not_allowed"
    assert told(HTTPException(status_code=418))[1]["code"] == "internal"
