"""ES10a, ES10b and ES10c: what an LPA asks of the ISD-R, function by function (SGP.22 5.7).

Requests are built here as bytes, answers are read by ``es10_results``; the table of functions is in ``es10_functions``
(names of both are found here too). A function is known by the tag of its request, which is that of its answer as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.aids import ECASD_AID, ISD_R_AID, ISDP_AID_PREFIX, OTHER_ISD_R_AIDS
from esim_bench.codec.es10_functions import (
    AUTHENTICATE_ERRORS,
    CANCEL_REASONS,
    DOWNLOAD_ERRORS,
    FUNCTIONS,
    Function,
    Tag,
)
from esim_bench.codec.es10_results import (
    AuthorisationRule,
    EuiccInfo1,
    EuiccInfo2,
    InstallResult,
    NotificationMetadata,
    PendingNotification,
    ProfileInfo,
    TreProperties,
    authorisation_table,
    event_bits,
    notification_list,
    pending_notifications,
    profile_infos,
)
from esim_bench.codec.identifiers import (
    eid_to_text,
    iccid_to_bytes,
    iccid_to_text,
    imsi_to_bytes,
    imsi_to_text,
    swap_nibbles,
)
from esim_bench.codec.schema import RSP
from esim_bench.codec.sgp32 import integer
from esim_bench.errors import BenchError, CodecError

__all__ = [
    "AUTHENTICATE_ERRORS",
    "CANCEL_REASONS",
    "DOWNLOAD_ERRORS",
    "ECASD_AID",
    "FUNCTIONS",
    "ISDP_AID_PREFIX",
    "ISD_R_AID",
    "OTHER_ISD_R_AIDS",
    "AuthorisationRule",
    "EuiccInfo1",
    "EuiccInfo2",
    "Function",
    "InstallResult",
    "NotificationMetadata",
    "PendingNotification",
    "ProfileInfo",
    "Tag",
    "TreProperties",
    "authorisation_table",
    "eid_to_text",
    "event_bits",
    "iccid_to_bytes",
    "iccid_to_text",
    "imsi_to_bytes",
    "imsi_to_text",
    "notification_list",
    "pending_notifications",
    "profile_infos",
    "swap_nibbles",
]

MAX_NICKNAME: Final = 64


# ------------------------------------------------------------------------------------------------------------- requests


def get_euicc_configured_addresses() -> bytes:
    """Ask for the default SM-DP+ and root SM-DS addresses (5.7.3)."""
    return RSP.encode("EuiccConfiguredAddressesRequest", {})


get_configured_addresses = get_euicc_configured_addresses


def set_default_dp_address(address: str) -> bytes:
    """Set the default SM-DP+ address; an empty one clears it (5.7.4)."""
    return RSP.encode("SetDefaultDpAddressRequest", {"defaultDpAddress": address})


def get_euicc_challenge() -> bytes:
    """Ask for a challenge; it starts a new RSP session (5.7.7)."""
    return RSP.encode("GetEuiccChallengeRequest", {})


def get_euicc_info1() -> bytes:
    """Ask for EUICCInfo1 (5.7.8)."""
    return RSP.encode("GetEuiccInfo1Request", {})


def get_euicc_info2() -> bytes:
    """Ask for EUICCInfo2 (5.7.8)."""
    return RSP.encode("GetEuiccInfo2Request", {})


def device_info(
    tac: bytes,
    imei: bytes | None = None,
    form_factor_type: int | None = None,
    capabilities: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return a DeviceInfo: TAC 4 bytes, IMEI 8 bytes, capabilities by member name, 3 bytes each (4.2)."""
    members: dict[str, object] = dict(
        capabilities
        or {
            "gsmSupportedRelease": b"\x05\x00\x00",
            "utranSupportedRelease": b"\x08\x00\x00",
            "eutranEpcSupportedRelease": b"\x0e\x00\x00",
        }
    )
    if form_factor_type is not None:
        members["euiccFormFactorType"] = form_factor_type
    value: dict[str, object] = {"tac": tac, "deviceCapabilities": members}
    if imei is not None:
        value["imei"] = imei
    return RSP.encode("DeviceInfo", value)


