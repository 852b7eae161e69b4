"""What an eIM orders, operation by operation: PSMOs and eCOs, and the eUICC's result of each (SGP.32 2.11).

Objects are well-formed here; whether an order makes sense (a new eIM without a key, an eIM that is not known) is the
eUICC's to say, by a code of ``RESULTS``. Tags A8 and A9 mean different things in the two lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from esim_bench.codec import tlv
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.sgp32 import (
    ICCID_LENGTH,
    NULL,
    Members,
    Version,
    dotted_of,
    eim_id,
    eim_id_of,
    flag,
    flag_of,
    object_identifier,
    sized,
    text_of,
    utf8,
)
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

PROFILE_INFO_LIST: Final = 0xBF2D
SET_DEFAULT_DP_ADDRESS: Final = 0xBF65
_ICCID: Final = 0x5A


def _iccid(value: bytes, where: str) -> bytes:
    return tlv.encode(_ICCID, sized(value, f"iccid of {where}", ICCID_LENGTH))


def _iccid_of(members: Members) -> bytes:
    return sized(members.take(_ICCID).value, f"iccid of {members.where}", ICCID_LENGTH)


# ----------------------------------------------------------------------------------------------------------------- PSMO


@dataclass(frozen=True, slots=True)
class Enable:
    """Enable a profile; with ``rollback`` the one before may come back if the new one gives no connectivity."""

    NAME: ClassVar[str] = "enable"
    TAG: ClassVar[int] = 0xA3
    iccid: bytes
    rollback: bool = False

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the A3. Raises CodecError."""
        return tlv.encode(self.TAG, _iccid(self.iccid, self.NAME), flag(NULL, self.rollback))

    @classmethod
    def parse(cls, item: Tlv) -> Enable:
        """Read an A3. Raises CodecError."""
        members = Members(item, cls.NAME)
        iccid, rollback = _iccid_of(members), flag_of(members.optional(NULL), "rollbackFlag")
        members.end()
        return cls(iccid, rollback)


@dataclass(frozen=True, slots=True)
class Disable:
    """Disable a profile."""

    NAME: ClassVar[str] = "disable"
    TAG: ClassVar[int] = 0xA4
    iccid: bytes

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the A4. Raises CodecError."""
        return tlv.encode(self.TAG, _iccid(self.iccid, self.NAME))

    @classmethod
    def parse(cls, item: Tlv) -> Disable:
        """Read an A4. Raises CodecError."""
        members = Members(item, cls.NAME)
        return cls(_iccid_of(members))


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a profile."""

    NAME: ClassVar[str] = "delete"
    TAG: ClassVar[int] = 0xA5
    iccid: bytes

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the A5. Raises CodecError."""
        return tlv.encode(self.TAG, _iccid(self.iccid, self.NAME))

    @classmethod
    def parse(cls, item: Tlv) -> Delete:
        """Read an A5. Raises CodecError."""
        members = Members(item, cls.NAME)
        return cls(_iccid_of(members))


@dataclass(frozen=True, slots=True)
class ListProfileInfo:
    """List profiles; ``request`` is a ProfileInfoListRequest (BF2D) as of ES10c."""

    NAME: ClassVar[str] = "listProfileInfo"
    TAG: ClassVar[int] = PROFILE_INFO_LIST
    request: bytes = b"\xbf\x2d\x00"

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the BF2D. Raises CodecError."""
        self.parse(tlv.parse(self.request, self.NAME))
        return bytes(self.request)

    @classmethod
    def parse(cls, item: Tlv) -> ListProfileInfo:
        """Keep a BF2D. Raises CodecError."""
        if item.tag != cls.TAG:
            raise CodecError("wrong tag", where=cls.NAME, expected="BF2D", found=f"{item.tag:X}")
        members = Members(item, cls.NAME)
        members.optional(0xA0)
        members.optional(0x5C)
        members.end()
        return cls(item.raw)


