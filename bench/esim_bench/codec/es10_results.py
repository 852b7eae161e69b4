"""Answers of the ISD-R as values (SGP.22 5.7). What was signed is kept as the bytes that came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from esim_bench.codec import tlv
from esim_bench.codec.identifiers import iccid_to_text
from esim_bench.codec.schema import RSP
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

EVENTS: Final = ("install", "enable", "disable", "delete")
"""NotificationEvent, bit 0 first."""
CLASSES: Final = {0: "test", 1: "provisioning", 2: "operational"}
STATES: Final = {0: "disabled", 1: "enabled"}

BPP_COMMANDS: Final = {
    0: "initialiseSecureChannel",
    1: "configureISDP",
    2: "storeMetadata",
    3: "storeMetadata2",
    4: "replaceSessionKeys",
    5: "loadProfileElements",
}
INSTALL_ERRORS: Final = {
    1: "incorrectInputValues",
    2: "invalidSignature",
    3: "invalidTransactionId",
    4: "unsupportedCrtValues",
    5: "unsupportedRemoteOperationType",
    6: "unsupportedProfileClass",
    7: "scp03tStructureError",
    8: "scp03tSecurityError",
    9: "installFailedDueToIccidAlreadyExistsOnEuicc",
    10: "installFailedDueToInsufficientMemoryForProfile",
    11: "installFailedDueToInterruption",
    12: "installFailedDueToPEProcessingError",
    13: "installFailedDueToDataMismatch",
    14: "testProfileInstallFailedDueToInvalidNaaKey",
    15: "pprNotAllowed",
    127: "installFailedDueToUnknownError",
}


def event_bits(events: Iterable[str]) -> tuple[bytes, int]:
    """Return a NotificationEvent as (bytes, bits), trailing zero bits left out (DER). Raises CodecError."""
    value, length = 0, 0
    for event in events:
        if event not in EVENTS:
            raise CodecError("no such notification event", expected=f"one of {', '.join(EVENTS)}", found=repr(event))
        index = EVENTS.index(event)
        value |= 0x80 >> index
        length = max(length, index + 1)
    return (bytes((value,)), length) if length else (b"", 0)


def events_of(bits: tuple[bytes, int]) -> tuple[str, ...]:
    """Return the events of a NotificationEvent."""
    return tuple(event for index, event in enumerate(EVENTS) if has_bit(bits, index))


def has_bit(bits: tuple[bytes, int], index: int) -> bool:
    """Tell whether a named bit of a BIT STRING is set."""
    data, length = bits
    return index < length and bool(data[index // 8] & (0x80 >> index % 8))


@dataclass(frozen=True, slots=True)
class ProfileInfo:
    """One entry of GetProfilesInfo (E3, 5.7.15); None where the eUICC did not tell."""

    iccid: bytes | None = None
    isdp_aid: bytes | None = None
    state: int | None = None
    nickname: str | None = None
    service_provider: str | None = None
    profile_name: str | None = None
    profile_class: int | None = None
    policy_rules: tuple[bytes, int] | None = None
    owner: bytes | None = None
    """MCC and MNC of the profile's owner, 3 bytes (TS 24.008 10.5.1.13)."""

    @property
    def enabled(self) -> bool:
        """Tell whether the profile is enabled."""
        return self.state == 1

    @property
    def state_name(self) -> str:
        """Return "enabled" or "disabled"."""
        return STATES.get(self.state if self.state is not None else -1, "unknown")

    @property
    def class_name(self) -> str:
        """Return "test", "provisioning" or "operational"."""
        return CLASSES.get(self.profile_class if self.profile_class is not None else -1, "unknown")


def profile_infos(response: bytes) -> list[ProfileInfo]:
    """Read the answer of GetProfilesInfo. Raises CodecError, also for its error branch."""
    name, value = RSP.decode("ProfileInfoListResponse", response)
    if name != "profileInfoListOk":
        raise CodecError("GetProfilesInfo failed", expected="a list", found=f"error {value}")
    return [
        ProfileInfo(
            iccid=item.get("iccid"),
            isdp_aid=item.get("isdpAid"),
            state=item.get("profileState"),
            nickname=item.get("profileNickname"),
            service_provider=item.get("serviceProviderName"),
            profile_name=item.get("profileName"),
            profile_class=item.get("profileClass"),
            policy_rules=item.get("profilePolicyRules"),
            owner=(item.get("profileOwner") or {}).get("mccMnc"),
        )
        for item in value
    ]


