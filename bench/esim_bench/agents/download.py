"""Profile download and installation, the device's side (SGP.22 3.1.2, 3.1.3), with every check that is the LPA's."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from esim_bench.agents.rsp_server import Announcement, Es9Server, RspServer, checked, checked_fields
from esim_bench.agents.secrecy import conceal
from esim_bench.agents.user import NOBODY, Answer, NoAnswer, User
from esim_bench.codec import bpp, es10
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.schema import RSP
from esim_bench.crypto.certificates import Certificate
from esim_bench.errors import (
    AgentError,
    ApduRefusedError,
    BenchError,
    CardStatusError,
    CodecError,
    DeviceError,
    ProtocolError,
    RspError,
    TransportError,
)

if TYPE_CHECKING:
    from esim_bench.agents.lpa import Lpa

END_USER_REJECTION: Final = 0
POSTPONED: Final = 1
TIMEOUT: Final = 2
PPR_NOT_ALLOWED: Final = 3
METADATA_MISMATCH: Final = 4
LOAD_BPP_EXECUTION_ERROR: Final = 5
UNDEFINED_REASON: Final = 127
MAC_LENGTH: Final = 8
_TRIES: Final = 3
_MOST_UNANSWERED: Final = 3
"""Segments in a row that a modem may answer by errors."""


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


OnProgress = Callable[[Progress], Awaitable[None]]
Examine = Callable[[es10.EuiccInfo1], None]
"""Looks at the eUICC before anything is sent; what it raises ends the download."""


class EuiccRefusal(AgentError):
    """The eUICC refused a function of a download; ``response`` is its answer."""

    def __init__(self, function: str, response: bytes, *, code: str, hint: str | None = None) -> None:
        self.response = response
        super().__init__(f"the eUICC refused {function}", code=code, hint=hint)


class _StopError(Exception):
    """The LPA ends the session: the cancel reason, and the error that tells of it, given a hint."""

    def __init__(self, reason: int, error: Callable[[str | None], BenchError]) -> None:
        super().__init__(es10.CANCEL_REASONS[reason])
        self.reason = reason
        self.error = error


@dataclass(slots=True)
class _Session:
    """What both sides know after the authentication."""

    server: RspServer
    transaction_id: bytes
    announced: Announcement
    metadata: Metadata | None
    """None where an eIM looks at it."""
    confirmation_code_required: bool


async def download(
    lpa: Lpa,
    code: ActivationCode,
    *,
    confirmation_code: str | None = None,
    user: User = NOBODY,
    examine: Examine | None = None,
    progress: OnProgress | None = None,
) -> DownloadResult:
    """Download and install the profile that an activation code names (no matching id: the one for this EID).

    ``user`` is asked what the standard has an LPA ask; ``confirmation_code``: known beforehand, not asked for.
    Raises RspError (the SM-DP+ refused), AgentError (the eUICC or the user refused; ``code`` says why), ProtocolError,
    CardStatusError, TransportError, DeviceTimeout. After any of these the eUICC may have changed: read its state. Where
    the LPA ended the session, both sides were told so, with the reason of SGP.22 5.7.14. A download whose way to the
    server broke may simply be tried again: the eUICC keeps its one-time key for it.
    """
    stages: list[str] = []

    async def tell(now: Progress) -> None:
        stages.append(now.stage)
        if progress is not None:
            await progress(now)

    for left in reversed(range(_TRIES)):
        server = Es9Server(lpa.es9, code)
        try:
            return await download_from(
                lpa,
                server,
                code.matching_id,
                confirmation_code=confirmation_code,
                user=user,
                examine=examine,
                progress=tell,
            )
        except ApduRefusedError:
            # A modem swallowed an answer of the eUICC, and no look at the card brings it back. Before the package is
            # loaded nothing is lost with the session.
            if "install" in stages or not left:
                raise
            lpa.card.mark("the download begins anew: the modem kept an answer of the eUICC")
    raise ProtocolError("no download", expected=f"one of {_TRIES} tries")


async def download_from(
    lpa: Lpa,
    server: RspServer,
    matching_id: str = "",
    *,
    confirmation_code: str | None = None,
    user: User = NOBODY,
    examine: Examine | None = None,
    progress: OnProgress | None = None,
) -> DownloadResult:
    """Download and install a profile from an SM-DP+, or by way of an eIM; see ``download``."""
    tell = progress or _quiet
    secrets = [matching_id, confirmation_code or ""]
    try:
        await tell(Progress("authenticate", 0, 1))
        opening = await _open(lpa, server, matching_id, examine, secrets)
        try:
            session = await _announced(server, opening)
            await tell(Progress("prepare", 0, 1))
            if session.metadata is not None:
                await _ask(lpa, session.metadata, user)
            if session.announced.hash_cc is None:
                confirmation_code = await _confirmation(session, confirmation_code, user)
                secrets.append(confirmation_code or "")
            bound = await _fetch(lpa, session, confirmation_code)
            session, segments = _checked_package(session, bound)
        except _StopError as stop:
            hint = await _cancel(lpa, server, opening.transaction_id, stop.reason)
            raise stop.error(hint) from stop.__cause__
        except (ProtocolError, CardStatusError) as exc:
            # What makes no sense ends the session, for a reason that the standard has no name for.
            hint = await _cancel(lpa, server, opening.transaction_id, UNDEFINED_REASON)
            raise _with_hint(exc, hint) from exc
        return await _install(lpa, session, segments, tell)
    except BenchError as exc:
        conceal(exc, secrets)
        raise


@dataclass(frozen=True, slots=True)
class _Opening:
    """A session that the eUICC has taken up, and its answer to the server."""

    transaction_id: bytes
    response: bytes


async def _open(
    lpa: Lpa, server: RspServer, matching_id: str, examine: Examine | None, secrets: list[str]
) -> _Opening:  # fmt: skip
    """Have the SM-DP+ authenticate itself to the eUICC (SGP.22 3.1.2, up to ES10b.AuthenticateServer)."""
    info1 = await lpa.card.es10(es10.get_euicc_info1())
    if examine is not None:
        examine(checked(es10.EuiccInfo1.parse, info1, "GetEuiccInfo1"))
    challenge = checked(es10.challenge, await lpa.card.es10(es10.get_euicc_challenge()), "GetEuiccChallenge")
    offered = await server.initiate(challenge, info1)
    # Up to here the eUICC knows of no session: there is nothing to cancel.
    _check_server(server, offered.server_signed1, offered.certificate, offered.transaction_id, challenge)
    secrets.append(offered.matching_id or "")
    context = offered.ctx_params1 or es10.ctx_params1(offered.matching_id or matching_id or None, lpa.device)
    request = checked_fields(
        lambda: es10.authenticate_server(
            offered.server_signed1, offered.server_signature1, offered.ci_pk_id, offered.certificate, context
        ),
        "initiateAuthentication",
    )
    response = await lpa.card.es10(request)
    _refused("AuthenticateServer", response)
    return _Opening(offered.transaction_id, response)


async def _announced(server: RspServer, opening: _Opening) -> _Session:
    """Authenticate the eUICC to the SM-DP+, which announces the profile (SGP.22 3.1.2, the second half)."""
    announced = await server.authenticate(opening.transaction_id, opening.response)
    signed = checked(lambda raw: RSP.decode("SmdpSigned2", raw), announced.smdp_signed2, "smdpSigned2")
    if signed["transactionId"] != opening.transaction_id:
        raise ProtocolError(
            "smdpSigned2 of another session",
            expected=opening.transaction_id.hex().upper(),
            found=signed["transactionId"].hex(),
        )
    metadata = None
    if announced.metadata is not None:
        metadata = checked(Metadata.parse, announced.metadata, "profileMetadata")
    return _Session(server, opening.transaction_id, announced, metadata, bool(signed["ccRequiredFlag"]))


def _check_server(
    server: RspServer, server_signed1: bytes, certificate: bytes, transaction_id: bytes, challenge: bytes
) -> None:
    """Check what only the device knows: whom it contacted, and whom the activation code meant (SGP.22 3.1.2 step 6)."""
    signed = checked(lambda raw: RSP.decode("ServerSigned1", raw), server_signed1, "serverSigned1")
    if signed["transactionId"] != transaction_id:
        raise ProtocolError(
            "serverSigned1 of another session",
            expected=transaction_id.hex().upper(),
            found=signed["transactionId"].hex(),
        )
    if server.address is not None and signed["serverAddress"].lower() != server.address.lower():
        raise ProtocolError("server address in serverSigned1", expected=server.address, found=signed["serverAddress"])
    if signed["euiccChallenge"] != challenge:
        found = signed["euiccChallenge"].hex()
        raise ProtocolError("eUICC challenge in serverSigned1", expected=challenge.hex(), found=found)
    if server.smdp_oid is not None:
        oid = checked(Certificate.load, certificate, "serverCertificate").oid
        if oid != server.smdp_oid:
            raise ProtocolError("OID of the SM-DP+", expected=f"{server.smdp_oid} (activation code)", found=oid)


async def _ask(lpa: Lpa, metadata: Metadata, user: User) -> None:
    """Hold the policy rules against the Rules Authorisation Table, ask the user (SGP.22 2.9.2, 3.1.3)."""
    refusal, to_agree = await _policy_rules(lpa, metadata)
    if refusal is not None:
        raise _StopError(PPR_NOT_ALLOWED, lambda hint: AgentError(refusal, code="pprNotAllowed", hint=hint))
    try:
        answer = await user.wants(metadata)
        no, later, code = "the profile was not wanted", "the download was postponed", "postponed"
        if answer is Answer.YES and to_agree:
            answer = await user.agrees(metadata, to_agree)
            rules = ", ".join(to_agree)
            no = f"the profile's policy rules ({rules}) were not agreed to"
            later, code = f"the profile's policy rules ({rules}) ask for consent", "consentMissing"
    except NoAnswer as exc:
        raise _nobody(user) from exc
    if answer is Answer.NO:
        raise _StopError(END_USER_REJECTION, lambda hint: AgentError(no, code="endUserRejection", hint=hint))
    if answer is Answer.LATER:
        raise _StopError(POSTPONED, lambda hint: AgentError(later, code=code, hint=hint))


def _nobody(user: User) -> _StopError:
    text = f"nobody answered within {user.patience:g} s"
    return _StopError(TIMEOUT, lambda hint: AgentError(text, code="timeout", hint=hint))


async def _policy_rules(lpa: Lpa, metadata: Metadata) -> tuple[str | None, list[str]]:
    """Return what forbids the profile's policy rules, and those of them that the user must agree to."""
    wanted = [rule for rule in metadata.policy_rules if rule != "pprUpdateControl"]
    if not wanted:
        return None, []
    table = await lpa.authorisation_table()
    to_agree = []
    for rule in wanted:
        # The table is ordered: the first entry about this rule and owner is the one that counts.
        entry = next((entry for entry in table if entry.allows(rule, metadata.owner)), None)
        if entry is None:
            return f"the Rules Authorisation Table does not allow {rule} to this profile's owner", []
        if entry.consent_required:
            to_agree.append(rule)
    if "ppr1" in wanted and any(profile.class_name == "operational" for profile in await lpa.profiles()):
        return "ppr1 is for the first operational profile alone, and there is one already", []
    return None, to_agree


