"""The eIM's store in SQLite: a file, or memory."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from esim_bench.errors import ConfigError, RigError
from esim_bench.servers.eim.rows import (
    DEVICE,
    DEVICE_NAMES,
    NOTIFICATION,
    ORDER,
    ORDER_NAMES,
    RESULT,
    device_of,
    device_values,
    kept,
    notification_of,
    notification_values,
    order_of,
    order_values,
)
from esim_bench.servers.eim.store import Device, EimOrder, NotificationRecord, OrderState, ResultRecord, StoredKey

_OPEN: Final = tuple(state for state in OrderState if state.open)
_UNKNOWN: Final = object()
REMEMBERED: Final = 1024
"""eUICCs that are remembered, so that their next request need not read them again."""
VERSION: Final = 1
APPLICATION: Final = 0x65494D31
"""application_id of the file ("eIM1"), so that no other program's file is taken for one."""

_TABLES: Final = """
CREATE TABLE devices (
    number INTEGER PRIMARY KEY AUTOINCREMENT, eid BLOB NOT NULL UNIQUE, label TEXT NOT NULL, indirect INTEGER NOT NULL,
    associated INTEGER NOT NULL, token TEXT, counter INTEGER NOT NULL, initial_counter INTEGER NOT NULL,
    signing_key TEXT NOT NULL, doubt TEXT, ci_pk_id BLOB, euicc_certificate BLOB, eum_certificate BLOB,
    last_seq INTEGER NOT NULL, added_ns INTEGER NOT NULL, seen_ns INTEGER, retry_ns INTEGER NOT NULL, view TEXT NOT NULL
);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, eid BLOB NOT NULL REFERENCES devices (eid), kind TEXT NOT NULL,
    body BLOB NOT NULL, state TEXT NOT NULL, created_ns INTEGER NOT NULL, purpose TEXT NOT NULL, parent INTEGER,
    counter INTEGER, transaction_id BLOB, request BLOB NOT NULL, sent_ns INTEGER, sends INTEGER NOT NULL,
    closed_ns INTEGER, raw BLOB NOT NULL, outcome TEXT NOT NULL, verified INTEGER NOT NULL, replayed INTEGER NOT NULL,
    new_key TEXT
);
CREATE INDEX orders_by_eid ON orders (eid, state);
CREATE UNIQUE INDEX orders_by_counter ON orders (eid, counter) WHERE counter IS NOT NULL;
CREATE UNIQUE INDEX orders_by_transaction ON orders (transaction_id) WHERE transaction_id IS NOT NULL;
CREATE TABLE results (
    number INTEGER PRIMARY KEY AUTOINCREMENT, eid BLOB NOT NULL, seq INTEGER NOT NULL, digest TEXT NOT NULL,
    raw BLOB NOT NULL, order_id INTEGER, at_ns INTEGER NOT NULL, UNIQUE (eid, digest)
);
CREATE TABLE notifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, eid BLOB NOT NULL, seq INTEGER NOT NULL,
    address TEXT NOT NULL, raw BLOB NOT NULL, operation TEXT NOT NULL, iccid BLOB, at_ns INTEGER NOT NULL,
    delivered INTEGER NOT NULL, attempts INTEGER NOT NULL, next_ns INTEGER NOT NULL, error TEXT NOT NULL
);
CREATE INDEX notifications_waiting ON notifications (next_ns) WHERE delivered = 0;
CREATE TABLE keys (name TEXT PRIMARY KEY, private BLOB NOT NULL, certificate BLOB);
"""


