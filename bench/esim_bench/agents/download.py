"""Profile download and installation, the device's side (SGP.22 3.1.2, 3.1.3), with every check that is the LPA's."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from esim_bench.codec import bpp, es10
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.schema import RSP
from esim_bench.crypto.certificates import Certificate
from esim_bench.errors import (
    AgentError,
    CardStatusError,
    CodecError,
    DeviceError,
    ProtocolError,
    RspError,
    TransportError,
)

if TYPE_CHECKING:
    from esim_bench.agents.lpa import Lpa

T = TypeVar("T")

END_USER_REJECTION: Final = 0
POSTPONED: Final = 1
PPR_NOT_ALLOWED: Final = 3
METADATA_MISMATCH: Final = 4
LOAD_BPP_EXECUTION_ERROR: Final = 5
MAC_LENGTH: Final = 8


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is."""

    stage: str
    """One of "authenticate", "prepare", "install"."""
    done: int
    """Of "install": segments that the eUICC took."""
    total: int


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """A profile that was installed."""

    result: es10.InstallResult
    metadata: Metadata
    segments: int


Confirm = Callable[[Metadata], Awaitable[bool]]
"""Asked whether the profile of this metadata is wanted."""
OnProgress = Callable[[Progress], Awaitable[None]]


@dataclass(slots=True)
class _Session:
    """What both sides know after the authentication."""

    address: str
    transaction_id: bytes
    metadata: Metadata
    raw_metadata: bytes
    smdp_signed2: bytes
    smdp_signature2: bytes
    smdp_certificate: bytes
    confirmation_code_required: bool


async def download(
    lpa: Lpa,
    code: ActivationCode,
    *,
    confirmation_code: str | None = None,
    confirm: Confirm | None = None,
    progress: OnProgress | None = None,
) -> DownloadResult:
    """Download and install the profile that an activation code names.

    Raises RspError (the SM-DP+ refused), AgentError (the eUICC or the user refused; ``code`` says why),
    CardStatusError, TransportError, DeviceTimeout. After any of these the eUICC may have changed: read its state.
    """
    tell = progress or _quiet
    await tell(Progress("authenticate", 0, 1))
    session = await authenticate(lpa, code)
    await tell(Progress("prepare", 0, 1))
    refusal = await _policy_refusal(lpa, session.metadata)
    if refusal is not None:
        hint = await _cancel(lpa, session, PPR_NOT_ALLOWED)
        raise AgentError(refusal, code="pprNotAllowed", hint=hint)
    if confirm is not None and not await confirm(session.metadata):
        hint = await _cancel(lpa, session, END_USER_REJECTION)
        raise AgentError("the profile was not wanted", code="endUserRejection", hint=hint)
    if session.confirmation_code_required and not confirmation_code:
        # Postponed, so that the order stays good for the next try.
        hint = await _cancel(lpa, session, POSTPONED)
        raise AgentError("the SM-DP+ asks for a confirmation code", code="confirmationCodeMissing", hint=hint)
    bound = await _fetch(lpa, session, confirmation_code)
    return await _install(lpa, session, bound, tell)


async def authenticate(lpa: Lpa, code: ActivationCode) -> _Session:
    """Authenticate eUICC and SM-DP+ to each other (SGP.22 3.1.2), up to the user's confirmation."""
    info1 = await lpa.card.es10(es10.get_euicc_info1())
    challenge = _checked(es10.challenge, await lpa.card.es10(es10.get_euicc_challenge()), "GetEuiccChallenge")
    answer = await lpa.es9.call(
        code.address,
        "initiateAuthentication",
        {"euiccChallenge": challenge, "euiccInfo1": info1, "smdpAddress": code.address},
    )
    transaction_id = _octets(answer, "transactionId")
    server_signed1, certificate = _octets(answer, "serverSigned1"), _octets(answer, "serverCertificate")
    _check_server(code, server_signed1, certificate, transaction_id, challenge)
    response = await lpa.card.es10(
        es10.authenticate_server(
            server_signed1,
            _octets(answer, "serverSignature1"),
            _octets(answer, "euiccCiPKIdToBeUsed"),
            certificate,
            es10.ctx_params1(code.matching_id or None, lpa.device),
        )
    )
    _refused("AuthenticateServer", response)
    answer = await lpa.es9.call(
        code.address,
        "authenticateClient",
        {"transactionId": transaction_id, "authenticateServerResponse": response},
    )
    _check_transaction("authenticateClient", transaction_id, answer)
    raw_metadata, smdp_signed2 = _octets(answer, "profileMetadata"), _octets(answer, "smdpSigned2")
    signed = _checked(lambda raw: RSP.decode("SmdpSigned2", raw), smdp_signed2, "smdpSigned2")
    if signed["transactionId"] != transaction_id:
        raise ProtocolError(
            "smdpSigned2 of another session", expected=transaction_id.hex().upper(), found=signed["transactionId"].hex()
        )
    return _Session(
        address=code.address,
        transaction_id=transaction_id,
        metadata=_checked(Metadata.parse, raw_metadata, "profileMetadata"),
        raw_metadata=raw_metadata,
        smdp_signed2=smdp_signed2,
        smdp_signature2=_octets(answer, "smdpSignature2"),
        smdp_certificate=_octets(answer, "smdpCertificate"),
        confirmation_code_required=bool(signed["ccRequiredFlag"]),
    )


