"""SQLite files that remember: durable commits, one statement a `.sql` file, and no file made by accident."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from consent_domain.errors import ConsentError

from consent_gate.durable import sync_folder

BUSY_SECONDS_MAX = 5.0
"""How long one waits for another that holds the file."""

_OWN = Path(__file__).parent / "sqlite_statements"


class FileFailed(ConsentError):
    """A file of our own that is missing, damaged, or cannot be read or written."""


class SqliteFile:
    """A file and what it is called in messages. Threads and processes may share it.

    Every use opens the file anew, a millisecond: so one that was replaced is noticed.
    """

    def __init__(self, path: Path, what: str, statements: Path) -> None:
        """`statements` is the folder of the `.sql` files."""
        self.path = path
        self._what = what
        self._statements = statements

    def make(self, tables: tuple[str, ...], version: int, fill: Callable[[Connection], object]) -> None:
        """Make the file with its tables and first rows: mode 0600, whole or not at all, durable.

        Raises FileFailed `already_exists`, or `unavailable` where it cannot be written.
        """
        unfinished = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            unfinished.touch(mode=0o600, exist_ok=False)
            try:
                with SqliteFile(unfinished, self._what, self._statements).transaction() as connection:
                    for table in tables:
                        connection.run(table)
                    fill(connection)
                    connection.pragma(f"user_version = {version}")
                os.link(unfinished, self.path)  # unlike a rename it never replaces another's
            finally:
                unfinished.unlink()
            sync_folder(self.path.parent)
        except FileExistsError as error:
            raise FileFailed("already_exists", f"{self.path} is there already") from error
        except OSError as error:
            raise FileFailed("unavailable", f"{self._name()} cannot be made: {error.strerror}") from error

    def require_whole(self, version: int) -> None:
        """Read the whole file. Raises FileFailed `damaged` if it is no file of this layout, or spoilt."""
        with self.reading() as connection:
            found = connection.run_own("check").fetchone()[0]
            if found != "ok":
                raise self.damaged(found)
            has = connection.pragma("user_version").fetchone()[0]
            if has != version:
                raise self.damaged(f"it has layout {has}, and this program knows {version}")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Everything inside, durable at its end, or nothing of it; nobody else writes meanwhile.

        Raises FileFailed `unavailable` if another holds the file for `BUSY_SECONDS_MAX` or it cannot be
        read or written, `damaged` if it is no file of ours.
        """
        with self.reading() as connection:
            connection.run_own("begin")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """What is in it, for whoever only looks: nobody who writes waits for it. Raises as above."""
        try:
            # mode=rw: SQLite would make a file that is missing, and with it a memory that knows nothing.
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=BUSY_SECONDS_MAX,
                isolation_level=None,
            )
            try:
                opened = Connection(connection, self._statements)
                opened.run_own("sync_every_commit")
                yield opened
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            raise FileFailed("unavailable", f"{self._name()}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self.damaged(error) from error

    def damaged(self, why: object) -> FileFailed:
        """The error for a file that is not what it should be."""
        return FileFailed("damaged", f"{self._name()} is damaged: {why}")

    def _name(self) -> str:
        return f"{self._what} {self.path}"


class Connection:
    """An open file."""

    def __init__(self, connection: sqlite3.Connection, statements: Path) -> None:
        self._connection = connection
        self._statements = statements

    def run(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        """Run the statement in the file of this name."""
        return self._connection.execute(_text(self._statements, statement), parameters)

    def run_own(self, statement: str) -> sqlite3.Cursor:
        """Run one of the statements that every file needs."""
        return self._connection.execute(_text(_OWN, statement))

    def pragma(self, text: str) -> sqlite3.Cursor:
        """Read or set a PRAGMA, which takes no parameters."""
        return self._connection.execute(f"PRAGMA {text}")

    def commit(self) -> None:
        """End the transaction, durable."""
        self._connection.commit()

    def rollback(self) -> None:
        """End the transaction; nothing of it happened."""
        self._connection.rollback()


@cache
def _text(folder: Path, name: str) -> str:
    return (folder / f"{name}.sql").read_text()