def ctx_params1(matching_id: str | None, device: bytes) -> bytes:
    """Return ctxParams1 (A0) for a common authentication, from a matching id and what ``device_info`` gave."""
    members = b"" if matching_id is None else tlv.encode(0x80, matching_id.encode())
    # In its place the DeviceInfo has the context tag 1 instead of SEQUENCE's own.
    return tlv.encode(0xA0, members, tlv.encode(0xA1, tlv.parse(device, "DeviceInfo").value))


def authenticate_server(
    server_signed1: bytes, server_signature1: bytes, ci_pk_id: bytes, certificate: bytes, context: bytes
) -> bytes:
    """Pass a server's authentication on, all TLVs as received: 30, 5F37, 04 (of the CI key id), 30 (5.7.13)."""
    return tlv.encode(
        Tag.AUTHENTICATE_SERVER,
        _expect(server_signed1, 0x30, "serverSigned1"),
        _expect(server_signature1, 0x5F37, "serverSignature1"),
        _expect(ci_pk_id, 0x04, "euiccCiPKIdToBeUsed"),
        _expect(certificate, 0x30, "serverCertificate"),
        _expect(context, 0xA0, "ctxParams1"),
    )


def prepare_download(
    smdp_signed2: bytes, smdp_signature2: bytes, certificate: bytes, hash_cc: bytes | None = None
) -> bytes:
    """Pass the SM-DP+'s consent on, TLVs as received: 30, 5F37, 30; ``hash_cc`` 32 bytes (5.7.5)."""
    return tlv.encode(
        Tag.PREPARE_DOWNLOAD,
        _expect(smdp_signed2, 0x30, "smdpSigned2"),
        _expect(smdp_signature2, 0x5F37, "smdpSignature2"),
        tlv.encode(0x04, hash_cc) if hash_cc is not None else b"",
        _expect(certificate, 0x30, "smdpCertificate"),
    )


def cancel_session(transaction_id: bytes, reason: int) -> bytes:
    """Cancel the running session for a reason of CANCEL_REASONS (5.7.14)."""
    return RSP.encode("CancelSessionRequest", {"transactionId": transaction_id, "reason": reason})


def list_notifications(events: Iterable[str] | None = None) -> bytes:
    """Ask for the metadata of the waiting notifications, all or of some events (5.7.9)."""
    value = {} if events is None else {"profileManagementOperation": event_bits(events)}
    return RSP.encode("ListNotificationRequest", value)


def retrieve_notifications(seq: int | None = None, events: Iterable[str] | None = None) -> bytes:
    """Ask for notifications: all, the one of a sequence number, or those of some events (5.7.10)."""
    value: dict[str, object] = {}
    if seq is not None:
        value["searchCriteria"] = ("seqNumber", seq)
    elif events is not None:
        value["searchCriteria"] = ("profileManagementOperation", event_bits(events))
    return RSP.encode("RetrieveNotificationsListRequest", value)


def remove_notification(seq: int) -> bytes:
    """Remove a delivered notification (5.7.11)."""
    return tlv.encode(Tag.REMOVE_NOTIFICATION_FROM_LIST, integer(0x80, seq))


def load_crl(crl: bytes) -> bytes:
    """Load a certificate revocation list, a DER CertificateList (5.7.12)."""
    return tlv.encode(Tag.LOAD_CRL, _expect(crl, 0x30, "CRL"))


def get_rat() -> bytes:
    """Ask for the Rules Authorisation Table (5.7.22)."""
    return RSP.encode("GetRatRequest", {})


def get_profiles_info(search: bytes | int | None = None, tags: bytes | None = None) -> bytes:
    """Ask for profiles: all, one by ICCID (10 bytes) or ISD-P AID, or a class (int); ``tags`` as in 5C (5.7.15)."""
    value: dict[str, object] = {}
    if isinstance(search, int):
        value["searchCriteria"] = ("profileClass", search)
    elif search is not None:
        value["searchCriteria"] = _identifier(search)
    if tags is not None:
        value["tagList"] = tags
    return RSP.encode("ProfileInfoListRequest", value)


