"""What SGP.32 adds to objects of SGP.22 and to SELECT: EUICCInfo2, ProfileInfo, metadata, the FCI, TERMINAL CAPABILITY.

The objects themselves are read by ``es10_results`` and ``metadata``, which pass the added members over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.es10_results import EuiccInfo2, ProfileInfo, profile_infos, version_text
from esim_bench.codec.sgp32 import (
    OCTET_STRING,
    Version,
    boolean,
    boolean_of,
    flag,
    flag_of,
    integer,
    named_bits,
    names_of,
    open_object,
    sized,
)
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

IPA_MODES: Final = {0: "ipad", 1: "ipae"}
_INFO2_TAGS: Final = (0x90, 0xB1, 0x92, 0x93, 0xB4, 0x95)
_ECALL_INDICATION, _FALLBACK_ATTRIBUTE, _FALLBACK_ALLOWED, _IOT_SPECIFIC = 0x9F7B, 0x9F26, 0x9F67, 0xBF64
_ISDR_TEMPLATE: Final = 0xE1
_EUICC_CONFIGURATION: Final = ("ipaeSupported", "enabledProfile")


@dataclass(frozen=True, slots=True)
class IotSpecificInfo:
    """What of SGP.32 an eUICC can do (B4)."""

    versions: tuple[bytes, ...] = (Version.V1_2.octets,)
    """SGP.32 versions, 3 bytes each; at least one."""
    ecall: bool = False
    fallback: bool = False
    fallback_allowed_update: bool = False
    """v1.3."""

    def encode(self, tag: int = 0xB4, version: Version = Version.V1_2) -> bytes:
        """Return the object, under SEQUENCE's 30 where it stands alone. Raises CodecError."""
        if not self.versions:
            raise CodecError("iotVersion", where="IoTSpecificInfo", expected="at least one")
        if version < Version.V1_2 and (self.ecall or self.fallback):
            raise CodecError("IoTSpecificInfo", expected="versions alone in v1.0", found="ecall or fallback")
        if version < Version.V1_3 and self.fallback_allowed_update:
            raise CodecError("fallbackAllowedUpdateSupported", expected="v1.3", found=version.text)
        versions = [tlv.encode(OCTET_STRING, sized(one, "iotVersion", 3)) for one in self.versions]
        flags = flag(0x81, self.ecall) + flag(0x82, self.fallback) + flag(0x83, self.fallback_allowed_update)
        return tlv.encode(tag, tlv.encode(0xA0, *versions), flags)

    @classmethod
    def parse(cls, item: Tlv) -> IotSpecificInfo:
        """Read it under whichever tag. Raises CodecError."""
        versions = tuple(sized(one.value, "iotVersion", 3) for one in item.get(0xA0).children())
        flags = [flag_of(item.find(tag), "IoTSpecificInfo") for tag in (0x81, 0x82, 0x83)]
        return cls(versions, *flags)

    @property
    def version_texts(self) -> tuple[str, ...]:
        """Return the versions as texts, e.g. "1.2.0"."""
        return tuple(version_text(one) for one in self.versions)


