"""The functions of ESipa that an eIM answers itself: fields in, fields out, as ``codec.esipa`` has them. No HTTP.

getEimPackage hands out what is next, provideEimPackageResult takes what came of it, handleNotification takes
notifications. Each is one transaction of the store: an answer leaves only after all that it says is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from esim_bench.codec import tlv
from esim_bench.codec.download_trigger import ProfileDownloadTriggerResult
from esim_bench.codec.esipa import Value
from esim_bench.codec.esipa_objects import (
    STATE_CHANGE_CAUSES,
    EimPackageResult,
    PackageResult,
    acknowledgements,
    parse_package_result,
)
from esim_bench.codec.euicc_package import UnsignedError, parse_result
from esim_bench.codec.ipa_data import IpaEuiccData
from esim_bench.codec.sgp32 import EID_LENGTH, Version
from esim_bench.crypto.certificates import Certificate
from esim_bench.errors import CodecError, CryptoError
from esim_bench.servers.eim.errors import (
    EID_NOT_FOUND,
    INVALID_EID,
    MISSING_EID,
    NO_PACKAGE,
    UNDEFINED,
    RefusedError,
    UnavailableError,
)
from esim_bench.servers.eim.limits import Limits
from esim_bench.servers.eim.notifications import Notifications
from esim_bench.servers.eim.packages import FIELDS, Packages
from esim_bench.servers.eim.results import BadSignatureError, Results, text_of
from esim_bench.servers.eim.store import Device, EimStore
from esim_bench.servers.smdp.limits import Throttle

log = logging.getLogger(__name__)

Fields = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as the connection tells."""

    host: str = ""
    eid: bytes | None = None
    """The eUICC that this connection asked for before."""


NOBODY = Caller()


