"""Notifications at the SM-DP+: received, verified, kept once, and what they say of a profile (SGP.22 3.5, 5.6.4)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.es10_results import EVENTS, INSTALL_ERRORS
from esim_bench.codec.tlv import Tlv
from esim_bench.crypto.certificates import Role
from esim_bench.errors import CodecError
from esim_bench.servers.smdp import status
from esim_bench.servers.smdp.credentials import SmdpCredentials
from esim_bench.servers.smdp.messages import SIGNATURE, Members, bit, expect, integer
from esim_bench.servers.smdp.orders import Orders, is_closed
from esim_bench.servers.smdp.status import StatusError
from esim_bench.servers.smdp.store import NotificationRecord, OrderState, SmdpStore, Transaction
from esim_bench.servers.smdp.verify import key_of, load_certificate, verify_chain, verify_signature

MAX_REFUSED: Final = 1000
"""Notifications that do not verify are kept up to this number per run, so that nobody can fill the store with them."""
MAX_REFUSED_BYTES: Final = 16 * 1024
"""Longer ones that do not verify are not kept."""
STATES: Final = {
    "enable": OrderState.ENABLED,
    "disable": OrderState.DISABLED,
    "delete": OrderState.DELETED,
}


@dataclass(frozen=True, slots=True)
class _Head:
    """NotificationMetadata, BF2F (SGP.22 5.7.9)."""

    seq: int
    operation: str
    iccid: bytes | None


class Notifications:
    """Takes what eUICCs tell about their profiles.

    There is no status code to answer with (HTTP 204 whatever it says): what does not verify is kept and marked, within
    limits, and changes nothing.
    """

    def __init__(
        self, credentials: SmdpCredentials, store: SmdpStore, orders: Orders, *, check_dates: bool = True
    ) -> None:
        self._credentials = credentials
        self._store = store
        self._orders = orders
        self._check_dates = check_dates
        self._refused = 0

    def take(self, raw: bytes, now_ns: int) -> tuple[NotificationRecord, Transaction | None]:
        """Verify and keep a PendingNotification; also return the transaction that a verified install result ends.

        A repeated one changes nothing. Raises CodecError for bytes that are no notification.
        """
        notification = tlv.parse(raw, "pendingNotification")
        if notification.tag == 0xBF37:
            return self._installation(notification, now_ns)
        expect(notification, 0x30, "pendingNotification")
        return self._other(notification, now_ns), None

    # ------------------------------------------------------------------------ ProfileInstallationResult, SGP.22 2.5.6

    def _installation(self, result: Tlv, now_ns: int) -> tuple[NotificationRecord, Transaction | None]:
        parts = Members(result)
        data, signature = parts.get(0xBF27), parts.get(SIGNATURE)
        members = Members(data)
        head = _head(Members(members.get(0xBF2F)))
        oid = members.get(0x06)
        error, outcome = _final_result(members.get(0xA2))
        transaction = self._store.find_transaction(members.get(0x80).value)
        try:
            if transaction is None:
                raise StatusError(status.UNKNOWN_TRANSACTION)
            # The certificate was verified when the package was bound: only its key matters now.
            verify_signature(key_of(transaction.euicc_certificate), signature, data.raw)
            if oid.raw != transaction.smdp_oid:
                raise StatusError(status.WRONG_OID)
            order = self._store.order(transaction.order_id)
            if head.iccid is not None and head.iccid != self._store.package(order.package).iccid:
                raise StatusError(status.EUICC_NOT_VERIFIED, "the result is about another ICCID")
        except StatusError as exc:
            return self._keep_refused(result.raw, head, now_ns, str(exc)), None
        with self._store.transaction():
            record, new = self._keep(result.raw, data.raw, head, transaction.eid, now_ns, outcome)
            download = self._store.download(order.id, transaction.eid)
            if new and head.seq > download.last_seq:
                self._orders.finished(order, download, transaction.transaction_id, head.seq, error)
        return record, transaction

    # -------------------------------------------------------------------------- OtherSignedNotification, SGP.22 5.7.10

    def _other(self, notification: Tlv, now_ns: int) -> NotificationRecord:
        members = notification.children()
        if [member.tag for member in members[:4]] != [0xBF2F, SIGNATURE, 0x30, 0x30]:
            found = " ".join(f"{member.tag:X}" for member in members) or "none"
            raise CodecError("wrong members", where="otherSignedNotification", expected="BF2F 5F37 30 30", found=found)
        data, signature, euicc_certificate, eum_certificate = members[:4]
        head = _head(Members(data))
        try:
            eum = load_certificate(eum_certificate.raw, Role.EUM)
            branch = self._credentials.find(eum.authority_key_id)
            if branch is None:
                raise StatusError(status.UNKNOWN_CI)
            date = now_ns if self._check_dates else None
            euicc = verify_chain(load_certificate(euicc_certificate.raw, Role.EUICC), eum, branch.ci, date)
            verify_signature(euicc.certificate.public_key, signature, data.raw)
        except StatusError as exc:
            return self._keep_refused(notification.raw, head, now_ns, str(exc))
        with self._store.transaction():
            record, new = self._keep(notification.raw, data.raw, head, euicc.eid, now_ns)
            if new and head.iccid is not None and head.operation in STATES:
                self._moved(euicc.eid, head.iccid, head.seq, STATES[head.operation])
        return record

    def _moved(self, eid: bytes, iccid: bytes, seq: int, state: OrderState) -> None:
        """Note a profile's new state at its last download, unless a later notification was here before."""
        installed = [item for item in self._store.downloads(eid=eid, iccid=iccid) if is_closed(item.state)]
        if installed:
            download = max(installed, key=lambda item: item.last_seq)
            if seq > download.last_seq:
                self._orders.set_state(self._store.order(download.order_id), replace(download, last_seq=seq), state)

    def _keep(
        self, raw: bytes, signed: bytes, head: _Head, eid: bytes, now_ns: int, detail: str = ""
    ) -> tuple[NotificationRecord, bool]:
        """Keep a verified notification; False when it was there before.

        What was signed, and by whom, makes it the same one: around it anybody can add members, and for each ECDSA
        signature there is a second one.
        """
        digest = hashlib.sha256(eid + signed).hexdigest()
        record = NotificationRecord(digest, raw, eid, head.seq, head.operation, head.iccid, True, detail, now_ns)
        return record, self._store.add_notification(record)

    def _keep_refused(self, raw: bytes, head: _Head, now_ns: int, why: str) -> NotificationRecord:
        # Over all bytes, so that a forged one never stands in the way of the true one.
        digest = hashlib.sha256(raw).hexdigest()
        record = NotificationRecord(digest, raw, None, head.seq, head.operation, head.iccid, False, why, now_ns)
        if len(raw) <= MAX_REFUSED_BYTES and self._refused < MAX_REFUSED and self._store.add_notification(record):
            self._refused += 1
        return record


def _head(metadata: Members) -> _Head:
    events = metadata.get(0x81)
    names = [name for number, name in enumerate(EVENTS) if bit(events.value[1:], number)]
    if len(names) != 1:
        raise CodecError("wrong notification event", expected="one event bit", found=events.value[:4].hex() or "none")
    iccid = metadata.find(0x5A)
    return _Head(integer(metadata.get(0x80), "seqNumber"), names[0], iccid.value if iccid else None)


def _final_result(final: Tlv) -> tuple[int | None, str]:
    """Return the error reason (None for success) and the result as text."""
    if final.find(0xA0) is not None:
        return None, "success"
    error = final.get(0xA1)
    command, reason = integer(error.get(0x80), "bppCommandId"), integer(error.get(0x81), "errorReason")
    return reason, f"{INSTALL_ERRORS.get(reason, f'error {reason}')} in command {command}"
