"""The SM-DP+'s store in SQLite: a file, or memory."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from esim_bench.errors import ConfigError, RigError
from esim_bench.servers.smdp.store import Download, NotificationRecord, Order, OrderState, StoredPackage, Transaction

VERSION: Final = 2

_TABLES: Final = """
CREATE TABLE packages (digest TEXT PRIMARY KEY, upp BLOB NOT NULL, metadata BLOB NOT NULL, iccid BLOB NOT NULL);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, matching_id TEXT NOT NULL, package TEXT NOT NULL REFERENCES packages (digest),
    state TEXT NOT NULL, eid BLOB, cc_hash BLOB, test_order INTEGER NOT NULL, expires_ns INTEGER,
    max_downloads INTEGER NOT NULL, max_cc_failures INTEGER NOT NULL, rebinding INTEGER NOT NULL,
    random_keys INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX orders_by_matching_id ON orders (matching_id) WHERE matching_id <> '';
CREATE TABLE downloads (
    order_id INTEGER NOT NULL REFERENCES orders (id), eid BLOB NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    cc_failures INTEGER NOT NULL, euicc_otpk BLOB, transaction_id BLOB, last_seq INTEGER NOT NULL,
    PRIMARY KEY (order_id, eid)
);
CREATE TABLE transactions (
    transaction_id BLOB PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id), eid BLOB NOT NULL,
    euicc_certificate BLOB NOT NULL, smdp_oid BLOB NOT NULL, at_ns INTEGER NOT NULL
);
CREATE TABLE notifications (
    number INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, raw BLOB NOT NULL, eid BLOB,
    seq INTEGER NOT NULL, operation TEXT NOT NULL, iccid BLOB, verified INTEGER NOT NULL, detail TEXT NOT NULL,
    at_ns INTEGER NOT NULL
);
"""
_SINCE_2: Final = """
CREATE TABLE protected (digest TEXT PRIMARY KEY REFERENCES packages (digest), protected BLOB NOT NULL);
CREATE TABLE challenges (challenge BLOB PRIMARY KEY, uses INTEGER NOT NULL);
"""
_FROM_1: Final = "ALTER TABLE orders ADD COLUMN random_keys INTEGER NOT NULL DEFAULT 0;"
_ORDER: Final = (
    "id, matching_id, package, state, eid, cc_hash, test_order, expires_ns, max_downloads, max_cc_failures, rebinding,"
    " random_keys"
)
_DOWNLOAD: Final = "order_id, eid, state, attempts, cc_failures, euicc_otpk, transaction_id, last_seq"
_TRANSACTION: Final = "transaction_id, order_id, eid, euicc_certificate, smdp_oid, at_ns"
_NOTIFICATION: Final = "digest, raw, eid, seq, operation, iccid, verified, detail, at_ns"


class SqliteStore:
    """Implements :class:`esim_bench.servers.smdp.store.SmdpStore`.

    ``path``: a file (made when it is missing), or ``:memory:``. Raises ConfigError when it cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str] = ":memory:") -> None:
        self.path = os.fspath(path)
        # Orders may be released by another thread than the one that runs the functions.
        self._lock = threading.RLock()
        self._depth = 0
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as exc:
            raise ConfigError(f"cannot open the SM-DP+ store: {exc}", where=self.path) from exc
        try:
            self._prepare()
        except sqlite3.Error as exc:
            self._db.close()
            raise ConfigError(f"not an SM-DP+ store: {exc}", where=self.path) from exc
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
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == VERSION:
            return
        if version == 1:
            self._db.executescript(f"BEGIN;{_FROM_1}{_SINCE_2}PRAGMA user_version = {VERSION};COMMIT;")
            return
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version or tables:
            raise ConfigError(
                "not an SM-DP+ store of this version", where=self.path, expected=f"version {VERSION}", found=version
            )
        if self.path != ":memory:":
            self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(f"BEGIN;{_TABLES}{_SINCE_2}PRAGMA user_version = {VERSION};COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes of a ``with`` block at once, or none; nested blocks belong to the outermost."""
        with self._lock:
            if self._depth == 0:
                self._run("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._run("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._run("COMMIT")

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        with self._lock:
            try:
                return self._db.execute(statement, values)
            except (sqlite3.Error, OverflowError) as exc:
                raise RigError(f"the SM-DP+ store failed: {exc}", where=self.path) from exc

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._run(statement, values).fetchall()

    # ---------------------------------------------------------------------------------------------------- packages

    def add_package(self, package: StoredPackage) -> None:
        """Keep a package; one that is already there is no error."""
        values = (package.digest, package.upp, package.metadata, package.iccid)
        self._run("INSERT OR IGNORE INTO packages (digest, upp, metadata, iccid) VALUES (?, ?, ?, ?)", values)

    def package(self, digest: str) -> StoredPackage:
        """Return a package. Raises RigError when it is not there."""
        rows = self._rows("SELECT digest, upp, metadata, iccid FROM packages WHERE digest = ?", (digest,))
        if not rows:
            raise RigError("the SM-DP+ store lost a package", where=self.path, expected=digest)
        return StoredPackage(*rows[0])

    def protected(self, digest: str) -> bytes | None:
        """Return what a package looks like under its random keys, or None."""
        rows = self._rows("SELECT protected FROM protected WHERE digest = ?", (digest,))
        return bytes(rows[0][0]) if rows else None

    def add_protected(self, digest: str, protected: bytes) -> None:
        """Keep a package as it is under its random keys."""
        self._run("INSERT OR REPLACE INTO protected (digest, protected) VALUES (?, ?)", (digest, protected))

    # ------------------------------------------------------------------------------------------------------ orders

    def add_order(self, order: Order) -> Order:
        """Keep a new order and return it with its id."""
        values = _order_values(order)
        cursor = self._run(f"INSERT INTO orders ({_ORDER}) VALUES (NULL{', ?' * len(values)})", values)
        return self.order(int(cursor.lastrowid or 0))

    def update_order(self, order: Order) -> None:
        """Replace an order."""
        names = " = ?, ".join(_ORDER.split(", ")[1:]) + " = ?"
        self._run(f"UPDATE orders SET {names} WHERE id = ?", (*_order_values(order), order.id))

    def order(self, order_id: int) -> Order:
        """Return an order by its id. Raises RigError when it is not there."""
        rows = self._rows(f"SELECT {_ORDER} FROM orders WHERE id = ?", (order_id,))
        if not rows:
            raise RigError("the SM-DP+ store lost an order", where=self.path, expected=f"order {order_id}")
        return _order(rows[0])

    def orders(self) -> list[Order]:
        """Return all orders, oldest first."""
        return [_order(row) for row in self._rows(f"SELECT {_ORDER} FROM orders ORDER BY id")]

    def find_order(self, matching_id: str) -> Order | None:
        """Return the order of a MatchingID (not "")."""
        statement = f"SELECT {_ORDER} FROM orders WHERE matching_id = ? AND matching_id <> ''"
        rows = self._rows(statement, (matching_id,))
        return _order(rows[0]) if rows else None

    def default_orders(self, eid: bytes) -> list[Order]:
        """Return the orders without MatchingID for this EID, then those for any eUICC; oldest first."""
        statement = (
            f"SELECT {_ORDER} FROM orders WHERE matching_id = '' AND (eid = ? OR eid IS NULL) ORDER BY eid IS NULL, id"
        )
        return [_order(row) for row in self._rows(statement, (eid,))]

    # --------------------------------------------------------------------------------------------------- downloads

    def download(self, order_id: int, eid: bytes) -> Download:
        """Return an eUICC's download of an order; a fresh one when there is none."""
        rows = self._rows(f"SELECT {_DOWNLOAD} FROM downloads WHERE order_id = ? AND eid = ?", (order_id, eid))
        return _download(rows[0]) if rows else Download(order_id, eid)

    def put_download(self, download: Download) -> None:
        """Keep a download in place of the former one."""
        values = (
            download.order_id,
            download.eid,
            download.state.value,
            download.attempts,
            download.cc_failures,
            download.euicc_otpk,
            download.transaction_id,
            download.last_seq,
        )
        self._run(f"INSERT OR REPLACE INTO downloads ({_DOWNLOAD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def downloads(
        self, *, order_id: int | None = None, eid: bytes | None = None, iccid: bytes | None = None
    ) -> list[Download]:
        """Return downloads, of an order, of an eUICC, of a profile, or all; oldest order first."""
        names = ", ".join(f"d.{name}" for name in _DOWNLOAD.split(", "))
        statement = (
            f"SELECT {names} FROM downloads d"
            " JOIN orders o ON o.id = d.order_id JOIN packages p ON p.digest = o.package"
        )
        wanted = {"d.order_id = ?": order_id, "d.eid = ?": eid, "p.iccid = ?": iccid}
        given = {condition: value for condition, value in wanted.items() if value is not None}
        statement += " WHERE " + " AND ".join(given) if given else ""
        rows = self._rows(statement + " ORDER BY d.order_id, d.eid", tuple(given.values()))
        return [_download(row) for row in rows]

    # ------------------------------------------------------------------------------- transactions and notifications

    def count_challenge(self, challenge: bytes) -> int:
        """Count a use of an eUICC challenge and return how many there were before."""
        statement = (
            "INSERT INTO challenges (challenge, uses) VALUES (?, 1)"
            " ON CONFLICT (challenge) DO UPDATE SET uses = uses + 1 RETURNING uses - 1"
        )
        return int(self._rows(statement, (challenge,))[0][0])

    def add_transaction(self, transaction: Transaction) -> None:
        """Keep a transaction."""
        values = (
            transaction.transaction_id,
            transaction.order_id,
            transaction.eid,
            transaction.euicc_certificate,
            transaction.smdp_oid,
            transaction.at_ns,
        )
        self._run(f"INSERT OR REPLACE INTO transactions ({_TRANSACTION}) VALUES (?, ?, ?, ?, ?, ?)", values)

    def find_transaction(self, transaction_id: bytes) -> Transaction | None:
        """Return the transaction of an id, or None."""
        rows = self._rows(f"SELECT {_TRANSACTION} FROM transactions WHERE transaction_id = ?", (transaction_id,))
        return Transaction(*rows[0]) if rows else None

    def add_notification(self, record: NotificationRecord) -> bool:
        """Keep a notification; False, and nothing changes, when one of the same digest is already there."""
        values = (
            record.digest,
            record.raw,
            record.eid,
            record.seq,
            record.operation,
            record.iccid,
            record.verified,
            record.detail,
            record.at_ns,
        )
        statement = f"INSERT OR IGNORE INTO notifications ({_NOTIFICATION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        return self._run(statement, values).rowcount == 1

    def notifications(self, eid: bytes | None = None) -> list[NotificationRecord]:
        """Return the notifications of an eUICC, or all, in the order they came."""
        statement = f"SELECT {_NOTIFICATION} FROM notifications WHERE (?1 IS NULL OR eid = ?1) ORDER BY number"
        return [_notification(row) for row in self._rows(statement, (eid,))]


def _order_values(order: Order) -> tuple[Any, ...]:
    return (
        order.matching_id,
        order.package,
        order.state.value,
        order.eid,
        order.cc_hash,
        order.test_order,
        order.expires_ns,
        order.max_downloads,
        order.max_cc_failures,
        order.rebinding,
        order.random_keys,
    )


def _order(row: Any) -> Order:
    number, matching_id, package, state, eid, cc_hash, test, expires, downloads, failures, rebinding, random_keys = row
    return Order(
        number,
        matching_id,
        package,
        OrderState(state),
        eid,
        cc_hash,
        bool(test),
        expires,
        downloads,
        failures,
        bool(rebinding),
        bool(random_keys),
    )


def _download(row: Any) -> Download:
    order_id, eid, state, *rest = row
    return Download(order_id, eid, OrderState(state), *rest)


def _notification(row: Any) -> NotificationRecord:
    digest, raw, eid, seq, operation, iccid, verified, detail, at_ns = row
    return NotificationRecord(digest, raw, eid, seq, operation, iccid, bool(verified), detail, at_ns)
