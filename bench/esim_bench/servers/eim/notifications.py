"""Notifications at the eIM: verified, kept, and taken unchanged to their notificationAddress (SGP.32 3.6)."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace

from esim_bench.codec import compact, tlv
from esim_bench.codec.es10_results import PendingNotification
from esim_bench.crypto.certificates import Certificate
from esim_bench.errors import BenchError, CodecError, CryptoError
from esim_bench.servers.eim.limits import Limits
from esim_bench.servers.eim.store import Device, EimStore, NotificationRecord
from esim_bench.servers.eim.trust import Trust, device_key, verify

log = logging.getLogger(__name__)


class Notifications:
    """Takes what eUICCs tell about their profiles. Calls are made inside a transaction of the store."""

    def __init__(self, store: EimStore, trust: Trust, limits: Limits, *, forwards: bool) -> None:
        self._store = store
        self._trust = trust
        self._limits = limits
        self._forwards = forwards

    def take(self, raw: bytes, device: Device | None, now_ns: int) -> tuple[Device, NotificationRecord] | None:
        """Verify a notification and keep it for delivery; also return its eUICC, with what was learnt of it.

        ``raw``: 30, A1 (which is kept as the 30 it stands for), or BF37. ``device``: whose it must be; None: as its
        certificates say. A repeated one is returned as it was kept. None: this eIM has no way to deliver it, or has too
        many to deliver; it is not to be acknowledged then. Raises CryptoError for one that does not verify or is of an
        eUICC that is not known, CodecError for a malformed one.
        """
        item = tlv.parse(raw, "notification")
        if item.tag == compact.OTHER_NOTIFICATION:
            item = tlv.parse(self._expanded(raw, device), "notification")
            # The identity that the compact form states is checked with the certificates that were put in.
            device = device or self._of_compact(raw)
        notification = PendingNotification.parse(item)
        if not 0 <= notification.seq < 1 << 63:
            raise CodecError("sequence number", expected="0 or more, at most 63 bits", found=notification.seq)
        signed, device = self._verified(item, device, now_ns)
        failed = notification.result is not None and not notification.result.success
        if notification.iccid is not None and not failed:
            view = device.view.notified(notification.operation, notification.iccid, notification.seq)
            if view != device.view:
                device = replace(device, view=view)
        self._store.put_device(device)
        digest = hashlib.sha256(device.eid + signed).hexdigest()
        record = NotificationRecord(
            0,
            digest,
            device.eid,
            notification.seq,
            notification.address,
            item.raw,
            notification.operation,
            notification.iccid,
            now_ns,
        )
        if self._forwards and self._store.add_notification(record, self._limits.notifications):
            return device, record
        known = self._store.find_notification(digest)
        if known is None:
            log.warning("EID %s: notification %d is not taken", device.eid.hex(), notification.seq)
            return None
        return device, known

    def installation(self, raw: bytes, device: Device) -> tuple[bool, str, Device]:
        """Verify a ProfileInstallationResult (BF37); return whether it is a success, the outcome, and the eUICC after.

        Raises CryptoError, CodecError.
        """
        item = tlv.parse(raw, "ProfileInstallationResult")
        self._verified(item, device, 0)
        notification = PendingNotification.parse(item)
        result = notification.result
        if result is None:
            raise CodecError("no ProfileInstallationResult", expected="BF37", found=f"{item.tag:X}")
        if not result.success:
            return False, f"{result.reason} in {result.command}", device
        view = device.view.notified("install", notification.iccid, notification.seq)
        return True, "ok", replace(device, view=view)

    def _of_compact(self, raw: bytes) -> Device | None:
        eid = compact.OtherNotification.parse(raw).eid
        return self._store.find_device(eid) if eid is not None else None

    def _expanded(self, raw: bytes, device: Device | None) -> bytes:
        device = device or self._of_compact(raw)
        if device is None or device.euicc_certificate is None or device.eum_certificate is None:
            raise CryptoError("a compact notification of an eUICC whose certificates are not known")
        return compact.OtherNotification.parse(raw).expanded(device.euicc_certificate, device.eum_certificate)

    def _verified(self, item: tlv.Tlv, device: Device | None, now_ns: int) -> tuple[bytes, Device]:
        """Return the signed part of a notification whose signature holds, and its eUICC."""
        members = item.children()
        if item.tag == 0xBF37:
            if device is None:
                raise CryptoError("nobody knows whose ProfileInstallationResult it is")
            if [member.tag for member in members[:2]] != [0xBF27, 0x5F37]:
                raise CodecError("malformed ProfileInstallationResult", expected="BF27, 5F37")
            verify(device_key(device), members[1], members[0].raw)
            return members[0].raw, device
        if [member.tag for member in members] != [0xBF2F, 0x5F37, 0x30, 0x30]:
            raise CodecError("malformed OtherSignedNotification", expected="BF2F, 5F37, 30, 30")
        data, signature, euicc, eum = members
        eid = device.eid if device is not None else Certificate.load(euicc.raw).eid
        found = device or (self._store.find_device(eid) if eid is not None else None)
        if found is None:
            raise CryptoError("a notification of an eUICC that is not known")
        verify(self._trust.chain_of(found.eid, euicc.raw, eum.raw, now_ns).public_key, signature, data.raw)
        if found.euicc_certificate is None:
            found = replace(found, euicc_certificate=euicc.raw, eum_certificate=eum.raw)
        return data.raw, found

    def tried(self, record: NotificationRecord, error: BenchError | None, now_ns: int) -> None:
        """Note an attempt."""
        attempts = record.attempts + 1
        if error is None:
            record = replace(record, delivered=True, attempts=attempts, error="")
        else:
            wait = self._limits.delivery_retry_ns << min(attempts - 1, 30)
            wait = min(wait, self._limits.delivery_retry_most_ns)
            record = replace(record, attempts=attempts, next_ns=now_ns + wait, error=str(error)[:200])
        self._store.put_notification(record)