def _check_server(
    code: ActivationCode, server_signed1: bytes, certificate: bytes, transaction_id: bytes, challenge: bytes
) -> None:
    """Check what only the device knows: whom it contacted, and whom the activation code meant (SGP.22 3.1.2 step 6)."""
    signed = _checked(lambda raw: RSP.decode("ServerSigned1", raw), server_signed1, "serverSigned1")
    if signed["transactionId"] != transaction_id:
        raise ProtocolError(
            "serverSigned1 of another session",
            expected=transaction_id.hex().upper(),
            found=signed["transactionId"].hex(),
        )
    if signed["serverAddress"].lower() != code.address.lower():
        raise ProtocolError("server address in serverSigned1", expected=code.address, found=signed["serverAddress"])
    if signed["euiccChallenge"] != challenge:
        found = signed["euiccChallenge"].hex()
        raise ProtocolError("eUICC challenge in serverSigned1", expected=challenge.hex(), found=found)
    if code.smdp_oid is not None:
        oid = _checked(Certificate.load, certificate, "serverCertificate").oid
        if oid != code.smdp_oid:
            raise ProtocolError("OID of the SM-DP+", expected=f"{code.smdp_oid} (activation code)", found=oid)


async def _policy_refusal(lpa: Lpa, metadata: Metadata) -> str | None:
    """Hold the profile's policy rules against the Rules Authorisation Table; say what forbids it (SGP.22 2.9.2)."""
    wanted = [rule for rule in metadata.policy_rules if rule != "pprUpdateControl"]
    if not wanted:
        return None
    table = await lpa.authorisation_table()
    for rule in wanted:
        if not any(entry.allows(rule, metadata.owner) for entry in table):
            return f"the Rules Authorisation Table does not allow {rule} to this profile's owner"
    if "ppr1" in wanted and any(profile.class_name == "operational" for profile in await lpa.profiles()):
        return "ppr1 is for the first operational profile alone, and there is one already"
    return None


async def _fetch(lpa: Lpa, session: _Session, confirmation_code: str | None) -> bytes:
    """Prepare the download and get the bound profile package (SGP.22 3.1.3)."""
    hash_cc = None
    if session.confirmation_code_required and confirmation_code:
        inner = hashlib.sha256(confirmation_code.encode()).digest()
        hash_cc = hashlib.sha256(inner + session.transaction_id).digest()
    response = await lpa.card.es10(
        es10.prepare_download(session.smdp_signed2, session.smdp_signature2, session.smdp_certificate, hash_cc)
    )
    _refused("PrepareDownload", response)
    answer = await lpa.es9.call(
        session.address,
        "getBoundProfilePackage",
        {"transactionId": session.transaction_id, "prepareDownloadResponse": response},
    )
    _check_transaction("getBoundProfilePackage", session.transaction_id, answer)
    return _octets(answer, "boundProfilePackage")


async def _install(lpa: Lpa, session: _Session, bound: bytes, tell: OnProgress) -> DownloadResult:
    """Load the package into the eUICC, one segment after the other, until it has an answer (SGP.22 2.5.5)."""
    try:
        package = bpp.Bpp.parse(bound)
        segments = bpp.segments(bound)
    except CodecError as exc:
        hint = await _cancel(lpa, session, LOAD_BPP_EXECUTION_ERROR)
        raise ProtocolError(
            f"malformed bound profile package: {exc.what}", expected=exc.expected, found=exc.found, hint=hint
        ) from exc
    # StoreMetadata is not encrypted: what the user confirmed must be what is installed.
    if b"".join(segment.value[:-MAC_LENGTH] for segment in package.metadata) != session.raw_metadata:
        hint = await _cancel(lpa, session, METADATA_MISMATCH)
        raise AgentError("the package's metadata is not what the SM-DP+ announced", code="metadataMismatch", hint=hint)
    await tell(Progress("install", 0, len(segments)))
    result = await _load(lpa, session, segments, tell)
    if result.transaction_id != session.transaction_id:
        expected, found = session.transaction_id.hex(), result.transaction_id.hex()
        raise ProtocolError("result of another session", expected=expected, found=found)
    if not result.success:
        detail = f", {result.sima_response.hex().upper()}" if result.sima_response else ""
        raise AgentError(f"the eUICC refused the profile in {result.command}{detail}", code=result.reason)
    lpa.card.guard.allow_deletion(session.metadata.iccid)
    await tell(Progress("install", len(segments), len(segments)))
    return DownloadResult(result, session.metadata, len(segments))


