"""What an eIM keeps: eUICCs, orders with the bytes that left and came back, results, notifications, rotated keys.

Calls of the port are synchronous and short. The virtual loop makes them directly; a served eIM runs whole functions on
one worker thread, so an implementation sees one caller per transaction.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from esim_bench.codec import ipa_data
from esim_bench.codec.download_trigger import ProfileDownloadTriggerResult
from esim_bench.codec.esipa_objects import parse_package_result
from esim_bench.codec.euicc_operations import Operation
from esim_bench.codec.euicc_package import SignedResult, parse_result
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.sgp32 import Version
from esim_bench.servers.eim.orders import DATA, DOWNLOAD, PACKAGE, Order, PackageOrder, parse_order
from esim_bench.servers.eim.view import View


class OrderState(Enum):
    """How far an order is: queued -> sent -> done | failed | lost, and cancelled from both of the first."""

    QUEUED = "queued"
    SENT = "sent"
    """Signed, stored and handed out; the same bytes go out again until there is a result."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Executed or not: its result can never come."""

    @property
    def open(self) -> bool:
        """Tell whether something is still to happen."""
        return self in (OrderState.QUEUED, OrderState.SENT)


class Purpose(Enum):
    """Whose order it is."""

    ORDERED = ""
    """An operator's."""
    CERTIFICATES = "certificates"
    """The eIM's own: the chain by which results are verified, and what a relayed download needs to know."""
    RECOVER = "recover"
    """The eIM's own: results that the eUICC still has, after a replayError."""
    PROBE = "probe"
    """The eIM's own: a harmless package (listEim) that shows which key the eUICC has."""


@dataclass(frozen=True, slots=True)
class Device:
    """An eUICC in the inventory."""

    eid: bytes
    label: str = ""
    indirect: bool = False
    """Downloads by way of the eIM are offered to it."""
    associated: bool = False
    """The eUICC knows this eIM: packages may be sent."""
    token: int | None = field(default=None, repr=False)
    """associationToken; None: the eUICC has none for this eIM."""
    counter: int = 1
    """counterValue of the next package."""
    initial_counter: int = 1
    """counterValue of the last configuration that was given out."""
    key: str = ""
    """Name of the key that the eUICC knows; "": that of the credentials."""
    doubt: str | None = None
    """Name of a key that it may know instead, since the result of the change never came."""
    ci_pk_id: bytes | None = None
    """Key identifier of the CI under which it signs for this eIM; None: whichever it takes."""
    euicc_certificate: bytes | None = field(default=None, repr=False)
    """DER; with ``eum_certificate`` verified up to a CI when it was stored."""
    eum_certificate: bytes | None = field(default=None, repr=False)
    last_seq: int = -1
    """Highest sequence number of the results that were accepted."""
    added_ns: int = 0
    seen_ns: int | None = None
    """When it last asked for something."""
    retry_ns: int = 0
    """No request of the eIM's own before this time."""
    view: View = field(default_factory=View)


@dataclass(frozen=True, slots=True)
class EimOrder:
    """An order for one eUICC. Times in ns since 1970."""

    id: int
    """0 until it is stored."""
    eid: bytes
    kind: str
    """"package", "download" or "data"."""
    body: bytes = field(repr=False)
    """As the module ``orders`` encodes it."""
    state: OrderState = OrderState.QUEUED
    created_ns: int = 0
    purpose: Purpose = Purpose.ORDERED
    parent: int | None = None
    """The order that a recovery is for."""
    counter: int | None = None
    """counterValue that a package was signed with."""
    transaction_id: bytes | None = None
    """eimTransactionId that went out."""
    request: bytes = field(default=b"", repr=False)
    """BF51, BF52 or BF54 as it goes out, every time."""
    sent_ns: int | None = None
    """The first time."""
    sends: int = 0
    closed_ns: int | None = None
    raw: bytes = field(default=b"", repr=False)
    """The result as it came: BF51, BF52, BF54, or the IPA's error A0."""
    outcome: str = ""
    """How it ended, in the standard's names: "ok", "enable: profileNotInDisabledState", "replayError", ..."""
    verified: bool = False
    """The eUICC's signature was verified. A later result that is verified still replaces one that was not."""
    replayed: bool = False
    """The eUICC said replayError: its stored results are asked for in place of sending again."""
    new_key: str | None = None
    """Name of the key that holds from its success on."""

    @property
    def order(self) -> Order:
        """Return what was ordered."""
        return parse_order(self.kind, self.body)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Return the operations of a package."""
        order = self.order
        return order.operations if isinstance(order, PackageOrder) else ()

    @property
    def results(self) -> tuple[OperationResult, ...]:
        """Return the eUICC's results of the operations, in their order; () where there are none."""
        if self.kind != PACKAGE or not self.raw.startswith(b"\xbf\x51"):
            return ()
        result = parse_result(self.raw)
        return result.results if isinstance(result, SignedResult) else ()

    @property
    def data(self) -> ipa_data.IpaEuiccData | None:
        """Return the data that came for a data order."""
        answer = parse_package_result(self.raw) if self.kind == DATA and self.raw else None
        return answer if isinstance(answer, ipa_data.IpaEuiccData) else None

    def download_result(self, version: Version = Version.V1_2) -> ProfileDownloadTriggerResult | None:
        """Return the result that came for a download order."""
        answer = parse_package_result(self.raw, version) if self.kind == DOWNLOAD and self.raw else None
        return answer if isinstance(answer, ProfileDownloadTriggerResult) else None


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """A verified EuiccPackageResult."""

    eid: bytes
    seq: int
    digest: str
    """SHA-256 of the signed part, hex: no two of one eUICC have the same."""
    raw: bytes = field(repr=False)
    order_id: int | None
    """None: of no order that is known here."""
    at_ns: int


