"""The run history: one SQLite file, written by any number of processes."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from esim_bench.errors import ConfigError, RigError

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x6553696D  # "eSim"
_BUSY_SECONDS: Final = 30.0

# The document is the truth; the other columns exist to be searched and counted.
_SCHEMA: Final = (
    """CREATE TABLE runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL UNIQUE,
        started TEXT NOT NULL,
        scenario TEXT NOT NULL,
        rack TEXT NOT NULL,
        seed TEXT NOT NULL,
        outcome TEXT NOT NULL,
        document TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE slots (
        run TEXT NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        slot TEXT NOT NULL,
        form_factor TEXT NOT NULL,
        scenario TEXT NOT NULL,
        outcome TEXT NOT NULL,
        seconds REAL NOT NULL,
        apdus INTEGER NOT NULL,
        PRIMARY KEY (run, position)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX slots_by_name ON slots (slot, run)",
)


class RunStore:
    """Adds and finds run documents (the shape of ``run --json``).

    Each call is a transaction of its own on a connection of its own: nothing is held between calls, a killed process
    leaves whole runs only, and any thread may call.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name the file; it is made with the first run."""
        self.path = Path(path)

    def add(self, run_document: dict[str, Any]) -> None:
        """Keep a run; one of the same id is replaced.

        Raises RigError for a document that is no run, ConfigError when the file cannot be used.
        """
        run = run_document.get("run")
        outcome = run_document.get("outcome")
        if not isinstance(run, str) or not run or not isinstance(outcome, str):
            raise RigError("not a run document", expected='"run" and "outcome"', found=", ".join(run_document) or "{}")
        slots = [
            (
                run,
                position,
                str(slot.get("slot", "")),
                str(slot.get("form_factor", "")),
                str(slot.get("scenario", "")),
                str(slot.get("outcome", "")),
                float(slot.get("seconds") or 0.0),
                int(slot.get("apdus") or 0),
            )
            for position, slot in enumerate(run_document.get("slots") or ())
        ]
        scenario = run_document.get("scenario") or (slots[0][4] if slots else "")
        values = (
            run,
            str(run_document.get("started", "")),
            str(scenario),
            str(run_document.get("rack", "")),
            "" if run_document.get("seed") is None else str(run_document["seed"]),
            outcome,
            json.dumps(run_document),
        )
        with self._connected(create=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM slots WHERE run = ?", (run,))
            connection.execute(
                "INSERT INTO runs (run, started, scenario, rack, seed, outcome, document) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (run) DO UPDATE SET started = excluded.started, scenario = excluded.scenario,"
                " rack = excluded.rack, seed = excluded.seed, outcome = excluded.outcome, document = excluded.document",
                values,
            )
            connection.executemany("INSERT INTO slots VALUES (?, ?, ?, ?, ?, ?, ?, ?)", slots)
            connection.execute("COMMIT")

    def list(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return summaries, the newest run first: run, started, scenario, rack, seed, outcome, slots [{slot, outcome}].

        Raises ConfigError when the file is not a run history.
        """
        if not self.path.exists():
            return []
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT run, started, scenario, rack, seed, outcome FROM runs ORDER BY number DESC LIMIT ?",
                (-1 if limit is None else limit,),
            ).fetchall()
            summaries = []
            for row in rows:
                slots = connection.execute(
                    "SELECT slot, form_factor, outcome FROM slots WHERE run = ? ORDER BY position", (row[0],)
                ).fetchall()
                summary = dict(zip(("run", "started", "scenario", "rack", "seed", "outcome"), row, strict=True))
                summary["slots"] = [dict(zip(("slot", "form_factor", "outcome"), slot, strict=True)) for slot in slots]
                summaries.append(summary)
        return summaries

    def get(self, run_id: str) -> dict[str, Any]:
        """Return a run's whole document, by its id, the beginning of it, or ``latest``.

        Raises ConfigError when there is none, or several begin so.
        """
        unknown = ConfigError("no such run", found=repr(run_id), hint="esim-bench runs list shows what there is")
        if not self.path.exists():
            raise unknown
        with self._connected() as connection:
            if run_id == "latest":
                rows = connection.execute("SELECT run, document FROM runs ORDER BY number DESC LIMIT 1").fetchall()
            else:
                rows = connection.execute("SELECT run, document FROM runs WHERE run = ?", (run_id,)).fetchall()
                if not rows and run_id:
                    rows = connection.execute(
                        "SELECT run, document FROM runs WHERE substr(run, 1, ?) = ? ORDER BY number LIMIT 5",
                        (len(run_id), run_id),
                    ).fetchall()
        if not rows:
            raise unknown
        if len(rows) > 1:
            raise ConfigError(
                "several runs begin so", expected="one of " + ", ".join(row[0] for row in rows), found=run_id
            )
        document: dict[str, Any] = json.loads(rows[0][1])
        return document

    def close(self) -> None:
        """End the use of the store; nothing is held between calls, so there is nothing to lose without it."""

    @contextmanager
    def _connected(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # Transactions are begun by hand: the sqlite3 module's own habits differ between Python versions.
            uri = f"{self.path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
                self._prepare(connection)
                yield connection
        except sqlite3.OperationalError as exc:
            raise ConfigError("cannot use the run history", where=str(self.path), found=str(exc)) from None
        except sqlite3.DatabaseError as exc:
            raise ConfigError(
                "not a run history",
                where=str(self.path),
                found=str(exc),
                hint="move the file away, or set ESIM_BENCH_HOME to another folder",
            ) from None
        except OSError as exc:
            raise ConfigError("cannot use the run history", where=str(self.path), found=exc.strerror) from None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = self._version(connection)
        if version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise ConfigError(
                "the run history was written by a newer version of esim-bench",
                where=str(self.path),
                expected=f"schema {SCHEMA_VERSION}",
                found=version,
            )
        connection.execute("BEGIN IMMEDIATE")
        if self._version(connection) == 0:  # another process may have been faster
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def _version(self, connection: sqlite3.Connection) -> int:
        """Return the schema's version, 0 for a file without tables. Raises ConfigError for somebody else's database."""
        identity = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if identity != APPLICATION_ID and tables:
            raise ConfigError(
                "not a run history",
                where=str(self.path),
                expected=f"application id {APPLICATION_ID:08X}",
                found=f"{identity & 0xFFFFFFFF:08X}",
            )
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
