"""What an eUICC knows of a profile besides its files: StoreMetadata (SGP.22 5.5.3) as it was received."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from esim_bench.codec.tlv import Tlv, encode, parse
from esim_bench.errors import CodecError
from esim_drivers.sim import der
from esim_drivers.sim.personality import Operator

STORE_METADATA = 0xBF25
ICCID = 0x5A
SERVICE_PROVIDER = 0x91
PROFILE_NAME = 0x92
ICON_TYPE = 0x93
ICON = 0x94
CLASS = 0x95
NOTIFICATIONS = 0xB6
OWNER = 0xB7
POLICY_RULES = 0x99
SERVICE_DATA = 0xBF22
SERVICE_DATA_NOT_STORED = 0xBF23
ECALL_INDICATION = 0x9F7B
FALLBACK_ATTRIBUTE = 0x9F26
"""Of ProfileInfo only: the profile has it from its eIM, not from its metadata."""
FALLBACK_ALLOWED = 0x9F67


class ProfileClass(IntEnum):
    """ProfileClass (SGP.22, ASN.1)."""

    TEST = 0
    PROVISIONING = 1
    OPERATIONAL = 2


class Event(IntEnum):
    """NotificationEvent (SGP.22, ASN.1): positions of the named bits."""

    INSTALL = 0
    ENABLE = 1
    DISABLE = 2
    DELETE = 3


class PolicyRule(IntEnum):
    """PprIds (SGP.22, ASN.1): positions of the named bits."""

    UPDATE_CONTROL = 0
    PPR1_NO_DISABLE = 1
    PPR2_NO_DELETE = 2


@dataclass(frozen=True, slots=True)
class ProfileMetadata:
    """A checked StoreMetadataRequest; its members stay as the bytes that came."""

    raw: bytes
    """BF25 without serviceSpecificDataNotStoredInEuicc."""
    iccid: bytes
    """10 bytes as in EF.ICCID."""
    profile_class: ProfileClass
    policy_rules: tuple[int, ...]
    owner: Operator | None
    """The profile owner's mccMnc (3 bytes) and group identifiers (empty: none)."""
    notifications: tuple[tuple[tuple[int, ...], str], ...]
    """notificationConfigurationInfo: (event bits, address)."""
    members: dict[int, bytes]
    """Tag to the whole TLV, for ProfileInfo."""
    ecall: bool = False
    """ecallIndication (SGP.32): it is an Emergency Profile."""
    fallback_allowed: bool = False
    """fallbackAllowed (SGP.32): it may become the Fallback Profile."""

    def addresses(self, event: Event) -> list[str]:
        """Return the addresses that want to hear of an event, in the order of the metadata."""
        return [address for events, address in self.notifications if event in events]

    @classmethod
    def parse(cls, data: bytes) -> ProfileMetadata:
        """Check a StoreMetadataRequest. Raises CodecError."""
        request = parse(data, "StoreMetadata")
        if request.tag != STORE_METADATA:
            raise CodecError("StoreMetadata", expected="BF25", found=f"{request.tag:X}")
        stored = [child for child in request.children() if child.tag != SERVICE_DATA_NOT_STORED]
        found: dict[int, Tlv] = {}
        for child in stored:
            if child.tag in found:
                raise CodecError("StoreMetadata", expected=f"one {child.tag:X}", found="a second one")
            found[child.tag] = child
        for tag in (ICCID, SERVICE_PROVIDER, PROFILE_NAME):
            if tag not in found:
                raise CodecError("StoreMetadata", expected=f"{tag:X}", found="none")
        iccid = der.exactly(found[ICCID], 10)
        der.read_text(found[SERVICE_PROVIDER], 32)
        der.read_text(found[PROFILE_NAME], 64)
        if ICON in found and (ICON_TYPE not in found or len(found[ICON].value) > 1024):
            raise CodecError("icon", expected="at most 1024 bytes and an icon type", found=len(found[ICON].value))
        if ICON_TYPE in found and der.read_integer(found[ICON_TYPE]) not in (0, 1):
            raise CodecError("icon type", expected="0 or 1", found=found[ICON_TYPE].value.hex())
        profile_class = ProfileClass.OPERATIONAL
        if CLASS in found:
            try:
                profile_class = ProfileClass(der.read_integer(found[CLASS]))
            except ValueError as exc:
                raise CodecError("profile class", expected="0, 1 or 2", found=found[CLASS].value.hex()) from exc
        owner = None
        if OWNER in found:
            gids = [found[OWNER].find(tag) for tag in (0x81, 0x82)]
            groups = [gid.value if gid is not None else b"" for gid in gids]
            owner = Operator(der.exactly(found[OWNER].get(0x80), 3), *groups)
        return cls(
            raw=encode(STORE_METADATA, *(child.raw for child in stored)),
            iccid=iccid,
            profile_class=profile_class,
            policy_rules=der.read_bits(found[POLICY_RULES]) if POLICY_RULES in found else (),
            owner=owner,
            notifications=_notifications(found[NOTIFICATIONS]) if NOTIFICATIONS in found else (),
            members={child.tag: child.raw for child in stored},
            ecall=ECALL_INDICATION in found and der.read_boolean(found[ECALL_INDICATION]),
            fallback_allowed=FALLBACK_ALLOWED in found and der.read_boolean(found[FALLBACK_ALLOWED]),
        )


def _notifications(configuration: Tlv) -> tuple[tuple[tuple[int, ...], str], ...]:
    return tuple(
        (der.read_bits(entry.get(0x80)), der.read_text(entry.get(0x81), 255)) for entry in configuration.children()
    )
