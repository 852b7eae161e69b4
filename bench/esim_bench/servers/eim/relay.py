"""Indirect profile download (SGP.32 3.2.3.2): ESipa on one side, ES9+ as a client of any SM-DP+ on the other.

Each session belongs to a download order: nobody can have the eIM speak to an address that it was not told of. What an
eUICC or a server signed passes unchanged; compact forms become what the eUICC signed before an SM-DP+ sees them.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from esim_bench import clock
from esim_bench.codec import bpp, compact, es10, tlv
from esim_bench.codec.activation_code import ActivationCode, check_address
from esim_bench.codec.es10_results import PendingNotification
from esim_bench.codec.esipa import UNDEFINED, EsipaError, Fields, Value, error_number
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.schema import RSP
from esim_bench.crypto.certificates import Certificate
from esim_bench.errors import BenchError, CodecError, CryptoError, RspError
from esim_bench.es9_client import Es9Client
from esim_bench.ports import Bearer
from esim_bench.servers.eim.orders import DownloadOrder
from esim_bench.servers.eim.store import Device, EimOrder

log = logging.getLogger(__name__)

SECOND_NS: Final = 1_000_000_000
INVALID_ADDRESS: Final = 1
ADDRESS_MISMATCH: Final = 50
OID_MISMATCH: Final = 51
INVALID_EIM_TRANSACTION: Final = 52
EUICC_CERTIFICATE_INVALID: Final = 3
EID_MISMATCH: Final = 7
METADATA_MISMATCH: Final = 50
_UNKNOWN_TRANSACTION: Final = {"authenticateClient": 10, "getBoundProfilePackage": 95, "cancelSession": 1}
_MAC_LENGTH: Final = 8


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """How much an eIM keeps of downloads that pass through it."""

    sessions: int = 1024
    """At once; of more, the one that was quiet for longest goes, first of those without a package."""
    lifetime_ns: int = 600 * SECOND_NS
    """Between two steps of a session."""
    result_ns: int = 3600 * SECOND_NS
    """From the package to the installation's result: an eUICC on a slow link takes its time."""


@dataclass(slots=True)
class _Session:
    """A download under way; ``address`` is where the eIM speaks to, ``server_address`` what the server calls itself."""

    device: Device
    """What the eIM knows of the eUICC and its IPA."""
    address: str
    transaction_id: bytes
    server_address: str
    server_challenge: bytes
    smdp_oid: str
    ctx_params1: bytes | None
    touched_ns: int
    metadata: bytes | None = None
    iccid: bytes | None = None
    bpp_euicc_otpk: bytes | None = None
    bound: bool = False

    @property
    def eid(self) -> bytes:
        """Return the EID, 16 bytes."""
        return self.device.eid