@dataclass(frozen=True, slots=True)
class TreProperties:
    """What the eUICC says of the tamper resistant element that it lives in (EUICCInfo2 8D)."""

    discrete: bool
    integrated: bool
    uses_remote_memory: bool


@dataclass(frozen=True, slots=True)
class EuiccInfo1:
    """EUICCInfo1 (BF20, 5.7.8): what an eUICC tells before anybody is authenticated."""

    raw: bytes
    svn: str
    """The SGP.22 version, e.g. "2.5.0"."""
    verification: tuple[bytes, ...]
    """Key identifiers of the CIs whose servers the eUICC accepts, the preferred first."""
    signing: tuple[bytes, ...]
    """Key identifiers of the CIs under which the eUICC signs, the preferred first."""

    @classmethod
    def parse(cls, response: bytes) -> EuiccInfo1:
        """Read the answer of GetEuiccInfo1. Raises CodecError."""
        answer = tlv.parse(response, "EUICCInfo1")
        if answer.tag != 0xBF20:
            raise CodecError("wrong answer", where="EUICCInfo1", expected="BF20", found=f"{answer.tag:X}")
        svn = answer.get(0x82).value
        if len(svn) != 3:
            raise CodecError("svn", where="EUICCInfo1", expected="3 bytes", found=f"{len(svn)} bytes")
        return cls(bytes(response), version_text(svn), _key_ids(answer.get(0xA9)), _key_ids(answer.get(0xAA)))


def _key_ids(item: Tlv) -> tuple[bytes, ...]:
    members = item.children()
    wrong = next((member for member in members if member.tag != 0x04), None)
    if wrong is not None:
        raise CodecError("list of CI key identifiers", where="EUICCInfo1", expected="04", found=f"{wrong.tag:X}")
    return tuple(member.value for member in members)


@dataclass(frozen=True, slots=True)
class EuiccInfo2:
    """EUICCInfo2 (BF22, 5.7.8)."""

    raw: bytes
    members: dict[str, Any]

    @classmethod
    def parse(cls, response: bytes) -> EuiccInfo2:
        """Read the answer of GetEuiccInfo2; members of later versions are passed over. Raises CodecError."""
        return cls(bytes(response), RSP.decode("EUICCInfo2", response))

    @property
    def svn_text(self) -> str:
        """Return the supported SGP.22 version, e.g. "2.5.0"."""
        return version_text(self.members["svn"])

    @property
    def firmware_text(self) -> str:
        """Return the firmware version."""
        return version_text(self.members["euiccFirmwareVer"])

    @property
    def tre(self) -> TreProperties | None:
        """Return the treProperties; None where the eUICC is too old to have them."""
        bits = self.members.get("treProperties")
        return TreProperties(has_bit(bits, 0), has_bit(bits, 1), has_bit(bits, 2)) if bits is not None else None

    @property
    def free_memory(self) -> int | None:
        """Return the free non-volatile memory in bytes, as far as the card tells (TS 102 226 8.2.1.7.2)."""
        try:
            found = next((t for t in tlv.parse_all(self.members["extCardResource"]) if t.tag == 0x82), None)
        except CodecError:
            return None
        return int.from_bytes(found.value, "big") if found and len(found.value) <= 8 else None

    @property
    def ci_keys(self) -> list[str]:
        """Return the key identifiers of the CIs whose servers the eUICC accepts, in hexadecimal."""
        return [key.hex().upper() for key in self.members["euiccCiPKIdListForVerification"]]

    def document(self) -> dict[str, Any]:
        """Return the members as JSON values."""
        tre = self.tre
        names = ("discrete", "integrated", "uses_remote_memory")
        return {
            "sgp22_version": self.svn_text,
            "profile_package_version": version_text(self.members["profileVersion"]),
            "firmware": self.firmware_text,
            "free_memory": self.free_memory,
            "tre_properties": [name for name in names if getattr(tre, name)] if tre else None,
            "tre_product_reference": self.members.get("treProductReference"),
            "ci_keys_verification": self.ci_keys,
            "ci_keys_signing": [key.hex().upper() for key in self.members["euiccCiPKIdListForSigning"]],
            "protection_profile_version": version_text(self.members["ppVersion"]),
            "sas_accreditation_number": self.members["sasAcreditationNumber"],
        }


