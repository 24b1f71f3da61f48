"""The reference names every code, reason, event type, route, command and setting, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from consent_domain import grounds
from consent_domain.commands import ImportCommand, LiveCommand
from consent_domain.errors import STATUS
from consent_domain.events import EVENT_TYPES
from consent_domain.reasons import DENYING, PERMITTING
from consent_ledger.http.description import operations_of
from consent_ledger.http.permissions import COMMAND_ROLES, PUBLIC
from consent_ledger.http.routes import routes
from consent_ledger.settings import LedgerSettings, PublisherSettings
from consent_ledger.settings import ToolSettings as LedgerToolSettings
from consent_plumbing.settings import PREFIX, Settings
from consent_projector.settings import ProjectorSettings
from consent_projector.settings import ToolSettings as ProjectorToolSettings

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
CODE = ("domain", "gate", "plumbing", "services", "deploy", "tests")
VARIABLE = re.compile(r"CONSENT_[A-Z_]*[A-Z]")
CALL = re.compile(r"\b(GET|POST|PATCH|PUT|DELETE) (/[\w/{}.-]+)")
ROLES = ("admin", "auditor", "pipeline", "owner")


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the tables below a heading, down to the next one, without their back-ticks and heads."""
    _, found, rest = (REFERENCE / document).read_text().partition(f"# {heading}\n")
    assert found, f"{document} has no heading {heading}"
    section = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]


def in_words(roles: frozenset[str]) -> str:
    """Roles as the tables name them."""
    return "everybody" if roles == PUBLIC else ", ".join(role for role in ROLES if role in roles)


def test_every_error_code_with_its_status_and_what_to_do() -> None:
    told = {code: int(status) for code, status, _ in rows("http.md", "Errors")}
    assert told == STATUS
    assert all(advice for _, _, advice in rows("http.md", "Errors"))


@pytest.mark.parametrize(
    "headings,codes",
    [
        (["What a permit says"], PERMITTING),
        (["What a denial says", "When it cannot be decided"], DENYING),
    ],
)
def test_every_reason(headings: list[str], codes: dict[str, str]) -> None:
    assert sorted(row[0] for heading in headings for row in rows("reasons.md", heading)) == sorted(codes)


def test_the_table_of_precedence_is_the_one_that_decides() -> None:
    table = [line for line in str(grounds.__doc__).splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(grounds.PRECEDENCE)
    assert "\n".join(table) in (REFERENCE / "reasons.md").read_text()


def test_every_standing_that_the_code_knows() -> None:
    told = {row[0] for row in rows("reasons.md", "Standings")}
    assert {word for word in re.findall(r"`(\w+)`", str(grounds.__doc__)) if "_" in word} <= told


def test_every_event_type_with_its_message_streams_and_effect() -> None:
    told = [row[:4] for row in rows("events.md", "Types")]
    known = [[kind.name, kind.body.__name__, ", ".join(kind.streams), kind.effect] for kind in EVENT_TYPES]
    assert told == known


def test_every_route_with_its_roles() -> None:
    told = {row[0]: row[1] for row in rows("http.md", "Who may call what")}
    assert told == {
        f"{method} {path}": in_words(operation.roles) for path, method, operation in operations_of(routes())
    }


def test_every_command_with_its_roles_and_members() -> None:
    # Those that `/v1/commands` and `/v1/import` take; the others have a route of their own.
    told = {
        row[0]: (row[1], set(re.findall(r"\w+", row[2])) - {"none"}) for row in rows("http.md", "Commands")
    }
    assert told == {
        str(kind.__struct_config__.tag): (
            in_words(roles),
            {field.encode_name for field in msgspec.structs.fields(kind)} - {"onBehalfOf", "occurredAt"},
        )
        for kind, roles in COMMAND_ROLES.items()
        if kind in {*LiveCommand.__args__, *ImportCommand.__args__}  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize(
    "heading,kinds",
    [
        ("Ledger and projector", [Settings, LedgerToolSettings, ProjectorToolSettings]),
        ("Ledger", [LedgerSettings]),
        ("Publisher", [PublisherSettings]),
        ("Projector", [ProjectorSettings]),
    ],
)
def test_every_setting_with_its_default(heading: str, kinds: list[type[Settings]]) -> None:
    everybodys = (
        {field.name for field in msgspec.structs.fields(Settings)} if Settings not in kinds else set()
    )
    known = {
        PREFIX + field.name.upper(): "required" if field.required else str(field.default)
        for kind in kinds
        for field in msgspec.structs.fields(kind)
        if field.name not in everybodys
    }
    assert {row[0]: row[1] for row in rows("settings.md", heading)} == known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_route_that_a_document_names_is_there(document: Path) -> None:
    served = [
        (method, re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))))
        for path, method, _ in operations_of(routes())
    ]
    for method, path in CALL.findall(document.read_text()):
        assert any(method == known and form.fullmatch(path) for known, form in served), f"{method} {path}"


def test_a_variable_that_a_document_names_is_read_by_something() -> None:
    code = [path.read_text() for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    fields = [
        field.name for kind in (LedgerSettings, ProjectorSettings) for field in msgspec.structs.fields(kind)
    ]
    read = {PREFIX + name.upper() for name in fields} | set(VARIABLE.findall("\n".join(code)))
    for document in DOCUMENTS:
        assert set(VARIABLE.findall(document.read_text())) <= read, document.name
