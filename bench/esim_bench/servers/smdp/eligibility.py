"""Whether a profile can be installed on an eUICC, judged before the download (SGP.22 Annex F, SAIP profile header)."""

from __future__ import annotations

from typing import Final

from esim_bench.codec import tlv
from esim_bench.servers.smdp.messages import EuiccInfo2, bit, expect, integer
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

PPR1, PPR2 = 1, 2
"""Bits of PprIds: disabling, deletion not allowed."""


def check_eligible(upp: bytes, metadata: bytes, info: EuiccInfo2) -> None:
    """Check an eUICC against a profile. Raises StatusError 8.2.5/4.3 that names what is missing, 8.1/4.8 for memory."""
    header = expect(tlv.parse_prefix(upp, 0, "of the profile header"), 0xA0, "profile header")
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
    if missing:
        raise StatusError(NOT_ELIGIBLE, f"the eUICC lacks {', '.join(missing)}")
    rules = tlv.parse(metadata).find(0x99)
    wanted = rules.value[1:] if rules else b""
    if any(bit(wanted, rule) and bit(info.forbidden_pprs, rule) for rule in (PPR1, PPR2)):
        raise StatusError(NOT_ELIGIBLE, "a profile policy rule is forbidden on this eUICC")
    if info.free_memory is not None and info.free_memory < len(upp):
        raise StatusError(NO_SPACE, f"{len(upp)} bytes of profile, {info.free_memory} bytes free")
