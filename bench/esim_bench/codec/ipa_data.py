"""IpaEuiccData: what an eIM asks an IPA of the eUICC and of itself (BF52, SGP.32 2.11.1.2 and 2.11.2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.es10_iot_answers import Retrieved, retrieved, retrieved_both
from esim_bench.codec.notification_search import Search, search_of
from esim_bench.codec.sgp32 import (
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    Members,
    Version,
    certificate_of,
    choice,
    integer,
    name_of,
    named_bits,
    names_of,
    open_object,
    retagged,
    text_of,
    transaction_id,
    transaction_id_of,
    utf8,
)
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

TAG: Final = 0xBF52
ERRORS: Final = {1: "incorrectTagList", 5: "euiccCiPKIdNotFound", 104: "ecallActive", 127: "undefinedError"}
"""IpaEuiccDataErrorCode; ecallActive since v1.1."""
TAGS: Final[Mapping[int, str]] = {
    0xA0: "notificationsList",
    0x81: "defaultSmdpAddress",
    0xA2: "euiccPackageResultList",
    0xBF20: "euiccInfo1",
    0xBF22: "euiccInfo2",
    0x83: "rootSmdsAddress",
    0x84: "associationToken",
    0xA5: "eumCertificate",
    0xA6: "euiccCertificate",
    0x87: "eimTransactionId",
    0xA8: "ipaCapabilities",
    0xA9: "deviceInfo",
}
"""What may stand in a tag list. The list of profiles may not: it is got by a PSMO."""
TAGS_1_0: Final[Mapping[int, str]] = {
    0x80: "defaultSmdpAddress",
    0xBF20: "euiccInfo1",
    0xBF22: "euiccInfo2",
    0x83: "rootSmdsAddress",
    0x84: "associationToken",
    0xA5: "eumCertificate",
    0xA6: "euiccCertificate",
    0xA8: "ipaCapabilities",
    0xA9: "deviceInfo",
    0xBF2B: "notificationsList",
}
"""The same in v1.0; package results are part of notificationsList."""
FEATURES: Final = (
    "directRspServerCommunication",
    "indirectRspServerCommunication",
    "eimDownloadDataHandling",
    "eimCtxParams1Generation",
    "eimProfileMetadataVerification",
    "minimizeEsipaBytes",
)
"""ipaFeatures, bit 0 first."""
PROTOCOLS: Final = (
    "ipaRetrieveHttps",
    "ipaRetrieveCoaps",
    "ipaInjectHttps",
    "ipaInjectCoaps",
    "ipaProprietary",
)
"""ipaSupportedProtocols, bit 0 first."""
_WHERE: Final = "IpaEuiccData"


def allowed_tags(version: Version = Version.V1_2) -> Mapping[int, str]:
    """Return what a tag list may ask for in a version: tag -> name of the member."""
    return TAGS if version >= Version.V1_2 else TAGS_1_0


@dataclass(frozen=True, slots=True)
class IpaEuiccDataRequest:
    """A request for data."""

    tags: tuple[int, ...]
    ci_pk_id: bytes | None = None
    """Key identifier of a CI, possibly truncated: whose certificates are meant."""
    notifications: Search | None = None
    """Which notifications; v1.0 knows ``package_results`` here as well, later ones do not."""
    package_results_seq: int | None = None
    """Which EuiccPackageResult (v1.1)."""
    transaction_id: bytes | None = None
    """v1.1."""

    def wrong_tags(self, version: Version = Version.V1_2) -> tuple[int, ...]:
        """Return the tags that make the list an incorrectTagList."""
        return tuple(tag for tag in self.tags if tag not in allowed_tags(version))

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the BF52. Raises CodecError for what the version does not have; tags are sent as they are."""
        old = version < Version.V1_2
        if old and (self.package_results_seq is not None or self.transaction_id is not None):
            raise CodecError("search for a package result, eimTransactionId", where=_WHERE, expected="v1.1 or later")
        search = self.notifications.encode() if self.notifications else b""
        if self.notifications and self.notifications.package_results and not old:
            raise CodecError("search criteria", where=_WHERE, expected="a number or events", found="package results")
        return tlv.encode(
            TAG,
            tlv.encode(0x5C, *(tlv.tag_bytes(tag) for tag in self.tags)),
            tlv.encode(OCTET_STRING, self.ci_pk_id) if self.ci_pk_id is not None else b"",
            tlv.encode(0xA1, search) if search else b"",
            tlv.encode(0xA2, integer(0x80, self.package_results_seq)) if self.package_results_seq is not None else b"",
            transaction_id(0x83, self.transaction_id),
        )

    @classmethod
    def parse(cls, raw: bytes) -> IpaEuiccDataRequest:
        """Read a BF52 of any version. Raises CodecError."""
        members = Members.of(raw, TAG, "IpaEuiccDataRequest")
        tags = _tag_list(members.take(0x5C).value)
        ci_pk_id = members.optional(OCTET_STRING)
        search, results = members.optional(0xA1), members.optional(0xA2)
        transaction = transaction_id_of(members.optional(0x83))
        members.end()
        return cls(
            tags,
            ci_pk_id.value if ci_pk_id else None,
            search_of(choice(search, "searchCriteriaNotification")) if search else None,
            choice(results, "searchCriteriaEuiccPackageResult", 0x80).integer() if results else None,
            transaction,
        )