class Relay:
    """Answers the five functions of an indirect download by calling the SM-DP+'s.

    ``bearer``: the way to SM-DP+s. ``binding``: how ES9+ is spoken. ``device``: what is known of an eUICC by its EID
    (16 bytes), such as a store's ``find_device``. ``now_ns``: by which sessions age.
    """

    def __init__(
        self,
        bearer: Bearer,
        binding: Literal["json", "asn1"] = "json",
        *,
        device: Callable[[bytes], Device | None] | None = None,
        now_ns: Callable[[], int] = clock.wall_ns,
        limits: RelayLimits = RelayLimits(),
    ) -> None:
        self._es9 = Es9Client(bearer, binding)
        self._device = device
        self._now_ns = now_ns
        self._limits = limits
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def __len__(self) -> int:
        """Return how many sessions are kept."""
        return len(self._sessions)

    async def handle(
        self, function: str, fields: Mapping[str, Value], *, eid: bytes | None, session: EimOrder | None
    ) -> Mapping[str, Value]:
        """Execute an ESipa function, see :class:`esim_bench.servers.eim.relaying.Relay`.

        Raises EsipaError (the SM-DP+'s refusal as the number that ESipa has for it, its status code kept for JSON),
        CodecError, and for handleNotification nothing.
        """
        try:
            match function:
                case "initiateAuthentication":
                    return await self._initiate(fields, eid, session)
                case "authenticateClient":
                    return await self._authenticate(fields)
                case "getBoundProfilePackage":
                    return await self._package(fields)
                case "cancelSession":
                    return await self._cancel(fields)
                case "handleNotification":
                    return self._installed(_octets(fields, "pendingNotification"))
        except (EsipaError, CodecError):
            raise
        except RspError as exc:
            log.info("%s: the SM-DP+ refused: %s", function, exc)
            raise _translated(function, exc) from exc
        except BenchError as exc:
            log.warning("%s: no answer of the SM-DP+: %s", function, exc)
            raise EsipaError(function, UNDEFINED, "no answer of the SM-DP+") from exc
        raise CodecError("not a function of a download", where="relay", found=function)

    # -------------------------------------------------------------------------------------------- the five functions

    async def _initiate(self, fields: Fields, eid: bytes | None, order: EimOrder | None) -> dict[str, Value]:
        function = "initiateAuthentication"
        if order is None:
            number = INVALID_EIM_TRANSACTION if "eimTransactionId" in fields else INVALID_ADDRESS
            raise EsipaError(function, number, "no download was ordered for this eUICC")
        wanted = DownloadOrder.parse(order.body)
        code = ActivationCode.parse(wanted.activation_code) if wanted.activation_code is not None else None
        address = _address(code, fields.get("smdpAddress"))
        owner = eid or order.eid
        device = (self._device(owner) if self._device is not None else None) or Device(owner)
        info1 = fields.get("euiccInfo1", device.view.euicc_info1)
        if info1 is None:
            raise EsipaError(function, UNDEFINED, "euiccInfo1 is missing and not known here")
        challenge = _octets(fields, "euiccChallenge")
        request: dict[str, bytes | str] = {
            "euiccChallenge": challenge,
            "euiccInfo1": _bytes(info1),
            "smdpAddress": address,
        }
        answer = await self._es9.call(address, function, request)

        transaction = _octets(answer, "transactionId")
        with _of_the_server(function):
            signed = RSP.decode("ServerSigned1", _octets(answer, "serverSigned1"))
            oid = Certificate.load(_octets(answer, "serverCertificate")).oid
        if signed["transactionId"] != transaction or signed["euiccChallenge"] != challenge:
            raise EsipaError(function, UNDEFINED, "the SM-DP+ signed another session")
        if signed["serverAddress"].lower() != address.lower():
            raise EsipaError(function, ADDRESS_MISMATCH, "smdpAddressMismatch")
        if oid is None or (code is not None and code.smdp_oid not in (None, oid)):
            raise EsipaError(function, OID_MISMATCH, "smdpOidMismatch")
        context = self._context(code, wanted, device)
        self._open(
            _Session(
                device,
                address,
                transaction,
                signed["serverAddress"],
                signed["serverChallenge"],
                oid,
                context if isinstance(context, bytes) else None,
                self._now_ns(),
            ),
            function,
        )
        log.info("%s: session %s of EID %s with %s", function, transaction.hex().upper(), owner.hex(), address)
        result: dict[str, Value] = dict(answer)
        if _has(device, "minimizeEsipaBytes"):
            # serverSigned1 has it as well.
            del result["transactionId"]
        if context is not None:
            result["ctxParams1" if isinstance(context, bytes) else "matchingId"] = context
        return result

    def _context(self, code: ActivationCode | None, order: DownloadOrder, device: Device) -> bytes | str | None:
        """Return ctxParams1 (A0), or the MatchingID alone (text), as far as the IPA leaves them to the eIM."""
        matching_id = code.matching_id if code is not None else ""
        if device.view.device_info is not None and _has(device, "eimCtxParams1Generation"):
            return es10.ctx_params1(matching_id or None, device.view.device_info)
        if matching_id and (order.held or _has(device, "eimDownloadDataHandling")):
            return matching_id
        return None

    async def _authenticate(self, fields: Fields) -> dict[str, Value]:
        function = "authenticateClient"
        session = self._session(function, fields)
        response = _octets(fields, "authenticateServerResponse")
        if compact.is_compact(response):
            response = self._full_authenticate(session, response)
        _check_owner(session, response)
        request = {"transactionId": session.transaction_id, "authenticateServerResponse": response}
        answer = await self._es9.call(session.address, function, request)
        _check_transaction(function, session, answer)
        with _of_the_server(function):
            session.metadata = _octets(answer, "profileMetadata")
            session.iccid = Metadata.parse(session.metadata).iccid
            signed = RSP.decode("SmdpSigned2", _octets(answer, "smdpSigned2"))
        if signed["transactionId"] != session.transaction_id:
            raise EsipaError(function, UNDEFINED, "the SM-DP+ signed another session")
        session.bpp_euicc_otpk = signed.get("bppEuiccOtpk")
        self._touch(session)
        result: dict[str, Value] = dict(answer)
        if _has(session.device, "minimizeEsipaBytes"):
            del result["transactionId"]
            if _has(session.device, "eimProfileMetadataVerification"):
                del result["profileMetadata"]
        return result

    async def _package(self, fields: Fields) -> dict[str, Value]:
        function = "getBoundProfilePackage"
        session = self._session(function, fields)
        response = _octets(fields, "prepareDownloadResponse")
        if compact.is_compact(response):
            form = compact.DownloadResponse.parse(response)
            response = form.expanded(session.transaction_id, session.bpp_euicc_otpk)
        request = {"transactionId": session.transaction_id, "prepareDownloadResponse": response}
        answer = await self._es9.call(session.address, function, request)
        _check_transaction(function, session, answer)
        if _has(session.device, "eimProfileMetadataVerification"):
            # An IPA that leaves this to the eIM does not look itself.
            with _of_the_server(function):
                package = bpp.Bpp.parse(_octets(answer, "boundProfilePackage"))
            announced = b"".join(segment.value[:-_MAC_LENGTH] for segment in package.metadata)
            if announced != session.metadata:
                raise EsipaError(function, METADATA_MISMATCH, "metadataMismatch")
        session.bound = True
        self._touch(session)
        result: dict[str, Value] = dict(answer)
        if _has(session.device, "minimizeEsipaBytes"):
            del result["transactionId"]
        return result

    async def _cancel(self, fields: Fields) -> dict[str, Value]:
        function = "cancelSession"
        session = self._session(function, fields)
        response = _octets(fields, "cancelSessionResponse")
        if compact.is_compact(response):
            response = compact.CancelResponse.parse(response).expanded(session.transaction_id, session.smdp_oid)
        request = {"transactionId": session.transaction_id, "cancelSessionResponse": response}
        await self._es9.call(session.address, function, request)
        self._sessions.pop(session.transaction_id, None)
        return {}

    def _installed(self, notification: bytes) -> dict[str, Value]:
        item = tlv.parse(notification, "pendingNotification")
        form = compact.InstallResult.parse(notification) if item.tag == compact.INSTALL_RESULT else None
        if form is None and item.tag != 0xBF37:
            raise CodecError("pendingNotification", expected="BF37 or A0", found=f"{item.tag:X}")
        transaction = form.transaction_id if form is not None else _transaction_of(item.raw)
        session = self._find(transaction)
        if session is None or not session.bound:
            log.info("handleNotification: a result of no session here, not forwarded")
            return {}
        if form is not None:
            notification = form.expanded(session.server_address, session.iccid, session.smdp_oid)
        parsed = PendingNotification.parse(tlv.parse(notification))
        if parsed.metadata.address.lower() != session.server_address.lower():
            log.info("handleNotification: a result for another address than its session's, not forwarded")
            return {}
        return {"pendingNotification": notification, "eidValue": session.eid}

    # ------------------------------------------------------------------------------------------------------ sessions

    def _open(self, session: _Session, function: str) -> None:
        self._age()
        if session.transaction_id in self._sessions:
            # No SM-DP+ may take over a session with another by its identifier.
            raise EsipaError(function, UNDEFINED, "the SM-DP+ gave a transactionId that is in use")
        for older in [one for one in self._sessions.values() if one.eid == session.eid and not one.bound]:
            # An eUICC has one session at a time.
            del self._sessions[older.transaction_id]
        while len(self._sessions) >= self._limits.sessions:
            oldest = next((one for one in self._sessions.values() if not one.bound), None)
            del self._sessions[oldest.transaction_id if oldest else next(iter(self._sessions))]
        self._sessions[session.transaction_id] = session

    def _age(self) -> None:
        now = self._now_ns()
        for session in list(self._sessions.values()):
            if self._is_over(session, now):
                del self._sessions[session.transaction_id]

    def _is_over(self, session: _Session, now: int) -> bool:
        limit = self._limits.result_ns if session.bound else self._limits.lifetime_ns
        return now - session.touched_ns >= limit

    def _find(self, transaction: bytes) -> _Session | None:
        session = self._sessions.get(transaction)
        if session is not None and self._is_over(session, self._now_ns()):
            del self._sessions[transaction]
            return None
        return session

    def _session(self, function: str, fields: Fields) -> _Session:
        session = self._find(_octets(fields, "transactionId"))
        if session is None:
            raise EsipaError(function, _UNKNOWN_TRANSACTION[function])
        return session

    def _touch(self, session: _Session) -> None:
        session.touched_ns = self._now_ns()
        if session.transaction_id in self._sessions:
            self._sessions.move_to_end(session.transaction_id)

    def _full_authenticate(self, session: _Session, response: bytes) -> bytes:
        form, device = compact.AuthenticateResponse.parse(response), session.device
        euicc = form.euicc_certificate or device.euicc_certificate
        eum = form.eum_certificate or device.eum_certificate
        if euicc is None or eum is None or (form.signed1 is None and device.view.euicc_info2 is None):
            raise EsipaError("authenticateClient", UNDEFINED, "a compact form of what is not known here")
        return form.expanded(
            transaction=session.transaction_id,
            server_address=session.server_address,
            server_challenge=session.server_challenge,
            info2=device.view.euicc_info2 or b"",
            euicc_certificate=euicc,
            eum_certificate=eum,
            ctx_params1=session.ctx_params1,
        )


