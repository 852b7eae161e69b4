"""Whether one eUICC can take a package, by what it says of itself (EUICCInfo2, SGP.22 5.7.8 and Annex H).

Which file templates an eUICC has is not in EUICCInfo2: that it tells only by refusing.
"""

from __future__ import annotations

from typing import Final

from esim_bench.codec.es10_results import EuiccInfo2
from esim_bench.codec.saip.lint.report import Report
from esim_bench.codec.saip.package import ProfilePackage

_ORDER: Final = (
    *("contactless", "usim", "isim", "csim", "milenage", "cave", "tuak128", "tuak256", "usim-test-algorithm", ""),
    *("gba-usim", "gba-isim", "mbms", "eap", "javacard", "multos", "multiple-usim", "multiple-isim", "multiple-csim"),
    *("ber-tlv", "dfLink", "cat-tp", "get-identity", "profile-a-x25519", "profile-b-p256", "suciCalculatorApi"),
    *("dns-resolution", "scp11ac", "scp11c-authorization-mechanism", "s16mode", "eaka"),
)
CAPABILITIES: Final = {name: number for number, name in enumerate(_ORDER) if name}
"""The bit of UICCCapability for each of the mandatory services: the two lists have different orders."""


def check(package: ProfilePackage, euicc: EuiccInfo2, report: Report) -> None:
    """Check a package against an eUICC."""
    header = package.elements[0]
    major, minor = package.version
    versions = [euicc.members["profileVersion"], *euicc.members.get("additionalEuiccProfilePackageVersions", ())]
    if not any(own[0] == major and own[1] >= minor for own in versions):
        report.add(
            "euicc-version",
            header,
            "the eUICC does not support the version",
            expected=" or ".join(f"{own[0]}.0 to {own[0]}.{own[1]}" for own in versions),
            found=f"{major}.{minor}",
        )
    data, count = euicc.members["uiccCapability"]
    missing = []
    for service in package.services:
        number = CAPABILITIES.get(service)
        if number is None or number >= count or not data[number // 8] >> (7 - number % 8) & 1:
            missing.append(service)
    if missing:
        report.add("euicc-service", header, f"the eUICC lacks {', '.join(missing)}")
    free = euicc.free_memory
    if free is not None and free < len(package.raw):
        report.add("euicc-memory", header, "free memory", expected=f"{len(package.raw)} bytes", found=free)