def _tag_list(data: bytes) -> tuple[int, ...]:
    tags, start = [], 0
    while start < len(data):
        end = start + 1
        if data[start] & 0x1F == 0x1F:
            while end < len(data) and data[end] & 0x80:
                end += 1
            end += 1
        if end > len(data) or end - start > tlv.MAX_TAG_BYTES:
            raise CodecError("tag list", where=_WHERE, expected="whole tags", found=data[start : start + 8].hex())
        tags.append(int.from_bytes(data[start:end], "big"))
        start = end
    return tuple(tags)


@dataclass(frozen=True, slots=True)
class IpaCapabilities:
    """What an IPA can do."""

    features: tuple[str, ...] = ()
    """Of FEATURES."""
    protocols: tuple[str, ...] | None = None
    """Of PROTOCOLS."""
    proprietary: bytes | None = None
    """Content of A2 (v1.3)."""

    def encode(self, version: Version = Version.V1_2, tag: int = SEQUENCE) -> bytes:
        """Return the object. Raises CodecError."""
        if self.proprietary is not None and version < Version.V1_3:
            raise CodecError("proprietary protocol", where="IpaCapabilities", expected="v1.3", found=version.text)
        members = named_bits(0x80, self.features, FEATURES, "ipaFeatures")
        if self.protocols is not None:
            members += named_bits(0x81, self.protocols, PROTOCOLS, "ipaSupportedProtocols")
        if self.proprietary is not None:
            members += tlv.encode(0xA2, self.proprietary)
        return tlv.encode(tag, members)

    @classmethod
    def parse(cls, item: Tlv) -> IpaCapabilities:
        """Read it under whichever tag. Raises CodecError."""
        members = Members(item, "IpaCapabilities")
        features = names_of(members.take(0x80), FEATURES, "ipaFeatures")
        protocols, proprietary = members.optional(0x81), members.optional(0xA2)
        members.end()
        return cls(
            features,
            names_of(protocols, PROTOCOLS, "ipaSupportedProtocols") if protocols else None,
            proprietary.value if proprietary else None,
        )


