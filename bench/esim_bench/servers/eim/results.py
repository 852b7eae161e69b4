"""What comes back from an eUICC: verified, kept, applied once, acknowledged (SGP.32 5.14.6).

Who answers for an order is told by counterValue and eimTransactionId inside what the eUICC signed. What is not signed
(an unsigned error, an error of the IPA, a failed download) closes an order as well, since nothing else will come of it;
a verified result that comes nevertheless replaces it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, TypeVar

from esim_bench.codec import euicc_package, ipa_data
from esim_bench.codec.download_trigger import ProfileDownloadTriggerResult
from esim_bench.codec.esipa_objects import EimPackageResult, PackageResult, PackageResultError
from esim_bench.codec.euicc_operations import DeleteEim, UpdateEim
from esim_bench.codec.euicc_package import SignedError, SignedResult, UnsignedError
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import BenchError, CodecError, CryptoError, RigError
from esim_bench.servers.eim.credentials import EimCredentials
from esim_bench.servers.eim.errors import EID_NOT_FOUND, UNDEFINED, RefusedError
from esim_bench.servers.eim.limits import Limits
from esim_bench.servers.eim.notifications import Notifications
from esim_bench.servers.eim.orders import DATA, DOWNLOAD, PACKAGE
from esim_bench.servers.eim.store import Device, EimOrder, EimStore, OrderState, Purpose, ResultRecord
from esim_bench.servers.eim.trust import Trust, device_key, verify

log = logging.getLogger(__name__)

T = TypeVar("T")
REPLAY_ERROR: Final = 4
OK: Final = "ok"


class Results:
    """The incoming side. Calls are made inside a transaction of the store."""

    def __init__(
        self,
        credentials: EimCredentials,
        store: EimStore,
        trust: Trust,
        notifications: Notifications,
        limits: Limits,
    ) -> None:
        self._credentials = credentials
        self._store = store
        self._trust = trust
        self._notifications = notifications
        self._limits = limits

    def take(
        self, device: Device, raw: bytes, result: EimPackageResult, now_ns: int, relayed: bytes | None = None
    ) -> list[int]:
        """Take a result and return the sequence numbers to acknowledge; () where there are none.

        ``raw``: the result as it came, ``result``: the same, read. ``relayed``: the ProfileInstallationResult in it,
        where it is of a download that passed through this eIM and is to be delivered by it. A repeated result is
        acknowledged again and changes nothing. Raises RefusedError for one that does not verify, or is of no order;
        CodecError.
        """
        match result:
            case PackageResult():
                seqs = self._package(device.eid, result.result, now_ns)
                return seqs + self._notified(device.eid, result.notifications or (), now_ns)
            case ipa_data.IpaEuiccData():
                return self._data(device, raw, result, now_ns)
            case ipa_data.IpaEuiccDataError():
                order = self._outstanding(device.eid, DATA, result.transaction_id)
                self._close(order, OrderState.FAILED, result.name, raw, now_ns)
                return []
            case ProfileDownloadTriggerResult():
                return self._downloaded(device, raw, result, now_ns, relayed)
            case PackageResultError():
                order = self._outstanding(device.eid, None, result.transaction_id)
                self._close(order, OrderState.FAILED, f"IPA: {result.name}", raw, now_ns)
                return []

    def _device(self, eid: bytes) -> Device:
        """Return an eUICC as it is now: each step may have changed it."""
        device = self._store.find_device(eid)
        if device is None:
            raise RefusedError(EID_NOT_FOUND, f"EID {eid.hex()} is not known")
        return device

    # --------------------------------------------------------------------------------------------- EuiccPackageResult

    def _package(self, eid: bytes, raw: bytes, now_ns: int) -> list[int]:
        device = self._device(eid)
        result = euicc_package.parse_result(raw)
        if result.eim_id != self._credentials.eim_id:
            raise RefusedError(UNDEFINED, f"a result for another eIM, {result.eim_id!r}")
        if isinstance(result, UnsignedError):
            return self._unsigned(device, result, now_ns)
        try:
            data = euicc_package.to_be_signed(result.signed_raw, device.token)
            verify(device_key(device), result.signature, data)
        except CryptoError as exc:
            raise BadSignatureError(UNDEFINED, str(exc)) from exc
        if isinstance(result, SignedError):
            return self._refused(device, result, now_ns)
        return self._executed(device, result, now_ns)

    def _executed(self, device: Device, result: SignedResult, now_ns: int) -> list[int]:
        digest = hashlib.sha256(result.signed_raw).hexdigest()
        if result.seq <= device.last_seq or result.seq >> 63:
            if self._store.find_result(device.eid, digest) is not None:
                return [result.seq]
            found = f"sequence number {result.seq}, expected more than {device.last_seq}"
            raise RefusedError(UNDEFINED, f"an older result: {found}")
        order = self._store.order_of_counter(device.eid, result.counter)
        if order is not None and order.transaction_id != result.transaction_id:
            order = None
        rollback = next((one for one in result.results if one.function == "rollback"), None)
        if order is not None and order.verified and rollback is None:
            raise RefusedError(UNDEFINED, f"a second result of order {order.id}")
        record = ResultRecord(device.eid, result.seq, digest, result.raw, order.id if order else None, now_ns)
        self._store.add_result(record)
        counter = device.counter
        if result.counter >= counter and result.counter < 1 << 62:
            # The eUICC knows of packages that this store does not (it was restored from a copy, say).
            counter = result.counter + 1
        if order is None:
            self._store.put_device(replace(device, last_seq=result.seq, counter=counter))
            log.warning("EID %s: a result of no known order, counter %d", device.eid.hex(), result.counter)
            return [result.seq]
        outcome = _outcome(result.results, len(order.operations))
        if rollback is not None:
            outcome = f"rollback: {rollback.name}"
        state = OrderState.DONE if outcome == OK else OrderState.FAILED
        view = device.view.after(order.id, order.operations, result.results, result.seq)
        device = replace(device, last_seq=result.seq, counter=counter, view=view)
        self._store.put_device(self._effects(device, order, result))
        self._close(order, state, outcome, result.raw, now_ns, verified=True)
        return [result.seq]

    def _effects(self, device: Device, order: EimOrder, result: SignedResult) -> Device:
        """Apply what a result says of this eIM's own association."""
        if order.purpose is Purpose.PROBE:
            # The signature of that package was accepted: no doubt about the key any more.
            device = replace(device, doubt=None)
            self._rotated(device)
        for operation, one in zip(order.operations, result.results, strict=False):
            if isinstance(operation, UpdateEim) and operation.configuration.eim_id == self._credentials.eim_id:
                if one.done:
                    key = device.key if order.new_key is None else order.new_key
                    counter = max(device.counter, (operation.configuration.counter or 0) + 1)
                    device = replace(device, key=key, counter=counter)
                    if operation.configuration.ci_pk_id is not None:
                        # It signs under that CI from now on: another chain, which is asked for.
                        signing = operation.configuration.ci_pk_id
                        device = replace(device, ci_pk_id=signing, euicc_certificate=None, eum_certificate=None)
                device = replace(device, doubt=None)
            elif isinstance(operation, DeleteEim) and operation.eim_id == self._credentials.eim_id and one.done:
                device = replace(device, associated=False)
        return device

    def _rotated(self, device: Device) -> None:
        """Close the rotation whose result was lost, and whose key the eUICC turned out to have."""
        rotations = [order for order in self._store.orders(device.eid) if order.new_key is not None]
        if rotations and rotations[-1].new_key == device.key and not rotations[-1].verified:
            done = replace(rotations[-1], state=OrderState.DONE, outcome="ok: the eUICC has the key", verified=True)
            self._store.put_order(done)

    def _refused(self, device: Device, error: SignedError, now_ns: int) -> list[int]:
        order = self._store.order_of_counter(device.eid, error.counter)
        if order is None or order.transaction_id != error.transaction_id:
            raise RefusedError(UNDEFINED, f"an error of no known order: {error.name}")
        if order.verified:
            # It came before: a repeated error has no effect, and no sequence number to acknowledge.
            return []
        if order.purpose is Purpose.PROBE:
            # All signed errors come after the check of the package's signature.
            device = replace(device, doubt=None)
            self._store.put_device(device)
            self._rotated(device)
        if error.code == REPLAY_ERROR and order.state is OrderState.SENT and not order.replayed:
            log.info("EID %s: order %d: replayError; looking for its result", device.eid.hex(), order.id)
            self._store.put_order(replace(order, replayed=True))
            return []
        if error.code == REPLAY_ERROR:
            return []
        self._close(order, OrderState.FAILED, error.name, error.raw, now_ns, verified=True)
        return []

    def _unsigned(self, device: Device, error: UnsignedError, now_ns: int) -> list[int]:
        order = self._outstanding(device.eid, PACKAGE, error.transaction_id)
        log.warning("EID %s: order %d: the eUICC did not accept the package", device.eid.hex(), order.id)
        outcome = error.name
        if error.association_token != device.token:
            outcome += ", and the eUICC has another associationToken"
        self._close(order, OrderState.FAILED, outcome, error.raw, now_ns)
        return []

    # ------------------------------------------------------------------------------------------------- IpaEuiccData

    def _data(self, device: Device, raw: bytes, data: ipa_data.IpaEuiccData, now_ns: int) -> list[int]:
        order: EimOrder | None = None
        if data.transaction_id is not None or self._store.orders(device.eid, OrderState.SENT):
            order = self._outstanding(device.eid, DATA, data.transaction_id)
        outcome = self._learnt(device, data, now_ns)
        seqs: list[int] = []
        for result in data.package_results or ():
            try:
                seqs += self._package(device.eid, result, now_ns)
            except (RefusedError, CodecError) as exc:
                # Others may be good; this one stays with the eUICC.
                log.warning("EID %s: a stored result: %s", device.eid.hex(), exc)
        seqs += self._notified(device.eid, data.notifications or (), now_ns)
        if order is None:
            # v1.0, whose answers name no request: its order is closed, and the acknowledgement was lost.
            return seqs
        if order.purpose is Purpose.CERTIFICATES and outcome == OK and data.euicc_certificate is None:
            outcome = "no certificates"
        state = OrderState.DONE if outcome == OK else OrderState.FAILED
        self._close(order, state, outcome, raw, now_ns)
        return seqs

    def _learnt(self, device: Device, data: ipa_data.IpaEuiccData, now_ns: int) -> str:
        """Take over what the data tell; return OK, or what is wrong with the certificates in them."""
        outcome = OK
        euicc, eum = data.euicc_certificate, data.eum_certificate
        if euicc is not None and eum is not None:
            try:
                self._trust.chain_of(device.eid, euicc, eum, now_ns)
                device = replace(device, euicc_certificate=euicc, eum_certificate=eum)
            except (CryptoError, CodecError) as exc:
                log.warning("EID %s: certificates: %s", device.eid.hex(), exc)
                outcome = f"certificates: {exc}"[:200]
        old = device.view
        view = replace(
            old,
            default_smdp_address=_newer(data.default_smdp_address, old.default_smdp_address),
            root_smds_address=_newer(data.root_smds_address, old.root_smds_address),
            euicc_info1=_newer(data.euicc_info1, old.euicc_info1),
            euicc_info2=_newer(data.euicc_info2, old.euicc_info2),
            device_info=_newer(data.device_info, old.device_info),
            features=data.capabilities.features if data.capabilities else old.features,
        )
        self._store.put_device(replace(device, view=view))
        return outcome

    def _notified(self, eid: bytes, notifications: Iterable[bytes], now_ns: int) -> list[int]:
        seqs = []
        for raw in notifications:
            try:
                taken = self._notifications.take(raw, self._device(eid), now_ns)
            except (CodecError, CryptoError) as exc:
                log.warning("EID %s: a notification: %s", eid.hex(), exc)
                continue
            if taken is not None:
                seqs.append(taken[1].seq)
        return seqs

    # ---------------------------------------------------------------------------------------------------- download

    def _downloaded(
        self, device: Device, raw: bytes, result: ProfileDownloadTriggerResult, now_ns: int, relayed: bytes | None
    ) -> list[int]:
        order = self._outstanding(device.eid, DOWNLOAD, result.transaction_id)
        if result.install_result is None:
            self._close(order, OrderState.FAILED, result.error_name, raw, now_ns)
            return []
        installed = relayed or result.install_result
        try:
            success, outcome, device = self._notifications.installation(installed, device)
        except CryptoError as exc:
            raise BadSignatureError(UNDEFINED, str(exc)) from exc
        self._store.put_device(device)
        seqs = self._notified(device.eid, (relayed,), now_ns) if relayed is not None else []
        if not order.verified:
            self._close(order, OrderState.DONE if success else OrderState.FAILED, outcome, raw, now_ns, verified=True)
        return seqs

    def relayed(self, device: Device, installed: bytes, version: Version, now_ns: int) -> bool:
        """Take a ProfileInstallationResult (BF37) of a relayed download that came as a notification.

        It is kept for its server, and ends the download that is out: an IPA need not send another result. False: it
        cannot be kept now. Raises CryptoError, CodecError.
        """
        success, outcome, device = self._notifications.installation(installed, device)
        if self._notifications.take(installed, device, now_ns) is None:
            return False
        sent = self._store.orders(device.eid, OrderState.SENT)
        order = next((order for order in sent if order.kind == DOWNLOAD), None)
        if order is not None:
            raw = ProfileDownloadTriggerResult(order.transaction_id, installed).encode(version)
            self._close(order, OrderState.DONE if success else OrderState.FAILED, outcome, raw, now_ns, verified=True)
        return True

    # ------------------------------------------------------------------------------------------------------- orders

    def _outstanding(self, eid: bytes, kind: str | None, transaction: bytes | None) -> EimOrder:
        """Return the order that an answer without counterValue is for. Raises RefusedError."""
        if transaction is not None:
            order = self._store.order_of_transaction(transaction)
            found = [order] if order is not None and order.eid == eid else []
        else:
            # The eIM's own request is what went out last.
            found = self._store.orders(eid, OrderState.SENT)[::-1]
        for order in found:
            if kind is None or order.kind == kind:
                return order
        raise RefusedError(UNDEFINED, f"an answer to nothing that was sent, {kind or 'of any kind'}")

    def _close(
        self, order: EimOrder, state: OrderState, outcome: str, raw: bytes, now_ns: int, *, verified: bool = False
    ) -> None:
        if not verified and (order.verified or not order.state.open):
            # A repeated answer, or a late one of less weight: it is as it is.
            return
        log.info("EID %s: order %d %s: %s", order.eid.hex(), order.id, state.value, outcome)
        self._store.put_order(
            replace(order, state=state, outcome=outcome, raw=raw, closed_ns=now_ns, verified=verified, replayed=False)
        )
        if order.purpose is not Purpose.ORDERED and state is OrderState.FAILED:
            self._wait(order, now_ns)
        if order.purpose is Purpose.RECOVER and order.parent is not None:
            self._recovered(order.parent, now_ns)
        if order.new_key is not None and not verified:
            self.doubt(order)

    def _wait(self, order: EimOrder, now_ns: int) -> None:
        device = self._device(order.eid)
        device = replace(device, retry_ns=now_ns + self._limits.retry_ns)
        if order.purpose is Purpose.PROBE and device.doubt is not None:
            # Not this key: the other one is tried next, at once the first time.
            swapped = replace(device, key=device.doubt, doubt=device.key)
            probes = [one for one in self._store.orders(order.eid) if one.purpose is Purpose.PROBE]
            device = replace(swapped, retry_ns=now_ns) if len(probes) % 2 else swapped
        self._store.put_device(device)

    def unanswered(self, order: EimOrder, now_ns: int) -> None:
        """Close an order that went out too often; after one of the eIM's own, none of these for a while."""
        self._close(order, OrderState.FAILED, f"not answered {order.sends} times", b"", now_ns)

    def _recovered(self, order_id: int, now_ns: int) -> None:
        """End the search for a result: what did not come by now never will."""
        parent = self._store.find_order(order_id)
        if parent is None:
            raise RigError("the eIM's store lost an order", expected=f"order {order_id}")
        if parent.state is OrderState.SENT:
            self.lost(parent, "replayError, and no stored result", now_ns)

    def lost(self, order: EimOrder, outcome: str, now_ns: int) -> None:
        """Give an order up: executed or not, nobody can tell."""
        log.warning("EID %s: order %d lost: %s", order.eid.hex(), order.id, outcome)
        self._store.put_order(replace(order, state=OrderState.LOST, outcome=outcome, closed_ns=now_ns, replayed=False))
        if order.new_key is not None:
            self.doubt(order)

    def doubt(self, order: EimOrder) -> None:
        """Note that nobody knows whether the eUICC has the new key of an order."""
        device = self._device(order.eid)
        if order.new_key is not None and order.new_key != device.key:
            self._store.put_device(replace(device, doubt=order.new_key))


def _newer(told: T | None, known: T | None) -> T | None:
    return known if told is None else told


class BadSignatureError(RefusedError):
    """A result whose signature does not hold: counted against its sender."""


def _outcome(results: tuple[OperationResult, ...], operations: int) -> str:
    failed = next((one for one in results if not one.done), None)
    if failed is not None:
        return f"{failed.function}: {failed.name}"
    if len(results) < operations:
        return f"{len(results)} of {operations} results"
    return OK


def text_of(error: BenchError) -> str:
    """Return an error as a line of the log: what came from outside cannot steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(error)[:300])