@dataclass(frozen=True, slots=True)
class NotificationRecord:
    """A verified notification, kept until its server has it."""

    id: int
    digest: str
    """SHA-256 of EID and signed part, hex: no two records have the same."""
    eid: bytes
    seq: int
    address: str
    """notificationAddress."""
    raw: bytes = field(repr=False)
    """BF37 or 30 as the eUICC signed it."""
    operation: str
    iccid: bytes | None
    at_ns: int
    delivered: bool = False
    attempts: int = 0
    next_ns: int = 0
    """No attempt before this time."""
    error: str = ""
    """Of the last attempt."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key besides that of the credentials."""

    name: str
    private: bytes = field(repr=False)
    """PKCS #8, PEM."""
    certificate: bytes | None = field(default=None, repr=False)


class EimStore(Protocol):
    """The store port."""

    def transaction(self) -> AbstractContextManager[None]:
        """Make all changes of a ``with`` block at once, or none when it ends with an exception. May be nested."""

    def add_device(self, device: Device) -> bool:
        """Keep a new eUICC; False, and nothing changes, when its EID is there."""

    def put_device(self, device: Device) -> None:
        """Replace what is known of an eUICC."""

    def find_device(self, eid: bytes) -> Device | None:
        """Return an eUICC, or None."""

    def devices(self) -> list[Device]:
        """Return all eUICCs in the order they were added."""

    def add_order(self, order: EimOrder) -> EimOrder:
        """Keep a new order and return it with its id."""

    def put_order(self, order: EimOrder) -> None:
        """Replace an order."""

    def find_order(self, order_id: int) -> EimOrder | None:
        """Return an order, or None."""

    def orders(self, eid: bytes | None = None, *states: OrderState) -> list[EimOrder]:
        """Return the orders of an eUICC, or of all, in these states, or in any; oldest first."""

    def count_orders(self, eid: bytes, state: OrderState) -> int:
        """Return how many orders of an eUICC are in a state."""

    def position(self, order: EimOrder) -> int:
        """Return which order of its eUICC an order is, from 1."""

    def order_of_counter(self, eid: bytes, counter: int) -> EimOrder | None:
        """Return the package of an eUICC that was signed with a counterValue, or None."""

    def order_of_transaction(self, transaction_id: bytes) -> EimOrder | None:
        """Return the order that went out with an eimTransactionId, or None."""

    def add_result(self, record: ResultRecord) -> bool:
        """Keep a result; False, and nothing changes, when one of the same digest is already there."""

    def results(self, eid: bytes) -> list[ResultRecord]:
        """Return the results of an eUICC in the order they came."""

    def find_result(self, eid: bytes, digest: str) -> ResultRecord | None:
        """Return a result, or None."""

    def add_notification(self, record: NotificationRecord, most: int) -> bool:
        """Keep a notification.

        False, and nothing changes, when one of the same digest is already there, or ``most`` of its eUICC's or more are
        not delivered yet.
        """

    def put_notification(self, record: NotificationRecord) -> None:
        """Replace a notification."""

    def find_notification(self, digest: str) -> NotificationRecord | None:
        """Return a notification, or None."""

    def notifications(self, eid: bytes | None = None) -> list[NotificationRecord]:
        """Return the notifications of an eUICC, or of all, in the order they came."""

    def waiting_notifications(self, now_ns: int, most: int) -> list[NotificationRecord]:
        """Return notifications that are due for an attempt, oldest first."""

    def add_key(self, key: StoredKey) -> None:
        """Keep a signing key; one that is already there is no error."""

    def find_key(self, name: str) -> StoredKey | None:
        """Return a signing key, or None."""

    def close(self) -> None:
        """Release the store; never raises."""