@dataclass(frozen=True, slots=True)
class IpaEuiccData:
    """The data; None where a member was not asked for. Objects are whole and as they came."""

    notifications: tuple[bytes, ...] | None = None
    """BF37, 30, or compact ones (A0, A1)."""
    default_smdp_address: str | None = None
    package_results: tuple[bytes, ...] | None = None
    """BF51."""
    euicc_info1: bytes | None = None
    euicc_info2: bytes | None = None
    root_smds_address: str | None = None
    association_token: int | None = None
    eum_certificate: bytes | None = field(default=None, repr=False)
    """DER; on the way A5 stands in place of its 30."""
    euicc_certificate: bytes | None = field(default=None, repr=False)
    """DER; on the way A6 stands in place of its 30."""
    transaction_id: bytes | None = None
    capabilities: IpaCapabilities | None = None
    device_info: bytes | None = None
    """DeviceInfo with its 30, as ``es10.device_info`` makes it."""

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the BF52. Raises CodecError."""
        old = version < Version.V1_2
        if old and self.transaction_id is not None:
            raise CodecError("eimTransactionId", where=_WHERE, expected="v1.1 or later", found=version.text)
        address = self.default_smdp_address
        members = [] if old else _listed(0xA0, self.notifications)
        if address is not None:
            members.append(utf8(0x80 if old else 0x81, address, "defaultSmdpAddress"))
        members += [] if old else _listed(0xA2, self.package_results)
        if self.euicc_info1 is not None:
            members.append(open_object(self.euicc_info1, 0xBF20, "EUICCInfo1").raw)
        if self.euicc_info2 is not None:
            members.append(open_object(self.euicc_info2, 0xBF22, "EUICCInfo2").raw)
        if self.root_smds_address is not None:
            members.append(utf8(0x83, self.root_smds_address, "rootSmdsAddress"))
        if self.association_token is not None:
            members.append(integer(0x84, self.association_token))
        if self.eum_certificate is not None:
            members.append(retagged(0xA5, self.eum_certificate, "EUM certificate"))
        if self.euicc_certificate is not None:
            members.append(retagged(0xA6, self.euicc_certificate, "eUICC certificate"))
        members.append(transaction_id(0x87, self.transaction_id))
        if self.capabilities is not None:
            members.append(self.capabilities.encode(version, 0xA8))
        if self.device_info is not None:
            members.append(retagged(0xA9, self.device_info, "DeviceInfo"))
        if old:
            members.append(_notifications_1_0(self.notifications, self.package_results))
        return tlv.encode(TAG, tlv.encode(0xA0, *members))


def _listed(tag: int, items: Sequence[bytes] | None) -> list[bytes]:
    return [] if items is None else [tlv.encode(tag, *items)]


def _notifications_1_0(notifications: Sequence[bytes] | None, results: Sequence[bytes] | None) -> bytes:
    if notifications is not None and results is not None:
        return retrieved_both(Retrieved(tuple(notifications), tuple(results)))
    if notifications is None and results is None:
        return b""
    arm = _listed(0xA0, notifications) + _listed(0xA2, results)
    return tlv.encode(0xBF2B, *arm)


@dataclass(frozen=True, slots=True)
class IpaEuiccDataError:
    """The request could not be served."""

    code: int
    """Of ERRORS."""
    transaction_id: bytes | None = None

    @property
    def name(self) -> str:
        """Return the standard's name of the code."""
        return name_of(ERRORS, self.code)

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the BF52; v1.0 has the code alone. Raises CodecError."""
        old = version < Version.V1_2
        if self.code not in ERRORS or (old and (self.code == 104 or self.transaction_id is not None)):
            where = f"IpaEuiccDataError, v{version.text}"
            raise CodecError("error code", where=where, expected=", ".join(map(str, ERRORS)), found=self.code)
        if old:
            return tlv.encode(TAG, integer(0x81, self.code))
        error = transaction_id(0x80, self.transaction_id) + integer(INTEGER, self.code)
        return tlv.encode(TAG, tlv.encode(0xA1, error))


def parse_response(raw: bytes) -> IpaEuiccData | IpaEuiccDataError:
    """Read an IpaEuiccDataResponse of any version. Raises CodecError."""
    arm = choice(open_object(raw, TAG, "IpaEuiccDataResponse"), "IpaEuiccDataResponse", 0xA0, 0xA1, 0x81)
    if arm.tag == 0x81:
        return IpaEuiccDataError(arm.integer())
    members = Members(arm, _WHERE)
    if arm.tag == 0xA1:
        transaction = transaction_id_of(members.optional(0x80))
        code = members.take(INTEGER).integer()
        members.end()
        return IpaEuiccDataError(code, transaction)
    notifications = members.optional(0xA0)
    address = members.optional(0x81, 0x80)
    results = members.optional(0xA2)
    info1, info2 = members.optional(0xBF20), members.optional(0xBF22)
    smds, token = members.optional(0x83), members.optional(0x84)
    eum, euicc = members.optional(0xA5), members.optional(0xA6)
    transaction = transaction_id_of(members.optional(0x87))
    capabilities, device = members.optional(0xA8), members.optional(0xA9)
    list_1_0 = members.optional(0xBF2B)
    members.end()
    waiting = _raw(notifications)
    package_results = _raw(results)
    if list_1_0 is not None:
        both = retrieved(list_1_0.raw)
        waiting = waiting or both.notifications or None
        package_results = package_results or both.package_results or None
    return IpaEuiccData(
        notifications=waiting,
        default_smdp_address=text_of(address, "defaultSmdpAddress") if address else None,
        package_results=package_results,
        euicc_info1=info1.raw if info1 else None,
        euicc_info2=info2.raw if info2 else None,
        root_smds_address=text_of(smds, "rootSmdsAddress") if smds else None,
        association_token=token.integer() if token else None,
        eum_certificate=certificate_of(eum, "EUM certificate") if eum else None,
        euicc_certificate=certificate_of(euicc, "eUICC certificate") if euicc else None,
        transaction_id=transaction,
        capabilities=IpaCapabilities.parse(capabilities) if capabilities else None,
        device_info=tlv.encode(SEQUENCE, device.value) if device else None,
    )


def _raw(item: Tlv | None) -> tuple[bytes, ...] | None:
    return None if item is None else tuple(child.raw for child in item.children())
