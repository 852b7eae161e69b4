"""Security domains, applications and remote file management: what refers to what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from esim_bench.codec.saip.lint.report import Report
from esim_bench.codec.saip.lint.view import View
from esim_bench.codec.saip.package import Element

_GP_RID: Final = bytes.fromhex("A000000151")
_SECURITY_DOMAIN = 0x80
"""The first byte of the privileges (GlobalPlatform 11.1.2)."""
_AES, _DES = 0x88, frozenset((0x80, 0x82))
_KEY_SIZES: Final = {_AES: (16, 24, 32), **dict.fromkeys(_DES, (8, 16, 24))}
_OWN_TAR = bytes(3)
"""Stands for the security domain itself."""


@dataclass
class _Seen:
    domains: set[bytes] = field(default_factory=set)
    instances: dict[bytes, Element] = field(default_factory=dict)
    tars: dict[bytes, Element] = field(default_factory=dict)
    loaded: set[bytes] = field(default_factory=set)


def check(view: View, report: Report) -> None:
    """Check all elements that install or load something."""
    seen = _Seen()
    for path, spec in view.files.items():
        if spec.df_name is not None:
            _instance_aid(spec.df_name, view.makers[path], seen, report)
    packages = {
        element.value["loadBlock"]["loadPackageAID"]
        for element in view.of_kind("application")
        if "loadBlock" in element.value
    }
    preloaded = {item["aid"] for item in view.package.header.get("eUICC-Mandatory-AIDs", ())}
    first = True
    for element in view.package.elements:
        value = element.value
        if element.kind == "securityDomain":
            _instance(value["instance"], element, seen, packages, preloaded, report)
            _domain(value, element, first, report)
            seen.domains.add(value["instance"]["instanceAID"])
            first = False
        elif element.kind == "application":
            if "loadBlock" in value:
                _belongs(value["loadBlock"].get("securityDomainAID"), element, seen, report)
                seen.loaded.add(value["loadBlock"]["loadPackageAID"])
            for instance in value.get("instanceList", ()):
                _instance(instance, element, seen, packages, preloaded, report)
        elif element.kind == "rfm":
            _rfm(value, element, seen, view, report)


def _instance(
    value: dict[str, Any],
    element: Element,
    seen: _Seen,
    packages: set[bytes],
    preloaded: set[bytes],
    report: Report,
) -> None:
    package: bytes = value["applicationLoadPackageAID"]
    if package in packages and package not in seen.loaded:
        report.add("load-order", element, f"load package {package.hex().upper()}", expected="before", found="later")
    elif package not in packages | preloaded and not package.startswith(_GP_RID):
        expected = "in the package, or in eUICC-Mandatory-AIDs"
        report.add("load-missing", element, f"load package {package.hex().upper()}", expected=expected, found="neither")
    _instance_aid(value["instanceAID"], element, seen, report)
    _belongs(value.get("extraditeSecurityDomainAID"), element, seen, report)
    toolkit = value.get("applicationParameters", {}).get("uiccToolkitApplicationSpecificParametersField", b"")
    for tar in _toolkit_tars(toolkit):
        _tar(tar, element, seen, report)


def _instance_aid(aid: bytes, element: Element, seen: _Seen, report: Report) -> None:
    other = seen.instances.get(aid)
    if other is not None:
        report.add("aid-unique", element, f"AID {aid.hex().upper()} is in element {other.index} ({other.kind}) already")
    seen.instances[aid] = element


def _belongs(aid: bytes | None, element: Element, seen: _Seen, report: Report) -> None:
    if aid is not None and aid not in seen.domains:
        report.add(
            "sd-reference", element, "security domain", expected="one created before it", found=aid.hex().upper()
        )


def _toolkit_tars(data: bytes) -> Iterator[bytes]:
    # Priority, timers, text length, menu entries (2 bytes each), channels, then lists with their lengths: minimum
    # security level, TARs (TS 102 226 8.2.1.3.2.2.1).
    if len(data) < 4:
        return
    at = 4 + 2 * data[3] + 1
    if at >= len(data):
        return
    at += 1 + data[at]
    if at >= len(data):
        return
    tars = data[at + 1 : at + 1 + data[at]]
    for start in range(0, len(tars) - 2, 3):
        yield tars[start : start + 3]


def _tar(tar: bytes, element: Element, seen: _Seen, report: Report) -> None:
    if tar == _OWN_TAR:
        return
    other = seen.tars.setdefault(tar, element)
    if other is not element:
        report.add("tar-unique", element, f"TAR {tar.hex().upper()} is in element {other.index} ({other.kind}) already")


def _domain(value: dict[str, Any], element: Element, first: bool, report: Report) -> None:
    privileges: bytes = value["instance"]["applicationPrivileges"]
    if not privileges or not privileges[0] & _SECURITY_DOMAIN:
        expected = "80 in the first byte"
        report.add("sd-privilege", element, "applicationPrivileges", expected=expected, found=privileges.hex().upper())
    keys = value.get("keyList", ())
    if first and not keys:
        report.add("sd-keys", element, "no keys: the profile cannot be managed over the air")
    known: set[tuple[int, int]] = set()
    for key in keys:
        version, number = key["keyVersionNumber"][0], key["keyIdentifier"][0]
        where = f"key {number} of version {version}"
        if not 1 <= version <= 0x7F or not 1 <= number <= 0x7F:
            report.add("sd-key-number", element, "key", expected="1 to 127 each", found=where)
        if (version, number) in known:
            report.add("sd-key-unique", element, f"{where} is there twice")
        known.add((version, number))
        for component in key["keyComponents"]:
            sizes = _KEY_SIZES.get(component["keyType"][0] if len(component["keyType"]) == 1 else -1)
            if sizes is not None and len(component["keyData"]) not in sizes:
                expected = " or ".join(map(str, sizes))
                found = len(component["keyData"])
                report.add("sd-key-size", element, "key", where=where, expected=f"{expected} bytes", found=found)


def _rfm(value: dict[str, Any], element: Element, seen: _Seen, view: View, report: Report) -> None:
    _instance_aid(value["instanceAID"], element, seen, report)
    _belongs(value.get("securityDomainAID"), element, seen, report)
    for tar in value.get("tarList", ()):
        _tar(tar, element, seen, report)
    access = value.get("adfRFMAccess")
    if access is not None and view.stopped is None and access["adfAID"] not in view.adfs:
        report.add("rfm-adf", element, "ADF", expected="one created before it", found=access["adfAID"].hex().upper())
    if value["minimumSecurityLevel"] == b"\x00":
        report.add("rfm-security", element, "minimumSecurityLevel", expected="a cryptographic checksum", found="none")
