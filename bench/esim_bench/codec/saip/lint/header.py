"""What the header says, and what it promises of the rest: ICCID, version, mandatory services and templates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.saip.contents import luhn_digit
from esim_bench.codec.saip.files import MF
from esim_bench.codec.saip.lint.contents import service_numbers
from esim_bench.codec.saip.lint.report import Report
from esim_bench.codec.saip.lint.view import View, algorithms
from esim_bench.codec.saip.package import Element
from esim_bench.codec.saip.templates import TEMPLATES

_SINCE: Final = {
    **dict.fromkeys(("df-5gs", "df-saip"), (2, 3)),
    **dict.fromkeys(("df-snpn", "df-5gprose"), (3, 0)),
    **dict.fromkeys(("iot", "opt-iot"), (3, 3)),
}
"""The version of the format that first had an element."""
_KNOWN_SERVICES: Final = 30
_GP_RID: Final = bytes.fromhex("A000000151")
_RUNTIMES: Final = frozenset(("javacard", "multos"))
_SUCI: Final = frozenset(("profile-a-x25519", "profile-b-p256"))
_JUDGED: Final = frozenset(
    ("usim", "isim", "csim", "eap", "milenage", "tuak128", "tuak256", "usim-test-algorithm", "javacard", "multos")
) | {"ber-tlv", "dfLink", "cat-tp", "eaka", "multiple-usim", "multiple-isim", "multiple-csim", "gba-usim"}
"""Services whose use can be seen in a package. Of others (cave, dns-resolution, ...) applets and terminals know."""
_SUCI_SERVICE, _GBA_SERVICE = 125, 68
"""Services of EF.UST that the eUICC itself has to be able to do (TS 31.102 4.2.8)."""


def check(view: View, report: Report) -> None:
    """Check the header element against the others."""
    header = view.package.elements[0]
    _iccid(view, header, report)
    _version(view, header, report)
    _services(view, header, report)
    _templates(view, header, report)


def _iccid(view: View, header: Element, report: Report) -> None:
    raw: bytes = header.value["iccid"]
    digits = raw.hex().rstrip("f")
    if not 18 <= len(digits) <= 20 or not digits.isdigit():
        report.add("iccid-format", header, "ICCID", expected="18 to 20 digits, then F", found=raw.hex().upper())
        return
    right = luhn_digit(digits[:-1])
    if digits[-1] != right:
        report.add("iccid-luhn", header, "ICCID", expected=f"{digits[:-1]}{right}", found=digits)
    file = view.files.get((*MF, 0x2FE2))
    if file is not None and file.content != view.package.iccid:
        report.add(
            "iccid-match",
            view.makers[file.path],
            "not the ICCID of the header",
            where="EF.ICCID",
            expected=view.package.iccid.hex().upper(),
            found=file.content.hex().upper(),
        )


def _version(view: View, header: Element, report: Report) -> None:
    version = view.package.version
    text = ".".join(map(str, version))
    if version[0] not in (2, 3):
        report.add("version-known", header, "version", expected="2.x or 3.x", found=text)
        return
    for element in view.package.elements:
        since = _SINCE.get(element.kind)
        if since is not None and version < since:
            expected = f"version {'.'.join(map(str, since))} at least"
            report.add("version-elements", element, "the header's version is too low", expected=expected, found=text)


# ------------------------------------------------------------------------------------------------- services


def _services(view: View, header: Element, report: Report) -> None:
    services = frozenset(view.services)
    used: set[str] = set()
    for needed, element, reason in _needs(view):
        if not services & needed:
            names = " or ".join(sorted(needed))
            report.add("service-missing", element, f"{reason}, but the mandatory services lack {names}")
        used |= needed
    for kind in ("usim", "isim", "csim"):
        if len(view.of_kind(kind)) > 1:
            used.add(f"multiple-{kind}")
    numbers = {number for spec, _ in view.named("ef-ust") for number in service_numbers(spec.content)}
    _table_services(services, numbers, header, report)
    if _GBA_SERVICE in numbers:
        used.add("gba-usim")
    if view.stopped is None and not ("genericFileManagement" in view.kinds and not used & {"usim", "isim", "csim"}):
        for name in view.services:
            if name in _JUDGED and name not in used:
                report.add("service-unused", header, f"mandatory service {name}, but nothing in the package uses it")
    # Members beyond the known ones: the list is a sequence of empty context tags, in its order.
    for member in tlv.parse(header.raw).get(0xA5).children():
        if member.tag not in range(0x80, 0x80 + _KNOWN_SERVICES):
            report.add("service-unknown", header, "mandatory service", expected="80 to 9D", found=f"tag {member.tag:X}")


def _needs(view: View) -> Iterator[tuple[frozenset[str], Element, str]]:
    """Yield what the package needs: services of which one has to be there, the element to blame, why."""
    header = view.package.elements[0]
    for kind in ("usim", "isim", "csim", "eap"):
        if kind in view.kinds:
            yield frozenset((kind,)), header, f"the package has {kind}"
    for element, value in algorithms(view.package):
        names = {1: "milenage", 2: f"tuak{len(value['key']) * 8}", 3: "usim-test-algorithm"}
        name = names.get(value["algorithmID"])
        if name in ("milenage", "tuak128", "tuak256", "usim-test-algorithm"):
            yield frozenset((name,)), element, f"algorithm {value['algorithmID']}"
    for element in view.of_kind("application"):
        foreign = (i for i in element.value.get("instanceList", ()) if not _is_platform(i["applicationLoadPackageAID"]))
        if "loadBlock" in element.value or any(foreign):
            yield _RUNTIMES, element, "the package has application"
    for element in view.of_kind("securityDomain"):
        if "catTpParameters" in element.value:
            yield frozenset(("cat-tp",)), element, "parameters of CAT-TP"
    found: dict[str, tuple[Element, str]] = {}
    for path, spec in view.files.items():
        maker = view.makers[path]
        if spec.kind == "ber-tlv":
            found.setdefault("ber-tlv", (maker, "a BER-TLV file"))
        if spec.is_directory and spec.link_path is not None:
            found.setdefault("dfLink", (maker, "a linked directory"))
        if spec.name == "ef-eaka":
            found.setdefault("eaka", (maker, "ef-eaka"))
    for service, (maker, reason) in found.items():
        yield frozenset((service,)), maker, reason


def _is_platform(aid: bytes) -> bool:
    return aid.startswith(_GP_RID)


def _table_services(services: frozenset[str], numbers: set[int], header: Element, report: Report) -> None:
    if _SUCI_SERVICE in numbers and not ("get-identity" in services and services & _SUCI):
        expected = "get-identity and profile-a-x25519 or profile-b-p256"
        report.add("service-table", header, "EF.UST has service 125 (the USIM calculates the SUCI)", expected=expected)
    if _GBA_SERVICE in numbers and "gba-usim" not in services:
        report.add("service-table", header, "EF.UST has service 68 (GBA)", expected="gba-usim")


# ------------------------------------------------------------------------------------------------- templates


def _templates(view: View, header: Element, report: Report) -> None:
    listed = view.package.templates
    used: dict[str, Element] = {}
    for element in view.package.elements:
        oid = element.template
        if oid is None:
            continue
        known = TEMPLATES.get(oid)
        if known is None or known.kind != element.kind:
            expected = ", ".join(oid for oid, template in TEMPLATES.items() if template.kind == element.kind)
            report.add("template-kind", element, "template", expected=expected, found=oid)
        used.setdefault(oid, element)
    for oid, element in used.items():
        if oid not in listed and oid in TEMPLATES:
            report.add("template-missing", element, f"template {oid} is not in eUICC-Mandatory-GFSTEList")
    for oid in listed:
        if oid not in TEMPLATES:
            report.add("template-unknown", header, f"template {oid} is unknown")
        elif oid not in used:
            report.add(
                "template-unused",
                header,
                f"template {oid} is in eUICC-Mandatory-GFSTEList, but no element uses it",
            )