class SqliteEimStore:
    """Implements :class:`esim_bench.servers.eim.store.EimStore`.

    ``path``: a file (made when it is missing, readable for its owner alone: it has tokens and keys), or ``:memory:``.
    Raises ConfigError when it cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str] = ":memory:") -> None:
        self.path = os.fspath(path)
        # Orders may be given by another thread than the one that runs the functions.
        self._lock = threading.RLock()
        self._depth = 0
        self._devices: dict[bytes, Device] = {}
        """eUICCs as they are now, by EID, changes of the running transaction among them."""
        self._changed: dict[bytes, Device | None] = {}
        """EIDs of eUICCs that the running transaction has yet to write, each as the file has it (None: not known)."""
        self._open: dict[bytes, dict[int, EimOrder]] = {}
        """All open orders of an eUICC, by EID and id, oldest first."""
        self._data_version = 0
        try:
            if self.path != ":memory:":
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as exc:
            raise ConfigError(f"cannot open the eIM's store: {exc}", where=self.path) from exc
        try:
            self._prepare()
        except sqlite3.Error as exc:
            self._db.close()
            raise ConfigError(f"not an eIM's store: {exc}", where=self.path) from exc
        except ConfigError:
            self._db.close()
            raise

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_db"):
            self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA foreign_keys = ON")
        # Before an answer leaves, what it says must be on the disk: a counterValue is never used twice.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA busy_timeout = 5000")
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if (application, version) == (APPLICATION, VERSION):
            return
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application or version or tables:
            found = version if application == APPLICATION else "another program's file"
            raise ConfigError(
                "not an eIM's store of this version", where=self.path, expected=f"version {VERSION}", found=found
            )
        if self.path != ":memory:":
            self._db.execute("PRAGMA journal_mode = WAL")
        stamp = f"PRAGMA application_id = {APPLICATION};PRAGMA user_version = {VERSION};"
        self._db.executescript(f"BEGIN;{_TABLES}{stamp}COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes of a ``with`` block at once, or none; nested blocks belong to the outermost."""
        with self._lock:
            if self._depth == 0:
                self._run("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                if self._depth == 1:
                    self._forget_what_others_changed()
                yield
                if self._depth == 1:
                    self._write_devices()
                    self._run("COMMIT")
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._forget()
                    if self._db.in_transaction:
                        self._run("ROLLBACK")
                raise
            self._depth -= 1

    def _forget_what_others_changed(self) -> None:
        """Forget all that is remembered where another process wrote into the file."""
        if self.path == ":memory:":
            return
        (version,) = self._run("PRAGMA data_version").fetchone()
        if version != self._data_version:
            self._forget()
            self._data_version = version

    def _begin_reading(self) -> None:
        # Within a transaction nobody else writes.
        if self._depth == 0:
            self._forget_what_others_changed()

    def _forget(self) -> None:
        self._devices.clear()
        self._changed.clear()
        self._open.clear()

    def _write_devices(self) -> None:
        for eid, before in self._changed.items():
            device = self._devices[eid]
            old = device_values(before) if before is not None else None
            self._update("devices", DEVICE_NAMES, old, device_values(device), "eid", eid)
            if before is None:
                # There may be no such row.
                del self._devices[eid]
        self._changed.clear()
        if len(self._devices) > REMEMBERED:
            self._devices.clear()
        if len(self._open) > REMEMBERED:
            self._open.clear()

    def _update(
        self, table: str, names: Sequence[str], old: Sequence[Any] | None, new: Sequence[Any], key: str, value: Any
    ) -> None:
        """Write the columns of a row that changed; all of them where ``old`` is None."""
        rows = zip(names, old or [_UNKNOWN] * len(new), new, strict=True)
        # What did not change is mostly not just equal, but the same object.
        changed = [(name, after) for name, before, after in rows if before is not after and before != after]
        if changed:
            settings = ", ".join([f"{name} = ?" for name, _ in changed])
            self._run(f"UPDATE {table} SET {settings} WHERE {key} = ?", (*kept(after for _, after in changed), value))

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        with self._lock:
            try:
                return self._db.execute(statement, values)
            except (sqlite3.Error, OverflowError) as exc:
                raise RigError(f"the eIM's store failed: {exc}", where=self.path) from exc

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._run(statement, values).fetchall()

    # ----------------------------------------------------------------------------------------------------- devices

    def add_device(self, device: Device) -> bool:
        """Keep a new eUICC; False, and nothing changes, when its EID is there."""
        values = kept(device_values(device))
        statement = f"INSERT OR IGNORE INTO devices ({DEVICE}) VALUES ({_marks(values)})"
        return self._run(statement, values).rowcount == 1

    def put_device(self, device: Device) -> None:
        """Replace what is known of an eUICC."""
        with self._lock:
            if self._depth == 0:
                with self.transaction():
                    self.put_device(device)
                return
            eid = device.eid
            if eid not in self._changed:
                self._changed[eid] = self._devices.get(eid)
            self._devices[eid] = device

    def find_device(self, eid: bytes) -> Device | None:
        """Return an eUICC, or None."""
        with self._lock:
            self._begin_reading()
            found = self._devices.get(eid)
            if found is None:
                rows = self._rows(f"SELECT {DEVICE} FROM devices WHERE eid = ?", (eid,))
                if rows:
                    found = self._devices[eid] = device_of(rows[0])
            return found

    def devices(self) -> list[Device]:
        """Return all eUICCs in the order they were added."""
        with self._lock:
            self._write_devices()
        return [device_of(row) for row in self._rows(f"SELECT {DEVICE} FROM devices ORDER BY number")]

    # ------------------------------------------------------------------------------------------------------ orders

    def add_order(self, order: EimOrder) -> EimOrder:
        """Keep a new order and return it with its id."""
        values = kept((None, *order_values(order)[1:]))
        with self._lock:
            self._begin_reading()
            cursor = self._run(f"INSERT INTO orders ({ORDER}) VALUES ({_marks(values)})", values)
            found = self.find_order(int(cursor.lastrowid or 0))
            if found is None:
                raise RigError("the eIM's store lost an order", where=self.path)
            if found.state in _OPEN and found.eid in self._open:
                self._open[found.eid][found.id] = found
            return found

    def put_order(self, order: EimOrder) -> None:
        """Replace an order."""
        with self._lock:
            self._begin_reading()
            known = self._open.get(order.eid, {})
            before = known.get(order.id)
            old = order_values(before) if before is not None else None
            self._update("orders", ORDER_NAMES, old, order_values(order), "id", order.id)
            if before is None:
                self._open.pop(order.eid, None)
            elif order.state in _OPEN:
                known[order.id] = order
            else:
                del known[order.id]

    def find_order(self, order_id: int) -> EimOrder | None:
        """Return an order, or None."""
        return self._one_order("id = ?", order_id)

    def orders(self, eid: bytes | None = None, *states: OrderState) -> list[EimOrder]:
        """Return the orders of an eUICC, or of all, in these states, or in any; oldest first."""
        if eid is not None and states and all(state in _OPEN for state in states):
            return [order for order in self._open_orders(eid) if order.state in states]
        return self._orders(eid, *states)

    def _open_orders(self, eid: bytes) -> list[EimOrder]:
        with self._lock:
            self._begin_reading()
            known = self._open.get(eid)
            if known is None:
                found = self._orders(eid, *_OPEN)
                known = self._open[eid] = {order.id: order for order in found}
            return list(known.values())

    def _orders(self, eid: bytes | None, *states: OrderState) -> list[EimOrder]:
        values: list[Any] = [] if eid is None else [eid]
        conditions = [] if eid is None else ["eid = ?"]
        if states:
            conditions.append(f"state IN ({_marks(states)})")
            values += [state.value for state in states]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return [order_of(row) for row in self._rows(f"SELECT {ORDER} FROM orders{where} ORDER BY id", values)]

    def count_orders(self, eid: bytes, state: OrderState) -> int:
        """Return how many orders of an eUICC are in a state."""
        rows = self._rows("SELECT count(*) FROM orders WHERE eid = ? AND state = ?", (eid, state.value))
        return int(rows[0][0])

    def position(self, order: EimOrder) -> int:
        """Return which order of its eUICC an order is, from 1."""
        rows = self._rows("SELECT count(*) FROM orders WHERE eid = ? AND id <= ?", (order.eid, order.id))
        return int(rows[0][0])

    def order_of_counter(self, eid: bytes, counter: int) -> EimOrder | None:
        """Return the package of an eUICC that was signed with a counterValue, or None."""
        for order in self._open_orders(eid):
            # Most results are of the order that is out.
            if order.counter == counter:
                return order
        # Larger numbers come from outside, and SQLite cannot take them.
        return self._one_order("eid = ? AND counter = ?", eid, counter) if counter < 1 << 63 else None

    def order_of_transaction(self, transaction_id: bytes) -> EimOrder | None:
        """Return the order that went out with an eimTransactionId, or None."""
        return self._one_order("transaction_id = ?", transaction_id)

    def _one_order(self, condition: str, *values: Any) -> EimOrder | None:
        rows = self._rows(f"SELECT {ORDER} FROM orders WHERE {condition}", values)
        return order_of(rows[0]) if rows else None

    # ----------------------------------------------------------------------------------------------------- results

    def add_result(self, record: ResultRecord) -> bool:
        """Keep a result; False, and nothing changes, when one of the same digest is already there."""
        values = (record.eid, record.seq, record.digest, record.raw, record.order_id, record.at_ns)
        return self._run(f"INSERT OR IGNORE INTO results ({RESULT}) VALUES ({_marks(values)})", values).rowcount == 1

    def results(self, eid: bytes) -> list[ResultRecord]:
        """Return the results of an eUICC in the order they came."""
        rows = self._rows(f"SELECT {RESULT} FROM results WHERE eid = ? ORDER BY number", (eid,))
        return [ResultRecord(*row) for row in rows]

    def find_result(self, eid: bytes, digest: str) -> ResultRecord | None:
        """Return a result, or None."""
        rows = self._rows(f"SELECT {RESULT} FROM results WHERE eid = ? AND digest = ?", (eid, digest))
        return ResultRecord(*rows[0]) if rows else None

    # ----------------------------------------------------------------------------------------------- notifications

    def add_notification(self, record: NotificationRecord, most: int) -> bool:
        """Keep a notification; False, and nothing changes, where it is already there, or ``most`` of its eUICC wait."""
        values = (None, *notification_values(record)[1:])
        waiting = "SELECT count(*) FROM notifications WHERE eid = ? AND delivered = 0"
        statement = (
            f"INSERT OR IGNORE INTO notifications ({NOTIFICATION}) SELECT {_marks(values)} WHERE ({waiting}) < ?"
        )
        return self._run(statement, (*values, record.eid, most)).rowcount == 1

    def put_notification(self, record: NotificationRecord) -> None:
        """Replace a notification."""
        statement = f"UPDATE notifications SET {_settings(NOTIFICATION)} WHERE id = ?"
        self._run(statement, (*notification_values(record), record.id))

    def find_notification(self, digest: str) -> NotificationRecord | None:
        """Return a notification, or None."""
        rows = self._rows(f"SELECT {NOTIFICATION} FROM notifications WHERE digest = ?", (digest,))
        return notification_of(rows[0]) if rows else None

    def notifications(self, eid: bytes | None = None) -> list[NotificationRecord]:
        """Return the notifications of an eUICC, or of all, in the order they came."""
        statement = f"SELECT {NOTIFICATION} FROM notifications WHERE (?1 IS NULL OR eid = ?1) ORDER BY id"
        return [notification_of(row) for row in self._rows(statement, (eid,))]

    def waiting_notifications(self, now_ns: int, most: int) -> list[NotificationRecord]:
        """Return notifications that are due for an attempt, oldest first."""
        statement = f"SELECT {NOTIFICATION} FROM notifications WHERE delivered = 0 AND next_ns <= ? ORDER BY id LIMIT ?"
        return [notification_of(row) for row in self._rows(statement, (now_ns, most))]

    # -------------------------------------------------------------------------------------------------------- keys

    def add_key(self, key: StoredKey) -> None:
        """Keep a signing key; one that is already there is no error."""
        statement = "INSERT OR REPLACE INTO keys (name, private, certificate) VALUES (?, ?, ?)"
        self._run(statement, (key.name, key.private, key.certificate))

    def find_key(self, name: str) -> StoredKey | None:
        """Return a signing key, or None."""
        rows = self._rows("SELECT name, private, certificate FROM keys WHERE name = ?", (name,))
        return StoredKey(*rows[0]) if rows else None


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _settings(names: str) -> str:
    return ", ".join(f"{name} = ?" for name in names.split(", "))