@dataclass(frozen=True, slots=True)
class IotEuiccInfo2:
    """The members that SGP.32 adds to EUICCInfo2; None where the eUICC does not tell."""

    ipa_mode: int | None = None
    """The active IPA, of IPA_MODES."""
    signing_v3: tuple[bytes, ...] | None = None
    """CI key identifiers."""
    additional_info: bytes | None = None
    highest_svn: bytes | None = None
    iot: IotSpecificInfo | None = None
    minimum_security_level: bytes | None = None
    """v1.3, as it came."""

    @property
    def ipa_mode_name(self) -> str:
        """Return "ipad", "ipae" or "" where it is not told."""
        return "" if self.ipa_mode is None else IPA_MODES.get(self.ipa_mode, f"unknown {self.ipa_mode}")

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the members, one after the other, to stand at the end of EUICCInfo2. Raises CodecError."""
        members = b""
        if self.ipa_mode is not None:
            if self.ipa_mode not in IPA_MODES:
                raise CodecError("ipaMode", where="EUICCInfo2", expected="0 or 1", found=self.ipa_mode)
            members += integer(0x90, self.ipa_mode)
        if self.signing_v3 is not None:
            members += tlv.encode(0xB1, *(tlv.encode(OCTET_STRING, key) for key in self.signing_v3))
        if self.additional_info is not None:
            members += tlv.encode(0x92, sized(self.additional_info, "additionalEuiccInfo", 0, 32))
        if self.highest_svn is not None:
            members += tlv.encode(0x93, sized(self.highest_svn, "highestSvn", 3))
        if self.iot is not None:
            members += self.iot.encode(version=version)
        if self.minimum_security_level is not None:
            if version < Version.V1_3:
                raise CodecError("euiccMinimumSecurityLevel", expected="v1.3", found=version.text)
            members += tlv.encode(0x95, self.minimum_security_level)
        return members

    def added_to(self, info2: bytes, version: Version = Version.V1_2) -> bytes:
        """Return an EUICCInfo2 (BF22) with these members in place of its own ones. Raises CodecError."""
        item = open_object(info2, 0xBF22, "EUICCInfo2")
        kept = [child.raw for child in item.children() if child.tag not in _INFO2_TAGS]
        return tlv.encode(0xBF22, *kept, self.encode(version))

    @classmethod
    def parse(cls, info2: EuiccInfo2 | bytes) -> IotEuiccInfo2:
        """Read them from an EUICCInfo2. Raises CodecError."""
        raw = info2.raw if isinstance(info2, EuiccInfo2) else info2
        found = {child.tag: child for child in open_object(raw, 0xBF22, "EUICCInfo2").children()}
        mode, keys, additional, highest, iot, level = (found.get(tag) for tag in _INFO2_TAGS)
        return cls(
            ipa_mode=mode.integer() if mode else None,
            signing_v3=tuple(key.value for key in keys.children()) if keys else None,
            additional_info=additional.value if additional else None,
            highest_svn=sized(highest.value, "highestSvn", 3) if highest else None,
            iot=IotSpecificInfo.parse(iot) if iot else None,
            minimum_security_level=level.value if level else None,
        )


# ------------------------------------------------------------------------------------------------------------- profiles


@dataclass(frozen=True, slots=True)
class IotProfileMembers:
    """What SGP.32 adds to a profile's metadata (BF25) and to ProfileInfo (E3)."""

    ecall_indication: bool | None = None
    """9F7B: true for the Emergency Profile."""
    fallback_attribute: bool = False
    """9F26: this is the Fallback Profile; not in metadata."""
    fallback_allowed: bool | None = None
    """9F67: it may become the Fallback Profile."""
    iot_specific: bytes | None = field(default=None, repr=False)
    """Content of iotSpecificProfileInfo, BF64."""

    def encode(self) -> bytes:
        """Return the members, one after the other, to stand at the end of a BF25 or E3."""
        members = b""
        if self.ecall_indication is not None:
            members += boolean(_ECALL_INDICATION, self.ecall_indication)
        if self.fallback_attribute:
            members += boolean(_FALLBACK_ATTRIBUTE, True)
        if self.fallback_allowed is not None:
            members += boolean(_FALLBACK_ALLOWED, self.fallback_allowed)
        if self.iot_specific is not None:
            members += tlv.encode(_IOT_SPECIFIC, self.iot_specific)
        return members

    def added_to(self, raw: bytes) -> bytes:
        """Return a BF25 or E3 with these members in place of its own ones. Raises CodecError."""
        own = (_ECALL_INDICATION, _FALLBACK_ATTRIBUTE, _FALLBACK_ALLOWED, _IOT_SPECIFIC)
        item = tlv.parse(raw, "profile metadata")
        kept = [child.raw for child in item.children() if child.tag not in own]
        return tlv.encode(item.tag, *kept, self.encode())

    @classmethod
    def parse(cls, raw: bytes) -> IotProfileMembers:
        """Read them from a BF25 or E3. Raises CodecError."""
        item = tlv.parse(raw, "profile metadata")
        if item.tag not in (0xBF25, 0xE3):
            raise CodecError("wrong tag", where="profile metadata", expected="BF25 or E3", found=f"{item.tag:X}")
        found = {child.tag: child for child in item.children()}
        ecall, allowed = found.get(_ECALL_INDICATION), found.get(_FALLBACK_ALLOWED)
        attribute, specific = found.get(_FALLBACK_ATTRIBUTE), found.get(_IOT_SPECIFIC)
        return cls(
            boolean_of(ecall, "ecallIndication") if ecall else None,
            boolean_of(attribute, "fallbackAttribute") if attribute else False,
            boolean_of(allowed, "fallbackAllowed") if allowed else None,
            specific.value if specific else None,
        )