# ------------------------------------------------------------------------------------------------------------- checks


@contextmanager
def _of_the_server(function: str) -> Iterator[None]:
    """Turn what is wrong with an SM-DP+'s answer into a failure that is not the IPA's."""
    try:
        yield
    except (CodecError, CryptoError) as exc:
        log.warning("%s: the SM-DP+'s answer makes no sense: %s", function, exc)
        raise EsipaError(function, UNDEFINED, "the SM-DP+'s answer makes no sense") from exc


def _has(device: Device, feature: str) -> bool:
    return feature in (device.view.features or ())


def _address(code: ActivationCode | None, given: Value | None) -> str:
    """Return the SM-DP+ to speak to: the order's, which an IPA may name again; where it has none, the IPA's."""
    function = "initiateAuthentication"
    if code is not None:
        if given is not None and str(given).lower() != code.address.lower():
            raise EsipaError(function, ADDRESS_MISMATCH, "smdpAddressMismatch")
        return code.address
    if given is None:
        raise EsipaError(function, INVALID_ADDRESS, "invalidDpAddress")
    try:
        check_address(str(given), "smdpAddress")
    except CodecError as exc:
        raise EsipaError(function, INVALID_ADDRESS, "invalidDpAddress") from exc
    return str(given)


def _check_owner(session: _Session, response: bytes) -> None:
    """Check that the eUICC is the one of the order; its signature the SM-DP+ checks."""
    choice = tlv.parse(response, "AuthenticateServerResponse").children()
    if len(choice) != 1 or choice[0].tag != 0xA0:
        # An error of the eUICC: the SM-DP+ is to know.
        return
    certificates = [item.raw for item in choice[0].children() if item.tag == 0x30][1:]
    try:
        eid = Certificate.load(certificates[0]).eid if certificates else None
    except (CodecError, CryptoError) as exc:
        raise EsipaError("authenticateClient", EUICC_CERTIFICATE_INVALID, "euiccCertificateInvalid") from exc
    if eid != session.eid:
        raise EsipaError("authenticateClient", EID_MISMATCH, "eidMismatch")


def _check_transaction(function: str, session: _Session, answer: Fields) -> None:
    if answer.get("transactionId") != session.transaction_id:
        raise EsipaError(function, UNDEFINED, "the SM-DP+ answered in another session")


def _transaction_of(result: bytes) -> bytes:
    found = tlv.parse(result).find(0xBF27, 0x80)
    if found is None:
        raise CodecError("ProfileInstallationResult", expected="a transactionId (BF27, 80)")
    return found.value


def _translated(function: str, error: RspError) -> EsipaError:
    number = error_number(function, error)
    status = (error.subject, error.reason)
    return EsipaError(function, number, error.message, status=status, identifier=error.identifier)


def _octets(fields: Fields, name: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, bytes):
        raise CodecError(f"field {name} is missing", expected="octets", found=type(value).__name__)
    return value


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise CodecError("field", expected="octets", found=type(value).__name__)
    return value