@dataclass(frozen=True, slots=True)
class GetRat:
    """Get the Rules Authorisation Table."""

    NAME: ClassVar[str] = "getRAT"
    TAG: ClassVar[int] = 0xA6

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the A6."""
        return tlv.encode(self.TAG, b"")

    @classmethod
    def parse(cls, item: Tlv) -> GetRat:
        """Read an A6."""
        return cls()


@dataclass(frozen=True, slots=True)
class ConfigureImmediateEnable:
    """Say from which SM-DP+ a profile may be enabled at once (configureAutoEnable in v1.0)."""

    NAME: ClassVar[str] = "configureImmediateEnable"
    TAG: ClassVar[int] = 0xA7
    enabled: bool = False
    smdp_oid: str | None = None
    smdp_address: str | None = None

    def encode(self, version: Version = Version.V1_2, tag: int = 0xA7) -> bytes:
        """Return the A7, or under another tag the request of ES10b. Raises CodecError."""
        return tlv.encode(
            tag,
            flag(0x80, self.enabled),
            object_identifier(0x81, self.smdp_oid, "defaultSmdpOid") if self.smdp_oid is not None else b"",
            utf8(0x82, self.smdp_address, "defaultSmdpAddress") if self.smdp_address is not None else b"",
        )

    @classmethod
    def parse(cls, item: Tlv) -> ConfigureImmediateEnable:
        """Read the members of whichever tag. Raises CodecError."""
        members = Members(item, cls.NAME)
        enabled = flag_of(members.optional(0x80), "immediateEnableFlag")
        oid, address = members.optional(0x81), members.optional(0x82)
        members.end()
        return cls(
            enabled,
            dotted_of(oid, "defaultSmdpOid") if oid else None,
            text_of(address, "defaultSmdpAddress") if address else None,
        )


@dataclass(frozen=True, slots=True)
class SetFallbackAttribute:
    """Make a profile the Fallback Profile."""

    NAME: ClassVar[str] = "setFallbackAttribute"
    TAG: ClassVar[int] = 0xA8
    iccid: bytes

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the A8. Raises CodecError."""
        _check_version(self.NAME, version)
        return tlv.encode(self.TAG, _iccid(self.iccid, self.NAME))

    @classmethod
    def parse(cls, item: Tlv) -> SetFallbackAttribute:
        """Read an A8 of a psmoList. Raises CodecError."""
        members = Members(item, cls.NAME)
        return cls(_iccid_of(members))


@dataclass(frozen=True, slots=True)
class UnsetFallbackAttribute:
    """Leave no profile the Fallback Profile."""

    NAME: ClassVar[str] = "unsetFallbackAttribute"
    TAG: ClassVar[int] = 0xA9

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the A9. Raises CodecError."""
        _check_version(self.NAME, version)
        return tlv.encode(self.TAG, b"")

    @classmethod
    def parse(cls, item: Tlv) -> UnsetFallbackAttribute:
        """Read an A9 of a psmoList."""
        return cls()


@dataclass(frozen=True, slots=True)
class SetDefaultDpAddress:
    """Set the default SM-DP+ address."""

    NAME: ClassVar[str] = "setDefaultDpAddress"
    TAG: ClassVar[int] = SET_DEFAULT_DP_ADDRESS
    address: str

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the BF65. Raises CodecError."""
        _check_version(self.NAME, version)
        return tlv.encode(self.TAG, utf8(0x80, self.address, "defaultDpAddress"))

    @classmethod
    def parse(cls, item: Tlv) -> SetDefaultDpAddress:
        """Read a BF65. Raises CodecError."""
        members = Members(item, cls.NAME)
        return cls(text_of(members.take(0x80), "defaultDpAddress"))


# ------------------------------------------------------------------------------------------------------------------ eCO


