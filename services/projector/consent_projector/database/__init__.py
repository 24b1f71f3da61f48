"""The schema `views`: its migrations and statements, as files."""

from __future__ import annotations

from pathlib import Path

from consent_plumbing.sql import Statements

SCHEMA = "views"
MIGRATIONS = Path(__file__).parent / "migrations"
STATEMENTS = Statements(Path(__file__).parent / "statements")