async def _confirmation(session: _Session, known: str | None, user: User) -> str | None:
    """Return the confirmation code where the SM-DP+ asks for one: the known one, else the user's."""
    if not session.confirmation_code_required:
        return None
    try:
        code = known or (await user.code(session.metadata) if session.metadata is not None else None)
    except NoAnswer as exc:
        raise _nobody(user) from exc
    if not code:
        # Postponed, so that the order stays good for the next try.
        text = "the SM-DP+ asks for a confirmation code"
        raise _StopError(POSTPONED, lambda hint: AgentError(text, code="confirmationCodeMissing", hint=hint))
    return code


async def _fetch(lpa: Lpa, session: _Session, confirmation_code: str | None) -> bytes:
    """Prepare the download and get the bound profile package (SGP.22 3.1.3)."""
    announced = session.announced
    hash_cc = announced.hash_cc
    if hash_cc is None and confirmation_code is not None:
        inner = hashlib.sha256(confirmation_code.encode()).digest()
        hash_cc = hashlib.sha256(inner + session.transaction_id).digest()
    request = checked_fields(
        lambda: es10.prepare_download(
            announced.smdp_signed2, announced.smdp_signature2, announced.smdp_certificate, hash_cc
        ),
        "authenticateClient",
    )
    response = await lpa.card.es10(request)
    error = checked(es10.error_code, response, "PrepareDownload")
    if error is not None:
        name = error[2]
        raise _StopError(UNDEFINED_REASON, lambda hint: EuiccRefusal("PrepareDownload", response, code=name, hint=hint))
    return await session.server.package(session.transaction_id, response)