@dataclass(frozen=True, slots=True)
class AddEim:
    """Associate an eIM."""

    NAME: ClassVar[str] = "addEim"
    TAG: ClassVar[int] = 0xA8
    configuration: EimConfigurationData

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the A8. Raises CodecError."""
        return self.configuration.encode(version, self.TAG)

    @classmethod
    def parse(cls, item: Tlv) -> AddEim:
        """Read an A8 of an ecoList. Raises CodecError."""
        return cls(EimConfigurationData.from_tlv(item))


@dataclass(frozen=True, slots=True)
class DeleteEim:
    """Forget an eIM."""

    NAME: ClassVar[str] = "deleteEim"
    TAG: ClassVar[int] = 0xA9
    eim_id: str

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the A9. Raises CodecError."""
        return tlv.encode(self.TAG, eim_id(self.eim_id))

    @classmethod
    def parse(cls, item: Tlv) -> DeleteEim:
        """Read an A9 of an ecoList. Raises CodecError."""
        members = Members(item, cls.NAME)
        return cls(eim_id_of(members.take(0x80)))


@dataclass(frozen=True, slots=True)
class UpdateEim:
    """Change what is known of an eIM: the members that are there."""

    NAME: ClassVar[str] = "updateEim"
    TAG: ClassVar[int] = 0xAA
    configuration: EimConfigurationData

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the AA. Raises CodecError."""
        return self.configuration.encode(version, self.TAG)

    @classmethod
    def parse(cls, item: Tlv) -> UpdateEim:
        """Read an AA. Raises CodecError."""
        return cls(EimConfigurationData.from_tlv(item))


@dataclass(frozen=True, slots=True)
class ListEim:
    """List the associated eIMs."""

    NAME: ClassVar[str] = "listEim"
    TAG: ClassVar[int] = 0xAB

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the AB."""
        return tlv.encode(self.TAG, b"")

    @classmethod
    def parse(cls, item: Tlv) -> ListEim:
        """Read an AB."""
        return cls()


@dataclass(frozen=True, slots=True)
class UnknownOperation:
    """An operation that is not known, not of this version, or damaged: processingTerminated 2 where it is reached.

    Its bytes are sent as they are.
    """

    NAME: ClassVar[str] = "unknown"
    raw: bytes
    reason: str = ""

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the bytes."""
        return bytes(self.raw)


Psmo = (
    Enable
    | Disable
    | Delete
    | ListProfileInfo
    | GetRat
    | ConfigureImmediateEnable
    | SetFallbackAttribute
    | UnsetFallbackAttribute
    | SetDefaultDpAddress
)
Eco = AddEim | DeleteEim | UpdateEim | ListEim
Operation = Psmo | Eco | UnknownOperation

PSMOS: Final[Mapping[int, type[Psmo]]] = {
    kind.TAG: kind
    for kind in (
        Enable,
        Disable,
        Delete,
        ListProfileInfo,
        GetRat,
        ConfigureImmediateEnable,
        SetFallbackAttribute,
        UnsetFallbackAttribute,
        SetDefaultDpAddress,
    )
}
ECOS: Final[Mapping[int, type[Eco]]] = {kind.TAG: kind for kind in (AddEim, DeleteEim, UpdateEim, ListEim)}
NEW_IN_1_1: Final = frozenset(("setFallbackAttribute", "unsetFallbackAttribute", "setDefaultDpAddress"))


def _check_version(name: str, version: Version) -> None:
    if version < Version.V1_2 and name in NEW_IN_1_1:
        raise CodecError(f"{name} does not exist in this version", expected="v1.1 or later", found=version.text)


def parse_psmo(item: Tlv, version: Version = Version.V1_2) -> Operation:
    """Read a member of a psmoList; never raises for one that is unknown or damaged."""
    return _parse(item, version, PSMOS)


def parse_eco(item: Tlv, version: Version = Version.V1_2) -> Operation:
    """Read a member of an ecoList; never raises for one that is unknown or damaged."""
    return _parse(item, version, ECOS)


def _parse(item: Tlv, version: Version, kinds: Mapping[int, type[Psmo] | type[Eco]]) -> Operation:
    kind = kinds.get(item.tag)
    if kind is None:
        return UnknownOperation(item.raw, f"no operation has the tag {item.tag:X}")
    try:
        _check_version(kind.NAME, version)
        return kind.parse(item)
    except CodecError as exc:
        return UnknownOperation(item.raw, str(exc))