def version_text(version: bytes) -> str:
    """Say a VersionType: "2.5.0"."""
    return ".".join(str(byte) for byte in version)


# ---------------------------------------------------------------------------------------------------------------- rules

POLICY_RULES: Final = ("pprUpdateControl", "ppr1", "ppr2")
"""PprIds, bit 0 first: ppr1 forbids to disable the profile, ppr2 to delete it."""


def rules_of(bits: tuple[bytes, int]) -> tuple[str, ...]:
    """Return the rules of a PprIds."""
    return tuple(rule for index, rule in enumerate(POLICY_RULES) if has_bit(bits, index))


@dataclass(frozen=True, slots=True)
class AuthorisationRule:
    """One entry of the Rules Authorisation Table: whose profiles may carry which policy rules (5.7.22)."""

    rules: tuple[str, ...]
    operators: tuple[tuple[bytes, bytes | None, bytes | None], ...]
    """MCC and MNC (3 bytes, a digit E stands for any), GID1, GID2 (none or empty: any)."""
    consent_required: bool

    def allows(self, rule: str, owner: tuple[bytes, bytes | None, bytes | None] | None) -> bool:
        """Tell whether a profile of an owner may carry a rule (SGP.22 2.9.2)."""
        return rule in self.rules and any(_is_of(operator, owner) for operator in self.operators)


def _is_of(
    operator: tuple[bytes, bytes | None, bytes | None], owner: tuple[bytes, bytes | None, bytes | None] | None
) -> bool:
    if owner is None:
        return False
    digits = zip(operator[0].hex(), owner[0].hex(), strict=False)
    groups = zip(operator[1:], owner[1:], strict=True)
    return all(wanted in ("e", digit) for wanted, digit in digits) and all(
        not wanted or wanted == group for wanted, group in groups
    )


def authorisation_table(response: bytes) -> list[AuthorisationRule]:
    """Read the answer of GetRAT. Raises CodecError."""
    return [
        AuthorisationRule(
            rules_of(entry["pprIds"]),
            tuple((one["mccMnc"], one.get("gid1"), one.get("gid2")) for one in entry["allowedOperators"]),
            has_bit(entry["pprFlags"], 0),
        )
        for entry in RSP.decode("GetRatResponse", response)["rat"]
    ]


# -------------------------------------------------------------------------------------------------------- notifications


@dataclass(frozen=True, slots=True)
class NotificationMetadata:
    """What a notification is about (BF2F, 5.7.9)."""

    seq: int
    operation: str
    address: str
    iccid: bytes | None = None

    @classmethod
    def from_members(cls, members: dict[str, Any]) -> NotificationMetadata:
        """Make it from decoded members. Raises CodecError unless exactly one event is named."""
        events = events_of(members["profileManagementOperation"])
        if len(events) != 1:
            raise CodecError("notification events", where="NotificationMetadata", expected="exactly one", found=events)
        return cls(members["seqNumber"], events[0], members["notificationAddress"], members.get("iccid"))


def notification_list(response: bytes) -> list[NotificationMetadata]:
    """Read the answer of ListNotification. Raises CodecError, also for its error branch."""
    name, value = RSP.decode("ListNotificationResponse", response)
    if name != "notificationMetadataList":
        raise CodecError("ListNotification failed", expected="a list", found=f"error {value}")
    return [NotificationMetadata.from_members(item) for item in value]


@dataclass(frozen=True, slots=True)
class InstallResult:
    """ProfileInstallationResult (BF37, 5.7.6)."""

    raw: bytes
    signed: bytes
    """The signed part, BF27, as it came."""
    signature: bytes
    transaction_id: bytes
    metadata: NotificationMetadata
    smdp_oid: str
    isdp_aid: bytes | None = None
    command: str | None = None
    """The BPP command that failed."""
    reason: str | None = None
    sima_response: bytes | None = None

    @property
    def success(self) -> bool:
        """Tell whether the profile was installed."""
        return self.isdp_aid is not None

    @classmethod
    def parse(cls, raw: bytes) -> InstallResult:
        """Read a BF37. Raises CodecError."""
        value = RSP.decode("ProfileInstallationResult", raw)
        data = value["profileInstallationResultData"]
        branch, final = data["finalResult"]
        shared = {
            "raw": bytes(raw),
            "signed": tlv.parse(raw).get(0xBF27).raw,
            "signature": value["euiccSignPIR"],
            "transaction_id": data["transactionId"],
            "metadata": NotificationMetadata.from_members(data["notificationMetadata"]),
            "smdp_oid": data["smdpOid"],
        }
        if branch == "successResult":
            return cls(**shared, isdp_aid=final["aid"], sima_response=final["simaResponse"])
        return cls(
            **shared,
            command=BPP_COMMANDS.get(final["bppCommandId"], str(final["bppCommandId"])),
            reason=INSTALL_ERRORS.get(final["errorReason"], str(final["errorReason"])),
            sima_response=final.get("simaResponse"),
        )