def _checked_package(session: _Session, bound: bytes) -> tuple[_Session, Sequence[bytes]]:
    """Return the segments of a bound profile package that is what the SM-DP+ announced (SGP.22 3.1.3).

    The session then has the metadata, where nothing was announced to the device.
    """
    try:
        package = bpp.Bpp.parse(bound)
        segments = bpp.segments(bound)
    except CodecError as exc:
        text, expected, found = f"malformed bound profile package: {exc.what}", exc.expected, exc.found
        raise _StopError(
            LOAD_BPP_EXECUTION_ERROR,
            lambda hint: ProtocolError(text, expected=expected, found=found, hint=hint),
        ) from exc
    # StoreMetadata is not encrypted: what the user confirmed must be what is installed.
    stored = b"".join(segment.value[:-MAC_LENGTH] for segment in package.metadata)
    if session.announced.metadata is None:
        return replace(session, metadata=checked(Metadata.parse, stored, "metadata in the package")), segments
    if stored != session.announced.metadata:
        text = "the package's metadata is not what the SM-DP+ announced"
        raise _StopError(METADATA_MISMATCH, lambda hint: AgentError(text, code="metadataMismatch", hint=hint))
    return session, segments


async def _install(lpa: Lpa, session: _Session, segments: Sequence[bytes], tell: OnProgress) -> DownloadResult:
    """Load the package into the eUICC, one segment after the other, until it has an answer (SGP.22 2.5.5)."""
    await tell(Progress("install", 0, len(segments)))
    result = await _load(lpa, session, segments, tell)
    if result.transaction_id != session.transaction_id:
        expected, found = session.transaction_id.hex(), result.transaction_id.hex()
        raise ProtocolError("result of another session", expected=expected, found=found)
    if not result.success:
        detail = f", {result.sima_response.hex().upper()}" if result.sima_response else ""
        raise AgentError(f"the eUICC refused the profile in {result.command}{detail}", code=result.reason)
    if session.metadata is None:
        raise ProtocolError("no metadata of the installed profile", expected="StoreMetadata in the package")
    lpa.card.guard.allow_deletion(session.metadata.iccid)
    await tell(Progress("install", len(segments), len(segments)))
    return DownloadResult(result, session.metadata, len(segments))