@dataclass(frozen=True, slots=True)
class IotProfileInfo:
    """One profile of GetProfilesInfo or listProfileInfo, with SGP.32's members."""

    profile: ProfileInfo
    iot: IotProfileMembers


def iot_profile_infos(profiles: bytes) -> list[IotProfileInfo]:
    """Read E3s, one after the other (the content of a listProfileInfo result). Raises CodecError."""
    read = profile_infos(tlv.encode(0xBF2D, tlv.encode(0xA0, profiles)))
    members = [IotProfileMembers.parse(item.raw) for item in tlv.parse_all(profiles, "profile list")]
    return [IotProfileInfo(profile, iot) for profile, iot in zip(read, members, strict=True)]


# ----------------------------------------------------------------------------------------------- at the start of a card


@dataclass(frozen=True, slots=True)
class IsdrConfiguration:
    """What SELECT of the ISD-R tells of SGP.32 (E1, ISDRProprietaryApplicationTemplateIoT)."""

    ipae_supported: bool = False
    enabled_profile: bool = False
    """A profile is enabled."""

    def encode(self) -> bytes:
        """Return the E1."""
        names = [
            name
            for name, value in zip(_EUICC_CONFIGURATION, (self.ipae_supported, self.enabled_profile), strict=True)
            if value
        ]
        return tlv.encode(_ISDR_TEMPLATE, named_bits(0x80, names, _EUICC_CONFIGURATION, "euiccConfiguration"))

    @classmethod
    def from_fci(cls, fci: bytes) -> IsdrConfiguration | None:
        """Find it in an FCI (6F), under A5 on some cards; None: no SGP.32. Raises CodecError."""
        item = tlv.parse(fci, "FCI")
        found = item.find(_ISDR_TEMPLATE) or item.find(0xA5, _ISDR_TEMPLATE)
        if found is None:
            return None
        names = names_of(found.get(0x80), _EUICC_CONFIGURATION, "euiccConfiguration")
        return cls("ipaeSupported" in names, "enabledProfile" in names)


TERMINAL_CAPABILITY: Final = 0xA9
_IPA_SUPPORT: Final = 0x84


def terminal_capability(ipad: bool = True) -> bytes:
    """Return TERMINAL CAPABILITY's data of an IoT device: bit b1 of 84 claims an IPA in the device (3.8.2)."""
    return tlv.encode(TERMINAL_CAPABILITY, tlv.encode(_IPA_SUPPORT, b"\x01" if ipad else b"\x00"))


def claims_ipad(data: bytes) -> bool:
    """Tell whether TERMINAL CAPABILITY's data claim an IPA in the device: no IPAe may start. Raises CodecError."""
    found = tlv.parse(data, "TERMINAL CAPABILITY")
    support = found.find(_IPA_SUPPORT) if found.tag == TERMINAL_CAPABILITY else None
    return support is not None and bool(support.value) and bool(support.value[0] & 1)