async def _load(lpa: Lpa, session: _Session, segments: Sequence[bytes], tell: OnProgress) -> es10.InstallResult:
    """Send the segments until one of them is answered."""
    try:
        for number, segment in enumerate(segments, 1):
            answer = await lpa.card.es10(segment)
            if answer:
                return _checked(es10.InstallResult.parse, answer, "ProfileInstallationResult")
            await tell(Progress("install", number, len(segments)))
        raise ProtocolError("no ProfileInstallationResult", expected="BF37 after the last segment", found="no data")
    except (CardStatusError, ProtocolError, TransportError) as exc:
        # "Command failed" is not "card unchanged": the eUICC may have finished, and keeps its result. A modem that
        # refuses a line looks like a broken transport; where it really broke, the look fails as well.
        kept = await _kept_result(lpa, session.transaction_id)
        if kept is not None:
            return kept
        if not isinstance(exc, TransportError):
            await _cancel(lpa, session, LOAD_BPP_EXECUTION_ERROR)
        raise


async def _kept_result(lpa: Lpa, transaction_id: bytes) -> es10.InstallResult | None:
    """Return the eUICC's stored result of a session, where there is one; None as well where it does not say."""
    try:
        for pending in await lpa.pending("install"):
            if pending.result is not None and pending.result.transaction_id == transaction_id:
                return pending.result
    except DeviceError:
        return None
    return None


async def _cancel(lpa: Lpa, session: _Session, reason: int) -> str | None:
    """Cancel the session on both sides; say what did not work, for it is not worth more than the reason itself.

    Raises TransportError and DeviceTimeout where the way to the card broke.
    """
    try:
        response = await _cancel_on_card(lpa, session.transaction_id, reason)
    except (AgentError, CardStatusError, ProtocolError) as exc:
        return f"and the session could not be cancelled: {exc}"
    try:
        await _cancel_at_server(lpa, session.address, session.transaction_id, response)
    except (RspError, DeviceError) as exc:
        return f"and the SM-DP+ does not know of it: {exc}"
    return None


async def cancel(lpa: Lpa, address: str, transaction_id: bytes, reason: int) -> None:
    """Cancel a session on the eUICC and at the SM-DP+ (SGP.22 3.1.3.3). Raises AgentError, RspError, DeviceError."""
    response = await _cancel_on_card(lpa, transaction_id, reason)
    await _cancel_at_server(lpa, address, transaction_id, response)


async def _cancel_on_card(lpa: Lpa, transaction_id: bytes, reason: int) -> bytes:
    response = await lpa.card.es10(es10.cancel_session(transaction_id, reason))
    _refused("CancelSession", response)
    return response


async def _cancel_at_server(lpa: Lpa, address: str, transaction_id: bytes, response: bytes) -> None:
    await lpa.es9.call(address, "cancelSession", {"transactionId": transaction_id, "cancelSessionResponse": response})


def _refused(function: str, response: bytes) -> None:
    error = _checked(es10.error_code, response, function)
    if error is not None:
        raise AgentError(f"the eUICC refused {function}", code=error[2])


def _check_transaction(function: str, expected: bytes, answer: Mapping[str, bytes | str]) -> None:
    found = _octets(answer, "transactionId")
    if found != expected:
        raise ProtocolError(f"transaction id in {function}", expected=expected.hex().upper(), found=found.hex().upper())


def _octets(answer: Mapping[str, bytes | str], name: str) -> bytes:
    value = answer[name]
    if not isinstance(value, bytes):
        raise ProtocolError(f"field {name}", expected="bytes", found=type(value).__name__)
    return value


def _checked(parse: Callable[[bytes], T], raw: bytes, what: str) -> T:
    """Parse something that a device or server sent: what is malformed is its fault, not the operator's."""
    try:
        return parse(raw)
    except CodecError as exc:
        raise ProtocolError(f"malformed {what}: {exc}") from exc


async def _quiet(progress: Progress) -> None:
    pass