def enable_profile(profile: bytes, refresh: bool) -> bytes:
    """Enable a profile by ICCID (10 bytes) or ISD-P AID (5.7.16)."""
    return RSP.encode("EnableProfileRequest", {"profileIdentifier": _identifier(profile), "refreshFlag": refresh})


def disable_profile(profile: bytes, refresh: bool) -> bytes:
    """Disable a profile by ICCID (10 bytes) or ISD-P AID (5.7.17)."""
    return RSP.encode("DisableProfileRequest", {"profileIdentifier": _identifier(profile), "refreshFlag": refresh})


def delete_profile(profile: bytes) -> bytes:
    """Delete a profile by ICCID (10 bytes) or ISD-P AID (5.7.18)."""
    return RSP.encode("DeleteProfileRequest", _identifier(profile))


def memory_reset(*, operational: bool = False, test: bool = False, default_dp_address: bool = False) -> bytes:
    """Reset parts of the eUICC's memory (5.7.19)."""
    bits = operational << 7 | test << 6 | default_dp_address << 5
    return RSP.encode("EuiccMemoryResetRequest", {"resetOptions": (bytes((bits,)), 3)})


def get_eid() -> bytes:
    """Ask for the EID (5.7.20)."""
    return tlv.encode(Tag.GET_EID, tlv.encode(0x5C, b"\x5a"))


def set_nickname(iccid: bytes, nickname: str) -> bytes:
    """Give a profile a nickname, at most 64 bytes of UTF-8; an empty one removes it (5.7.21). Raises CodecError."""
    try:
        length = len(nickname.encode())
    except UnicodeEncodeError as exc:
        raise CodecError("nickname", expected="Unicode", found="half a surrogate pair") from exc
    if length > MAX_NICKNAME:
        raise CodecError("nickname", expected=f"at most {MAX_NICKNAME} bytes of UTF-8", found=length)
    return RSP.encode("SetNicknameRequest", {"iccid": iccid, "profileNickname": nickname})


def _identifier(profile: bytes) -> tuple[str, bytes]:
    return ("iccid", profile) if len(profile) == 10 else ("isdpAid", profile)


def _expect(raw: bytes, tag: int, what: str) -> bytes:
    found = tlv.parse(raw, what)
    if found.tag != tag:
        raise CodecError("wrong tag", where=what, expected=f"{tag:X}", found=f"{found.tag:X}")
    return raw


# ------------------------------------------------------------------------------------------------------------ responses


def result_code(response: bytes) -> tuple[int, str]:
    """Return the result of a function that answers with a code alone: (0, "ok") or an error. Raises CodecError."""
    answer = tlv.parse(response, "ES10 response")
    function = FUNCTIONS.get(answer.tag)
    if function is None:
        raise CodecError("unknown ES10 response", expected="a tag of an ES10 function", found=f"{answer.tag:X}")
    members = answer.children()
    if len(members) < 1 or members[0].tag not in (0x80, 0x02) or not members[0].value:
        raise CodecError(
            "no result code", where=function.name, expected="80 01 xx", found=answer.value[:16].hex().upper()
        )
    code = members[0].integer()
    return code, function.results.get(code, f"unknown result {code}")


def missing_crl_parts(response: bytes) -> tuple[int, ...]:
    """Return the numbers of the partial CRLs that a LoadCRL answer says are missing. Raises CodecError.

    Whether it was an error is told by ``error_code``.
    """
    branch = tlv.parse(response, "LoadCRL").children()
    answer = tlv.parse(response).tag
    if answer != Tag.LOAD_CRL or len(branch) != 1 or branch[0].tag not in (0xA0, 0x81):
        raise CodecError("malformed answer", where="LoadCRL", expected="BF35 with A0 or 81", found=f"{answer:X}")
    parts = branch[0].find(0xA0) if branch[0].tag == 0xA0 else None
    return tuple(part.integer(signed=False) for part in parts.children()) if parts else ()