@dataclass(frozen=True, slots=True)
class PendingNotification:
    """A notification as the eUICC signed it: a ProfileInstallationResult or an OtherSignedNotification."""

    raw: bytes
    metadata: NotificationMetadata
    result: InstallResult | None = None

    @property
    def seq(self) -> int:
        """Return the sequence number."""
        return self.metadata.seq

    @property
    def operation(self) -> str:
        """Return the event: install, enable, disable or delete."""
        return self.metadata.operation

    @property
    def address(self) -> str:
        """Return where it is to be delivered."""
        return self.metadata.address

    @property
    def iccid(self) -> bytes | None:
        """Return the ICCID it is about."""
        return self.metadata.iccid

    @property
    def is_install_result(self) -> bool:
        """Tell whether it is a ProfileInstallationResult."""
        return self.result is not None

    @classmethod
    def parse(cls, item: Tlv) -> PendingNotification:
        """Read one BF37 or 30. Raises CodecError."""
        if item.tag == 0xBF37:
            result = InstallResult.parse(item.raw)
            return cls(item.raw, result.metadata, result)
        if item.tag == 0x30:
            members = item.children()
            if [member.tag for member in members[:2]] != [0xBF2F, 0x5F37]:
                raise CodecError("malformed OtherSignedNotification", expected="BF2F, 5F37, 30, 30")
            return cls(item.raw, _notification_metadata(members[0].raw))
        raise CodecError("unknown notification", expected="BF37 or 30", found=f"{item.tag:X}")

    def __str__(self) -> str:
        """Say it for people."""
        about = f" of {iccid_to_text(self.iccid)}" if self.iccid else ""
        return f"notification {self.seq}: {self.operation}{about} to {self.address}"


@lru_cache(maxsize=256)
def _notification_metadata(raw: bytes) -> NotificationMetadata:
    return NotificationMetadata.from_members(_usual_members(raw) or RSP.decode("NotificationMetadata", raw))


def _usual_members(raw: bytes) -> dict[str, Any] | None:
    """Return the members of a NotificationMetadata of the usual form, in a fraction of the schema's time.

    None for any other, whatever is the matter with it: that is for the schema to say.
    """
    try:
        item = tlv.parse(raw)
        members = item.children()
        if item.tag != 0xBF2F or [member.tag for member in members] != [0x80, 0x81, 0x0C, 0x5A]:
            return None
        seq, operation, address, iccid = (member.value for member in members)
        if not 1 <= len(seq) <= tlv.MAX_INTEGER or len(operation) != 2 or operation[0] > 7 or len(iccid) != 10:
            return None
        return {
            "seqNumber": int.from_bytes(seq, "big", signed=True),
            "profileManagementOperation": (operation[1:], 8 - operation[0]),
            "notificationAddress": address.decode(),
            "iccid": iccid,
        }
    except (CodecError, UnicodeDecodeError):
        return None


def pending_notifications(response: bytes) -> list[PendingNotification]:
    """Read the answer of RetrieveNotificationsList. Raises CodecError; an old card's "none" is an empty list."""
    answer = tlv.parse(response, "RetrieveNotificationsList")
    if answer.tag != 0xBF2B:
        raise CodecError("wrong answer", where="RetrieveNotificationsList", expected="BF2B", found=f"{answer.tag:X}")
    members = answer.children()
    if len(members) == 1 and members[0].tag == 0x81:
        if members[0].value == b"\x01":
            return []
        raise CodecError("RetrieveNotificationsList failed", expected="a list", found=f"error {members[0].value.hex()}")
    if len(members) != 1 or members[0].tag != 0xA0:
        raise CodecError("malformed answer", where="RetrieveNotificationsList", expected="A0 or 81", found=len(members))
    return [PendingNotification.parse(item) for item in members[0].children()]