async def _load(lpa: Lpa, session: _Session, segments: Sequence[bytes], tell: OnProgress) -> es10.InstallResult:
    """Send the segments until one of them is answered."""
    try:
        unanswered = 0
        for number, segment in enumerate(segments, 1):
            try:
                answer = await lpa.card.es10(segment)
                unanswered = 0
            except ApduRefusedError:
                if unanswered == _MOST_UNANSWERED or number == len(segments):
                    raise
                # The eUICC may have taken it. If not, it finds a segment missing by the MAC of the next, and says so.
                unanswered, answer = unanswered + 1, b""
                lpa.card.mark(f"segment {number} was answered by an error of the modem: on with the next")
            if answer:
                return checked(es10.InstallResult.parse, answer, "ProfileInstallationResult")
            await tell(Progress("install", number, len(segments)))
        raise ProtocolError("no ProfileInstallationResult", expected="BF37 after the last segment", found="no data")
    except (CardStatusError, ProtocolError, TransportError) as exc:
        # "Command failed" is not "card unchanged": the eUICC may have finished, and keeps its result. A modem that
        # refuses a line looks like a broken transport; where it really broke, the look fails as well.
        kept = await _kept_result(lpa, session.transaction_id)
        if kept is not None:
            return kept
        if not isinstance(exc, TransportError):
            hint = await _cancel(lpa, session.server, session.transaction_id, LOAD_BPP_EXECUTION_ERROR)
            raise _with_hint(exc, hint) from exc
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


async def _cancel(lpa: Lpa, server: RspServer, transaction_id: bytes, reason: int) -> str | None:
    """Cancel the session on both sides; say what did not work, for it is not worth more than the reason itself.

    Raises TransportError and DeviceTimeout where the way to the card broke.
    """
    try:
        response = await _cancel_on_card(lpa, transaction_id, reason)
    except (AgentError, CardStatusError, ProtocolError) as exc:
        return f"and the session could not be cancelled: {exc}"
    try:
        await server.cancel(transaction_id, response)
    except (RspError, DeviceError) as exc:
        return f"and the SM-DP+ does not know of it: {exc}"
    return None


async def cancel(lpa: Lpa, address: str, transaction_id: bytes, reason: int) -> None:
    """Cancel a session on the eUICC and at the SM-DP+ (SGP.22 3.1.3.3). Raises AgentError, RspError, DeviceError."""
    response = await _cancel_on_card(lpa, transaction_id, reason)
    await Es9Server(lpa.es9, ActivationCode(address)).cancel(transaction_id, response)


async def _cancel_on_card(lpa: Lpa, transaction_id: bytes, reason: int) -> bytes:
    response = await lpa.card.es10(es10.cancel_session(transaction_id, reason))
    _refused("CancelSession", response)
    return response


def _with_hint(error: DeviceError, hint: str | None) -> DeviceError:
    """Return an error with what became of the cancellation, where that did not work."""
    if hint is None:
        return error
    hint = f"{error.hint}; {hint}" if error.hint else hint
    if isinstance(error, CardStatusError):
        return CardStatusError(error.what, sw=error.sw, expected=error.expected, hint=hint)
    return type(error)(error.what, expected=error.expected, found=error.found, where=error.where, hint=hint)


def _refused(function: str, response: bytes) -> None:
    error = checked(es10.error_code, response, function)
    if error is not None:
        raise EuiccRefusal(function, response, code=error[2])


async def _quiet(progress: Progress) -> None:
    pass
