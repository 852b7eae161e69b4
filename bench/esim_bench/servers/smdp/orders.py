"""Download orders: which one an eUICC may have, and what becomes of it (SGP.22 3.1.3, 3.1.6, 5.6.3)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Final

from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip import ProfilePackage
from esim_bench.errors import ConfigError
from esim_bench.servers.smdp import status
from esim_bench.servers.smdp.status import StatusCode, StatusError
from esim_bench.servers.smdp.store import Download, Order, OrderState, SmdpStore, StoredPackage

DOWNLOADABLE: Final = (OrderState.RELEASED, OrderState.DOWNLOADED)
KEEPS_ORDER: Final = (1, 2)
"""CancelSession reasons after which the order waits for another try: postponed, timeout (SGP.22 3.0.2)."""
KEEPS_DOWNLOAD: Final = (10, 11)
"""Installation errors after which the same eUICC may try again: insufficientMemory, interruption."""
ENDED: Final = (OrderState.INSTALLED, OrderState.ENABLED, OrderState.DISABLED, OrderState.DELETED)
"""States of a profile that reached its eUICC."""
MATCHING_ID: Final = re.compile(r"[0-9A-Z-]{1,255}")


class Orders:
    """The orders in a store, and the rules of their states."""

    def __init__(self, store: SmdpStore) -> None:
        self._store = store

    # ----------------------------------------------------------------------------------------------------- release

    def release(
        self,
        upp: bytes,
        metadata: bytes,
        matching_id: str,
        *,
        eid: bytes | None = None,
        confirmation_code: str | None = None,
        test_order: bool = False,
        released: bool = True,
        expires_ns: int | None = None,
        max_downloads: int = 10,
        max_cc_failures: int = 3,
        rebinding: bool = True,
        random_keys: bool = False,
    ) -> Order:
        """Take an order (ES2+.DownloadOrder, ConfirmOrder, ReleaseProfile in one); see ``Smdp.release``.

        Raises CodecError, ConfigError; StatusError 8.1.1/2.2, as ConfirmOrder does, for neither MatchingID nor EID.
        """
        package = read_package(upp, metadata)
        if matching_id and not MATCHING_ID.fullmatch(matching_id):
            raise ConfigError(
                "not a MatchingID",
                expected="up to 255 of 0-9, A-Z and -",
                found=f"{len(matching_id)} characters",
                hint="SGP.22 4.1.1",
            )
        if eid is not None and len(eid) != 16:
            raise ConfigError("not an EID", expected="16 bytes", found=f"{len(eid)} bytes")
        if confirmation_code == "":
            raise ConfigError("an empty confirmation code", expected="digits, or none at all")
        if not matching_id and eid is None and not test_order:
            raise StatusError(status.EID_MISSING)
        wanted = Order(
            0,
            matching_id,
            package.digest,
            OrderState.RELEASED if released else OrderState.AVAILABLE,
            eid,
            hashlib.sha256(confirmation_code.encode()).digest() if confirmation_code is not None else None,
            test_order,
            expires_ns,
            max_downloads,
            max_cc_failures,
            rebinding,
            random_keys,
        )
        with self._store.transaction():
            self._store.add_package(package)
            former = self._former(wanted)
            return self._store.add_order(wanted) if former is None else self._again(former, wanted)

    def _former(self, wanted: Order) -> Order | None:
        if wanted.matching_id:
            return self._store.find_order(wanted.matching_id)
        same = (order for order in self._store.orders() if not order.matching_id and order.eid == wanted.eid)
        return next((order for order in same if order.package == wanted.package), None)

    def _again(self, former: Order, wanted: Order) -> Order:
        """Accept the same order a second time (a server that starts again on its file); its state stays."""
        if former.package != wanted.package:
            raise ConfigError(
                "this MatchingID is taken by another profile",
                where=f"order {former.id}",
                hint="choose another one",
            )
        state = wanted.state if former.state is OrderState.AVAILABLE else former.state
        # A bound order belongs to its eUICC, unless the new order names one.
        changed = replace(wanted, id=former.id, state=state, eid=wanted.eid or former.eid)
        self._store.update_order(changed)
        return changed

    def cancel(self, order: Order) -> Order:
        """Cancel an order that is not over (ES2+.CancelOrder, SGP.22 5.3.4): nobody gets it any more.

        Raises ConfigError for one whose profile is installed.
        """
        if order.state in ENDED:
            raise ConfigError("the order is over", expected="a pending order", found=order.state.value)
        cancelled = replace(order, state=OrderState.UNAVAILABLE)
        self._store.update_order(cancelled)
        return cancelled

    # -------------------------------------------------------------------------------------------------- for a client

    def is_foreign(self, matching_id: str, eid: bytes) -> bool:
        """Tell whether there is no order of a MatchingID that an eUICC could ever have: it is guessing."""
        order = self._store.find_order(matching_id)
        return order is None or order.eid not in (None, eid)

    def find(self, matching_id: str, eid: bytes) -> Order:
        """Return the pending order of a MatchingID, or of an EID where it is empty. Raises StatusError."""
        if matching_id:
            order = self._store.find_order(matching_id)
            if order is None or is_closed(order.state):
                raise StatusError(status.MATCHING_ID_REFUSED)
            return order
        pending = [order for order in self._store.default_orders(eid) if not is_closed(order.state)]
        if not pending:
            raise StatusError(status.EID_REFUSED, "no pending order for this EID")
        ready = [order for order in pending if order.state in DOWNLOADABLE]
        return (ready or pending)[0]

    def check(self, order: Order, eid: bytes, now_ns: int) -> Download:
        """Check that an eUICC may download an order now and return its download. Raises StatusError."""
        if order.eid is not None and order.eid != eid:
            raise StatusError(status.EID_REFUSED)
        if order.expires_ns is not None and now_ns >= order.expires_ns:
            raise StatusError(status.ORDER_EXPIRED)
        download = self._store.download(order.id, eid)
        attempts, failures = self._tries(order, download)
        if order.cc_hash is not None and failures >= order.max_cc_failures:
            raise StatusError(status.CC_RETRIES)
        if order.state is OrderState.ERROR:
            failed_often = attempts >= order.max_downloads
            raise StatusError(status.ORDER_RETRIES if failed_often else status.MATCHING_ID_REFUSED)
        if order.state not in DOWNLOADABLE:
            raise StatusError(status.NOT_RELEASED if not is_closed(order.state) else status.MATCHING_ID_REFUSED)
        return download

    def count_attempt(self, order: Order, download: Download) -> tuple[Download, StatusCode | None]:
        """Count a download attempt; the code when it is one too many, and the order is given up then."""
        if not order.test_order and self._tries(order, download)[0] >= order.max_downloads:
            self.set_state(order, download, OrderState.ERROR)
            return download, status.ORDER_RETRIES
        download = replace(download, attempts=download.attempts + 1)
        self._store.put_download(download)
        return download, None

    def count_cc_failure(self, order: Order, download: Download) -> StatusCode:
        """Count a wrong confirmation code; the order is given up after the last try. Returns the code to answer."""
        download = replace(download, cc_failures=download.cc_failures + 1)
        if self._tries(order, download)[1] < order.max_cc_failures:
            self._store.put_download(download)
            return status.CC_REFUSED
        self.set_state(order, download, OrderState.ERROR)
        return status.CC_RETRIES

    def _tries(self, order: Order, download: Download) -> tuple[int, int]:
        """Return downloads and wrong confirmation codes so far: of all eUICCs together, or many could share the
        guessing; of a test order each eUICC's own."""
        if order.test_order:
            return download.attempts, download.cc_failures
        others = [item for item in self._store.downloads(order_id=order.id) if item.eid != download.eid]
        attempts = download.attempts + sum(item.attempts for item in others)
        return attempts, download.cc_failures + sum(item.cc_failures for item in others)

    def bound(self, order: Order, download: Download, euicc_otpk: bytes, transaction_id: bytes) -> None:
        """Note that a bound package goes out: from now on an ordinary order belongs to this eUICC."""
        linked = order if order.test_order else replace(order, eid=download.eid)
        fresh = replace(download, euicc_otpk=euicc_otpk, transaction_id=transaction_id, last_seq=-1)
        self.set_state(linked, fresh, OrderState.DOWNLOADED)

    def cancelled(self, order: Order, download: Download, reason: int) -> None:
        """Note a CancelSession: postponed and timeout keep the order, everything else gives it up."""
        if reason not in KEEPS_ORDER:
            self.set_state(order, replace(download, euicc_otpk=None), OrderState.ERROR)

    def finished(self, order: Order, download: Download, transaction_id: bytes, seq: int, error: int | None) -> None:
        """Note a ProfileInstallationResult; ``error``: its errorReason, None for success.

        A failure that comes late, after a newer binding for the same eUICC, says nothing about that one; nor does one
        after a success: an eUICC that has the profile refuses it a second time.
        """
        if error is not None and (transaction_id != download.transaction_id or download.state in ENDED):
            return
        if error in KEEPS_DOWNLOAD:
            self._store.put_download(replace(download, euicc_otpk=None))
            return
        state = OrderState.INSTALLED if error is None else OrderState.ERROR
        self.set_state(order, replace(download, euicc_otpk=None, last_seq=seq), state)

    def set_state(self, order: Order, download: Download, state: OrderState) -> None:
        """Set a download's state, and with it that of an ordinary order; a test order stays released for everybody."""
        self._store.put_download(replace(download, state=state))
        if not order.test_order:
            self._store.update_order(replace(order, state=state))


def is_closed(state: OrderState) -> bool:
    """Tell whether an order is over, with the profile installed or by who gave it: nothing is pending any more."""
    return state in ENDED or state is OrderState.UNAVAILABLE


def read_package(upp: bytes, metadata: bytes) -> StoredPackage:
    """Check a package and its metadata against each other. Raises CodecError, ConfigError."""
    package = ProfilePackage.parse(upp)
    described = Metadata.parse(metadata)
    if package.iccid != described.iccid:
        raise ConfigError(
            "metadata and package are of different profiles",
            expected=f"ICCID {package.iccid.hex()}",
            found=described.iccid.hex(),
        )
    digest = hashlib.sha256(len(upp).to_bytes(4, "big") + upp + metadata).hexdigest()
    return StoredPackage(digest, upp, metadata, described.iccid)
