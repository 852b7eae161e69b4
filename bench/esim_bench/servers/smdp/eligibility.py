"""Whether a profile can be installed on an eUICC, judged before the download (SGP.22 Annex F, SAIP profile header)."""

from __future__ import annotations

from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.tlv import Tlv
from esim_bench.servers.smdp.messages import EuiccInfo2, Members, bit, expect, integer
from esim_bench.servers.smdp.status import NO_SPACE, NOT_ELIGIBLE, StatusError

SERVICES: Final = (
    ("contactless", 0),
    ("usim", 1),
    ("isim", 2),
    ("csim", 3),
    ("milenage", 4),
    ("tuak128", 6),
    ("cave", 5),
    ("gba-usim", 10),
    ("gba-isim", 11),
    ("mbms", 12),
    ("eap", 13),
    ("javacard", 14),
    ("multos", 15),
    ("multiple-usim", 16),
    ("multiple-isim", 17),
    ("multiple-csim", 18),
    ("tuak256", 7),
    ("usim-test-algorithm", 8),
    ("ber-tlv", 19),
    ("dfLink", 20),
    ("cat-tp", 21),
    ("get-identity", 22),
    ("profile-a-x25519", 23),
    ("profile-b-p256", 24),
    ("suciCalculatorApi", 25),
    ("dns-resolution", 26),
    ("scp11ac", 27),
    ("scp11c-authorization-mechanism", 28),
    ("s16mode", 29),
    ("eaka", 30),
)
"""eUICC-Mandatory-services by their tag in the profile header, each with its bit of UICCCapability: the two lists have
different orders."""

TEMPLATES: Final = bytes.fromhex("678F0102")
"""2.23.143.1.2, the arc of the file templates in a package."""
TEMPLATE_NEEDS: Final = {4: 1, 5: 1, 6: 1, 7: 1, 13: 1, 14: 1, 15: 1, 16: 1, 18: 1, 8: 2, 9: 2, 10: 3, 11: 3, 12: 13}
"""Templates (first number below the arc) that extend an application, each with its bit of UICCCapability."""
DEVICE_SIZES: Final = {0x80: 4, 0x82: 8}
"""Bytes of TAC and IMEI."""
LAST_RELEASE: Final = 0x8B
"""Of DeviceCapabilities: 80 to 8B are versions."""

PPR1, PPR2 = 1, 2
"""Bits of PprIds: disabling, deletion not allowed."""


def check_eligible(upp: bytes, metadata: bytes, info: EuiccInfo2, device: Tlv | None) -> None:
    """Check an eUICC and its device against a profile.

    Raises StatusError 8.2.5/4.3 that names what is missing, 8.1/4.8 for memory.
    """
    _check_device(device)
    header = Members(expect(tlv.parse_prefix(upp, 0, "of the profile header"), 0xA0, "profile header"))
    major, minor = integer(header.get(0x80), "major-version"), integer(header.get(0x81), "minor-version")
    if not any(own[0] == major and own[1] >= minor for own in info.profile_versions):
        raise StatusError(NOT_ELIGIBLE, f"profile package version {major}.{minor} is not supported")
    missing = []
    for service in header.get(0xA5).children():
        number = service.tag & 0x1F
        # A service of a later edition than ours: the eUICC will judge it.
        if number < len(SERVICES):
            name, capability = SERVICES[number]
            if not bit(info.capabilities, capability):
                missing.append(name)
    templates = header.find(0xA6)
    for template in templates.children() if templates else ():
        if template.value.startswith(TEMPLATES) and not _has_template(template.value[len(TEMPLATES) :], info):
            missing.append("template " + ".".join(map(str, template.value[len(TEMPLATES) :])))
    if missing:
        raise StatusError(NOT_ELIGIBLE, f"the eUICC lacks {', '.join(missing)}")
    rules = tlv.parse(metadata).find(0x99)
    wanted = rules.value[1:] if rules else b""
    if any(bit(wanted, rule) and bit(info.forbidden_pprs, rule) for rule in (PPR1, PPR2)):
        raise StatusError(NOT_ELIGIBLE, "a profile policy rule is forbidden on this eUICC")
    if info.free_memory is not None and info.free_memory < len(upp):
        raise StatusError(NO_SPACE, f"{len(upp)} bytes of profile, {info.free_memory} bytes free")


def _has_template(number: bytes, info: EuiccInfo2) -> bool:
    """Tell whether an eUICC has what a template extends. EUICCInfo2 lists no templates; which of them an edition of the
    package format has, the check of its version tells."""
    capability = TEMPLATE_NEEDS.get(number[0]) if number else None
    return capability is None or bit(info.capabilities, capability)


def _check_device(device: Tlv | None) -> None:
    """Check the form of DeviceInfo (SGP.22 5.7.13). Raises StatusError 8.2.5/4.3."""
    members = {item.tag: item for item in device.children()} if device is not None else {}
    for tag, name in ((0x80, "tac"), (0xA1, "deviceCapabilities")):
        if tag not in members:
            raise StatusError(NOT_ELIGIBLE, f"deviceInfo without {name}")
    for tag, size in DEVICE_SIZES.items():
        if tag in members and len(members[tag].value) != size:
            found = len(members[tag].value)
            raise StatusError(NOT_ELIGIBLE, f"deviceInfo: {size} bytes expected in {tag:X}, {found} found")
    for item in members[0xA1].children():
        if item.tag <= LAST_RELEASE and len(item.value) != 3:
            raise StatusError(NOT_ELIGIBLE, f"deviceCapabilities: 3 bytes expected in {item.tag:X}")
