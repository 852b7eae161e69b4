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
from esim_bench.store.claims import Claim, claimed, tidy

SCHEMA_VERSION: Final = 2
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
        document TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'finished'
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
_UPGRADES: Final = {1: ("ALTER TABLE runs ADD COLUMN state TEXT NOT NULL DEFAULT 'finished'",)}

RUNNING: Final = "running"
FINISHED: Final = "finished"
INTERRUPTED: Final = "interrupted"


class RunStore:
    """Adds and finds run documents (the shape of ``run --json``).

    Each call is a transaction of its own on a connection of its own: a killed process leaves whole runs only, and any
    thread may call. All that is held between calls is the claim to the runs that were begun here and have not ended.
    """

    def __init__(self, path: str | os.PathLike[str], patience: float = _BUSY_SECONDS) -> None:
        """Name the file; it is made with the first run. ``patience``: seconds that a call waits for other writers."""
        self.path = Path(path)
        self._patience = patience
        self._claims: dict[str, Claim] = {}

    def begin(self, run_document: dict[str, Any]) -> None:
        """Keep a run that this process now works on: as long as it lives, until ``add`` or ``forget``.

        The document has the state "running" and no outcome. Raises ConfigError when the file cannot be used.
        """
        run = str(run_document["run"])
        try:
            self._claims[run] = Claim(self._claim_folder, run)
        except OSError as exc:
            raise ConfigError("cannot use the run history", where=str(self.path), found=exc.strerror) from None
        try:
            self.add({**run_document, "state": RUNNING})
        except BaseException:
            self._release(run)
            raise

    def unfinished(self) -> list[dict[str, Any]]:
        """Return the documents of runs whose process is gone without having said how they ended."""
        if not self.path.exists():
            return []
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT run, document FROM runs WHERE state = ? ORDER BY number", (RUNNING,)
            ).fetchall()
        return [json.loads(document) for run, document in rows if not claimed(self._claim_folder, run)]

    def interrupt(self, run_document: dict[str, Any]) -> bool:
        """Keep a run as interrupted, unless its process has ended it after all; tell whether that was done."""
        return self._put({**run_document, "state": INTERRUPTED}, only_running=True)

    def forget(self, run: str) -> None:
        """Drop a run that came to nothing."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM slots WHERE run = ?", (run,))
            connection.execute("DELETE FROM runs WHERE run = ?", (run,))
            connection.execute("COMMIT")
        self._release(run)

    def tidy(self) -> None:
        """Remove what dead processes left of their claims."""
        tidy(self._claim_folder)

    def add(self, run_document: dict[str, Any]) -> None:
        """Keep a run; one of the same id is replaced.

        Raises RigError for a document that is no run, ConfigError when the file cannot be used.
        """
        self._put(run_document)
        if run_document.get("state", FINISHED) != RUNNING:
            # Only now: whoever finds the run unclaimed finds its end in the history.
            self._release(str(run_document["run"]))

    def _put(self, run_document: dict[str, Any], *, only_running: bool = False) -> bool:
        run = run_document.get("run")
        state = str(run_document.get("state", FINISHED))
        outcome = "" if state == RUNNING else run_document.get("outcome")
        if not isinstance(run, str) or not run or not isinstance(outcome, str):
            raise RigError("not a run document", expected='"run" and "outcome"', found=", ".join(run_document) or "{}")
        slots = [
            (
                run,
                position,
                str(slot.get("slot", "")),
                str(slot.get("form_factor", "")),
                str(slot.get("scenario", "")),
                str(slot.get("outcome") or ""),
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
            state,
        )
        with self._connected(create=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if only_running:
                kept = connection.execute("SELECT state FROM runs WHERE run = ?", (run,)).fetchone()
                if kept is None or kept[0] != RUNNING:
                    connection.execute("ROLLBACK")
                    return False
            connection.execute("DELETE FROM slots WHERE run = ?", (run,))
            connection.execute(
                "INSERT INTO runs (run, started, scenario, rack, seed, outcome, document, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (run) DO UPDATE SET started = excluded.started, scenario = excluded.scenario,"
                " rack = excluded.rack, seed = excluded.seed, outcome = excluded.outcome, document = excluded.document,"
                " state = excluded.state",
                values,
            )
            connection.executemany("INSERT INTO slots VALUES (?, ?, ?, ?, ?, ?, ?, ?)", slots)
            connection.execute("COMMIT")
        return True

    def of_rack(self, rack: str, limit: int) -> list[tuple[int, str, str]]:
        """Return the latest runs of a rack, the newest first: number, id and state.

        Ids of runs that began in the same second have no order. Raises ConfigError as ``list`` does.
        """
        if not self.path.exists():
            return []
        with self._connected() as connection:
            return connection.execute(
                "SELECT number, run, state FROM runs WHERE rack = ? ORDER BY number DESC LIMIT ?", (rack, limit)
            ).fetchall()

    def last_on(self, rack: str, slot: str) -> tuple[str, str, str, str] | None:
        """Return the latest run that ended on a slot of a rack: id, start, scenario, the slot's outcome.

        Raises ConfigError as ``list`` does.
        """
        if not self.path.exists():
            return None
        with self._connected() as connection:
            # Ids begin with the time: the index of the slots has them in their order.
            found: tuple[str, str, str, str] | None = connection.execute(
                "SELECT s.run, r.started, s.scenario, s.outcome FROM slots s JOIN runs r ON r.run = s.run"
                " WHERE s.slot = ? AND r.rack = ? AND s.outcome <> '' ORDER BY s.run DESC LIMIT 1",
                (slot, rack),
            ).fetchone()
        return found

    def list(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return summaries, the newest run first: run, started, scenario, rack, seed, state, outcome, slots.

        A slot has slot, form_factor, outcome. Outcomes are None while the run is running.
        Raises ConfigError when the file is not a run history.
        """
        if not self.path.exists():
            return []
        with self._connected() as connection:
            connection.execute("BEGIN")  # one moment for all that is read
            rows = connection.execute(
                "SELECT run, started, scenario, rack, seed, state, outcome FROM runs ORDER BY number DESC LIMIT ?",
                (-1 if limit is None else limit,),
            ).fetchall()
            summaries = []
            for row in rows:
                slots = connection.execute(
                    "SELECT slot, form_factor, outcome FROM slots WHERE run = ? ORDER BY position", (row[0],)
                ).fetchall()
                names = ("run", "started", "scenario", "rack", "seed", "state", "outcome")
                summary: dict[str, Any] = dict(zip(names, row, strict=True))
                summary["slots"] = [dict(zip(("slot", "form_factor", "outcome"), slot, strict=True)) for slot in slots]
                for one in (summary, *summary["slots"]):
                    one["outcome"] = one["outcome"] or None
                summaries.append(summary)
            connection.execute("COMMIT")
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
        """End the use of the store: runs that were begun and have not ended are let go."""
        for run in [*self._claims]:
            self._release(run)

    @property
    def _claim_folder(self) -> Path:
        return self.path.parent / "running"

    def _release(self, run: str) -> None:
        claim = self._claims.pop(run, None)
        if claim is not None:
            claim.release()

    @contextmanager
    def _connected(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # Transactions are begun by hand: the sqlite3 module's own habits differ between Python versions.
            uri = f"{self.path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
            with closing(sqlite3.connect(uri, uri=True, timeout=self._patience, isolation_level=None)) as connection:
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
        version = self._version(connection)  # another process may have been faster
        if version == 0:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
            for statement in _UPGRADES[older]:
                connection.execute(statement)
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
