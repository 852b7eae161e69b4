"""What an SM-DP+ keeps: packages, orders, the download of each eUICC, transactions, notifications.

Calls of the port are synchronous and short. The virtual loop makes them directly; a served SM-DP+ runs whole functions
on one worker thread (see :class:`esim_bench.servers.smdp.Smdp`), so an implementation sees one caller per transaction.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class OrderState(Enum):
    """State of a profile at its SM-DP+ (SGP.22 3.1.6), also of one eUICC's download of it."""

    AVAILABLE = "Available"
    """Prepared, not yet released for download."""
    RELEASED = "Released"
    DOWNLOADED = "Downloaded"
    """Bound and handed out; the result of the installation is not known yet."""
    INSTALLED = "Installed"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    DELETED = "Deleted"
    ERROR = "Error"
    """Given up: refused by the user, failed for good, or too many tries."""
    UNAVAILABLE = "Unavailable"
    """The order was cancelled by who gave it (ES2+.CancelOrder)."""


@dataclass(frozen=True, slots=True)
class StoredPackage:
    """A profile package before binding."""

    digest: str
    """SHA-256 of package and metadata, hex: its name in the store."""
    upp: bytes = field(repr=False)
    metadata: bytes
    """StoreMetadataRequest, BF25."""
    iccid: bytes
    """10 bytes as in tag 5A."""


@dataclass(frozen=True, slots=True)
class Order:
    """A download order."""

    id: int
    """0 until it is stored."""
    matching_id: str = field(repr=False)
    """"" for a default order: found by EID."""
    package: str
    """Digest of the package."""
    state: OrderState
    eid: bytes | None = None
    """The only eUICC that may have it; set by the first binding, unless it is a test order."""
    cc_hash: bytes | None = field(default=None, repr=False)
    """SHA-256 of the confirmation code."""
    test_order: bool = False
    """For any number of eUICCs, any number of times; states are those of each eUICC's download."""
    expires_ns: int | None = None
    max_downloads: int = 10
    max_cc_failures: int = 3
    rebinding: bool = True
    """Whether a profile that was bound once may be bound for another one-time key of the same eUICC."""
    random_keys: bool = False
    """Protected under random keys beforehand (PPK, SGP.22 2.5.3), which replace the session keys; else under these."""


@dataclass(frozen=True, slots=True)
class Download:
    """What one eUICC did with one order."""

    order_id: int
    eid: bytes
    state: OrderState = OrderState.RELEASED
    attempts: int = 0
    cc_failures: int = 0
    euicc_otpk: bytes | None = None
    """otPK.EUICC.ECKA of the last binding, 65 bytes, until its result is known."""
    transaction_id: bytes | None = None
    """Of the last binding."""
    last_seq: int = -1
    """Highest sequence number of the notifications that made the state."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A session in which a package was bound: by it a ProfileInstallationResult is verified, however late it comes."""

    transaction_id: bytes
    order_id: int
    eid: bytes
    euicc_certificate: bytes
    smdp_oid: bytes
    """The OID that the result must name: whole TLV, 06."""
    at_ns: int


@dataclass(frozen=True, slots=True)
class NotificationRecord:
    """A notification as it was received, and what its verification said."""

    digest: str
    """SHA-256, hex: of EID and signed part where it is verified, else of ``raw``. No two records have the same."""
    raw: bytes
    eid: bytes | None
    """Where it is known: of a verified one always."""
    seq: int
    operation: str
    """install, enable, disable, delete."""
    iccid: bytes | None
    verified: bool
    detail: str
    """Why it was not verified; of an installation its result."""
    at_ns: int


class SmdpStore(Protocol):
    """The store port."""

    def transaction(self) -> AbstractContextManager[None]:
        """Make all changes of a ``with`` block at once, or none when it ends with an exception. May be nested."""

    def add_package(self, package: StoredPackage) -> None:
        """Keep a package; one that is already there is no error."""

    def package(self, digest: str) -> StoredPackage:
        """Return a package. Raises RigError when it is not there."""

    def protected(self, digest: str) -> bytes | None:
        """Return a package under its random keys (three keys of 16 bytes, then the 86 TLVs), or None."""

    def add_protected(self, digest: str, protected: bytes) -> None:
        """Keep a package as it is under its random keys."""

    def add_order(self, order: Order) -> Order:
        """Keep a new order and return it with its id."""

    def update_order(self, order: Order) -> None:
        """Replace an order."""

    def order(self, order_id: int) -> Order:
        """Return an order by its id. Raises RigError when it is not there."""

    def orders(self) -> list[Order]:
        """Return all orders, oldest first."""

    def find_order(self, matching_id: str) -> Order | None:
        """Return the order of a MatchingID (not "")."""

    def default_orders(self, eid: bytes) -> list[Order]:
        """Return the orders without MatchingID for this EID, then those for any eUICC; oldest first."""

    def download(self, order_id: int, eid: bytes) -> Download:
        """Return an eUICC's download of an order; a fresh one when there is none."""

    def put_download(self, download: Download) -> None:
        """Keep a download in place of the former one."""

    def downloads(
        self, *, order_id: int | None = None, eid: bytes | None = None, iccid: bytes | None = None
    ) -> list[Download]:
        """Return downloads, of an order, of an eUICC, of a profile, or all; oldest order first."""

    def count_challenge(self, challenge: bytes) -> int:
        """Count a use of an eUICC challenge and return how many there were before."""

    def add_transaction(self, transaction: Transaction) -> None:
        """Keep a transaction."""

    def find_transaction(self, transaction_id: bytes) -> Transaction | None:
        """Return the transaction of an id, or None."""

    def add_notification(self, record: NotificationRecord) -> bool:
        """Keep a notification; False, and nothing changes, when one of the same digest is already there."""

    def notifications(self, eid: bytes | None = None) -> list[NotificationRecord]:
        """Return the notifications of an eUICC, or all, in the order they came."""

    def close(self) -> None:
        """Release the store; never raises."""