class Functions:
    """The functions of one eIM. One caller at a time."""

    def __init__(
        self,
        store: EimStore,
        packages: Packages,
        results: Results,
        notifications: Notifications,
        version: Version,
        limits: Limits,
        now_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._packages = packages
        self._results = results
        self._notifications = notifications
        self._version = version
        self._now_ns = now_ns
        self._bad = Throttle(limits.bad_signatures, limits.window_ns)

    # ----------------------------------------------------------------------------------- GetEimPackage, SGP.32 5.14.5

    def get_package(self, fields: Mapping[str, Value]) -> Fields:
        """Answer getEimPackage: one of FIELDS, or ``eimPackageError``."""
        try:
            with self._store.transaction():
                return self._next(fields)
        except RefusedError as exc:
            if exc.code != NO_PACKAGE:
                log.warning("getEimPackage: %s", text_of(exc))
            known = exc.code == NO_PACKAGE or self._version >= Version.V1_2
            return {"eimPackageError": exc.code if known else UNDEFINED}

    def _next(self, fields: Mapping[str, Value]) -> Fields:
        device = self._device(fields)
        now = self._now_ns()
        view = device.view
        if "rPLMN" in fields:
            view = replace(view, network=_octets(fields, "rPLMN"))
        if fields.get("notifyStateChange") or "stateChangeCause" in fields:
            cause = fields.get("stateChangeCause", 127)
            known = cause if isinstance(cause, int) and cause in STATE_CHANGE_CAUSES else 127
            # What is known of the profiles holds no longer, until they are listed again.
            view = replace(view, state_changed=True, complete=False, state_change_cause=known)
        device = replace(device, view=view, seen_ns=now)
        self._store.put_device(device)
        order = self._packages.next(device, now)
        if order is None:
            return {"eimPackageError": NO_PACKAGE}
        log.info("EID %s: order %d goes out, time %d", device.eid.hex(), order.id, order.sends)
        return {FIELDS[order.kind]: order.request}

    def _device(self, fields: Mapping[str, Value]) -> Device:
        if "eidValue" not in fields:
            raise RefusedError(MISSING_EID, "no EID in the request")
        eid = _octets(fields, "eidValue")
        # An EID is 32 decimal digits; check digits are those of whoever made it.
        if len(eid) != EID_LENGTH or not eid.hex().isdecimal():
            raise RefusedError(INVALID_EID, f"no EID: {eid[:EID_LENGTH].hex()}")
        device = self._store.find_device(eid)
        if device is None:
            raise RefusedError(EID_NOT_FOUND, f"EID {eid.hex()} is not known")
        return device

    # ------------------------------------------------------------------------- ProvideEimPackageResult, SGP.32 5.14.6

    def installation(self, fields: Mapping[str, Value]) -> bytes | None:
        """Return the ProfileInstallationResult in a result: the relay may know its session. Raises CodecError."""
        answer = parse_package_result(_octets(fields, "eimPackageResult"), self._version)
        return answer.install_result if isinstance(answer, ProfileDownloadTriggerResult) else None

    def provide_result(
        self, fields: Mapping[str, Value], caller: Caller = NOBODY, relayed: bytes | None = None
    ) -> Fields:
        """Answer provideEimPackageResult: ``eimAcknowledgements``, nothing, or ``provideEimPackageResultError``.

        ``relayed``: the ProfileInstallationResult in it where the relay knows its session. Raises CodecError.
        """
        raw = _octets(fields, "eimPackageResult")
        result = parse_package_result(raw, self._version)
        now = self._now_ns()
        key = b""
        try:
            with self._store.transaction():
                device = self._answering(fields, result, caller)
                key = device.eid + caller.host.encode()
                if self._bad.exceeded(key, now):
                    raise RefusedError(UNDEFINED, f"EID {device.eid.hex()}: too many bad signatures; wait")
                self._store.put_device(replace(device, seen_ns=now))
                seqs = self._results.take(device, raw, result, now, relayed)
        except RefusedError as exc:
            if isinstance(exc, BadSignatureError):
                self._bad.count(key, now)
            log.warning("provideEimPackageResult: %s", text_of(exc))
            # v1.0 has no error there: what is not acknowledged was not taken.
            return {"provideEimPackageResultError": exc.code} if self._version >= Version.V1_2 else {}
        # One number may stand for a result and for its notification only once in the list.
        return {"eimAcknowledgements": acknowledgements(tuple(dict.fromkeys(seqs)))} if seqs else {}

    def _answering(self, fields: Mapping[str, Value], result: EimPackageResult, caller: Caller) -> Device:
        """Return whose result it is: by its EID, by what it answers, by its certificate, by the connection."""
        if "eidValue" in fields:
            return self._device(fields)
        transaction = _transaction(result)
        order = self._store.order_of_transaction(transaction) if transaction is not None else None
        eid = order.eid if order is not None else None
        if eid is None and isinstance(result, IpaEuiccData) and result.euicc_certificate is not None:
            try:
                eid = Certificate.load(result.euicc_certificate).eid
            except (CodecError, CryptoError):
                eid = None
        eid = eid or caller.eid
        if eid is None:
            raise RefusedError(MISSING_EID, "no EID in the request, and nothing else tells it")
        return self._device({"eidValue": eid})

    # ------------------------------------------------------------------------------ HandleNotification, SGP.32 5.14.7

    def take_notification(self, raw: bytes, eid: bytes | None) -> None:
        """Take a pending notification; ``eid``: whose it is, where the relay knows its session.

        What does not verify is logged, since there is no answer. Raises CodecError, UnavailableError.
        """
        try:
            with self._store.transaction():
                device = self._store.find_device(eid) if eid is not None else None
                if device is not None and is_installation(raw):
                    taken = self._results.relayed(device, raw, self._version, self._now_ns())
                else:
                    taken = self._notifications.take(raw, device, self._now_ns()) is not None
                if not taken:
                    raise UnavailableError("this notification cannot be taken now", hint="send it again later")
        except CryptoError as exc:
            log.warning("handleNotification: %s", text_of(exc))


def is_installation(raw: bytes) -> bool:
    """Tell whether a notification is a ProfileInstallationResult, compact or not. Raises CodecError."""
    return tlv.parse(raw, "notification").tag in (0xBF37, 0xA0)


def _octets(fields: Mapping[str, Value], name: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, bytes):
        raise CodecError(f"field {name}", expected="octets", found=type(value).__name__)
    return value


def _transaction(result: EimPackageResult) -> bytes | None:
    if not isinstance(result, PackageResult):
        return result.transaction_id
    answer = parse_result(result.result)
    # An unsigned error may name whatever it likes: it is nobody's before it says whose.
    return None if isinstance(answer, UnsignedError) and answer.transaction_id is None else answer.transaction_id
