"""Where the elements of a package stand."""

from __future__ import annotations

from typing import Final

from esim_bench.codec.saip.lint.report import Report
from esim_bench.codec.saip.package import Element, ProfilePackage
from esim_bench.errors import CodecError

_ONCE: Final = (
    *("mf", "cd", "telecom", "opt-usim", "gsm-access", "phonebook", "df-5gs", "df-saip", "df-snpn"),
    *("df-5gprose", "opt-isim", "opt-csim", "cdmaParameter", "iot", "opt-iot"),
)
"""Elements that come at most once; with several applications of a kind, once after each of them."""
_APPLICATIONS: Final = {"usim": "multiple-usim", "isim": "multiple-isim", "csim": "multiple-csim"}
"""Elements that come once, unless the package wants the service."""
_AFTER: Final = {
    **dict.fromkeys(("opt-usim", "gsm-access", "phonebook", "df-5gs", "df-saip", "df-snpn", "df-5gprose"), ("usim",)),
    "opt-isim": ("isim",),
    "opt-csim": ("csim",),
    "cdmaParameter": ("csim",),
    "opt-iot": ("iot",),
    "akaParameter": ("usim", "isim", "iot"),
    "eap": ("usim", "isim", "csim", "iot"),
}
"""What has to come before an element: any one of these, or an application that genericFileManagement creates."""
_AFTER_A_DOMAIN: Final = ("application", "rfm")
_AFTER_THE_MF: Final = ("pinCodes", "securityDomain")


def check(package: ProfilePackage, report: Report) -> None:
    """Check the places of all elements; their values are not looked at."""
    _ends(package, report)
    _identifications(package, report)
    services = _services(package)
    seen: set[str] = set()
    for element in package.elements:
        kind = element.kind
        if kind in _APPLICATIONS:
            # What belongs to an application may come again after the next one of its kind.
            seen -= {dependent for dependent, before in _AFTER.items() if before == (kind,)}
            if kind in seen and services is not None and _APPLICATIONS[kind] not in services:
                expected = f"{_APPLICATIONS[kind]} among the mandatory services"
                report.add("order-once", element, f"second {kind}", expected=expected)
        elif kind in _ONCE and kind in seen:
            report.add("order-once", element, f"second {kind}", expected="at most one")
        _after(element, seen, report)
        _manner(element, report)
        seen.add(kind)


def _ends(package: ProfilePackage, report: Report) -> None:
    first, last = package.elements[0], package.elements[-1]
    if first.kind != "header":
        report.add("order-header", first, "wrong first element", expected="header", found=first.kind)
    for element in package.elements[1:]:
        if element.kind == "header":
            report.add("order-header", element, "header behind another element", expected="it first, and once")
    if last.kind != "end":
        report.add("order-end", last, "wrong last element", expected="end", found=last.kind)
    for element in package.elements[:-1]:
        if element.kind == "end":
            report.add("order-end", element, "end before another element", expected="it last, and once")
    second = package.elements[1] if len(package.elements) > 1 else last
    if second.kind not in ("mf", "genericFileManagement"):
        report.add("order-mf", second, "wrong second element", expected="mf", found=second.kind)


def _identifications(package: ProfilePackage, report: Report) -> None:
    owners: dict[int, Element] = {}
    for element in package.elements:
        number = element.identification
        if number is None:
            continue
        other = owners.setdefault(number, element)
        if other is not element:
            report.add(
                "identification-unique",
                element,
                f"identification {number} is that of element {other.index} ({other.kind}) already",
            )


def _after(element: Element, seen: set[str], report: Report) -> None:
    kind = element.kind
    managed = "genericFileManagement" in seen
    needs: tuple[str, ...] = ()
    if kind in _AFTER and not managed:
        needs = _AFTER[kind]
    elif kind in _AFTER_A_DOMAIN:
        needs = ("securityDomain",)
    elif kind in _AFTER_THE_MF and not managed:
        needs = ("mf",)
    if needs and not seen.intersection(needs):
        report.add("order-after", element, "too early", expected=f"after {' or '.join(needs)}", found="before")


def _manner(element: Element, report: Report) -> None:
    if element.kind.startswith("rfu"):
        report.add("element-reserved", element, "reserved element: no eUICC knows it")
        return
    if element.kind == "nonStandard":
        report.add("element-nonstandard", element, "private element: only its maker's eUICCs know it")
    if not element.mandated:
        report.add("element-mandated", element, "not mandated: an eUICC that does not support it skips it silently")


def _services(package: ProfilePackage) -> tuple[str, ...] | None:
    try:
        return package.services if package.elements[0].kind == "header" else None
    except CodecError:
        return None