def eid(response: bytes) -> bytes:
    """Return the 16 bytes of the EID from a GetEID answer. Raises CodecError."""
    value: bytes = RSP.decode("GetEuiccDataResponse", response)["eidValue"]
    return value


def challenge(response: bytes) -> bytes:
    """Return the 16 bytes of a GetEuiccChallenge answer. Raises CodecError."""
    value: bytes = RSP.decode("GetEuiccChallengeResponse", response)["euiccChallenge"]
    return value


def error_code(response: bytes) -> tuple[bytes | None, int, str] | None:
    """Return (transaction id, code, name) where AuthenticateServer, PrepareDownload or CancelSession failed, else None.

    Raises CodecError for anything that is neither the answer nor an error.
    """
    answer = tlv.parse(response, "ES10b response")
    function = FUNCTIONS.get(answer.tag)
    members = answer.children()
    if function is None or len(members) != 1:
        raise CodecError(
            "malformed ES10b response", expected="one member", found=f"{answer.tag:X}, {len(members)} members"
        )
    branch = members[0]
    if branch.tag == 0xA0:
        return None
    if branch.tag == 0xA1:
        transaction = branch.find(0x80)
        code = branch.get(0x02).integer()
        return (transaction.value if transaction else None), code, function.results.get(code, str(code))
    if branch.tag == 0x81:
        code = branch.integer()
        return None, code, function.results.get(code, str(code))
    raise CodecError("malformed ES10b response", where=function.name, expected="A0, A1 or 81", found=f"{branch.tag:X}")


# --------------------------------------------------------------------------------------------------------- for people


def describe(request: bytes, response: bytes | None) -> str:
    """Say a function call in one line, e.g. "ES10c.EnableProfile 8988... -> ok". Never raises."""
    try:
        call = tlv.parse(request)
    except BenchError:
        return f"STORE DATA {request[:8].hex().upper()}"
    function = FUNCTIONS.get(call.tag)
    if function is None:
        return f"STORE DATA {call.tag:X}"
    text = function.name
    with_argument = _argument(call)
    if with_argument:
        text += f" {with_argument}"
    if response is None:
        return text
    try:
        return f"{text} -> {_outcome(function, response)}"
    except (BenchError, ValueError):
        return f"{text} -> {len(response)} bytes"


def _argument(call: tlv.Tlv) -> str:
    try:
        members = call.children()
        while members and members[0].tag == 0xA0 and call.tag != Tag.AUTHENTICATE_SERVER:
            members = members[0].children()
        for member in members:
            if member.tag == 0x5A:
                return iccid_to_text(member.value)
            if member.tag == 0x4F:
                return member.value.hex().upper()
            if member.tag == 0x80 and call.tag in (Tag.REMOVE_NOTIFICATION_FROM_LIST, Tag.RETRIEVE_NOTIFICATIONS_LIST):
                return f"{member.integer()}"
    except BenchError:
        pass
    return ""


def _outcome(function: Function, response: bytes) -> str:
    if not response:
        return "no data"
    match function.tag:
        case Tag.GET_EID:
            return eid_to_text(eid(response))
        case Tag.GET_PROFILES_INFO:
            profiles = profile_infos(response)
            enabled = [p for p in profiles if p.enabled and p.iccid]
            text = f"{len(profiles)} profiles"
            return text + (f", {iccid_to_text(enabled[0].iccid or b'')} enabled" if enabled else "")
        case Tag.LIST_NOTIFICATION:
            return f"{len(notification_list(response))} notifications"
        case Tag.RETRIEVE_NOTIFICATIONS_LIST:
            return f"{len(pending_notifications(response))} notifications"
        case Tag.AUTHENTICATE_SERVER | Tag.PREPARE_DOWNLOAD | Tag.CANCEL_SESSION:
            error = error_code(response)
            return "ok" if error is None else error[2]
        case _ if function.results.get(0) == "ok":
            return result_code(response)[1]
    return f"{len(response)} bytes"
