"""Finds what is wrong with a profile package before an eUICC does: order, references, promises of the header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from esim_bench.codec.saip.files import MF, FileSpec, ResolveContext, path_text, resolve_files
from esim_bench.codec.saip.package import Element, ProfilePackage
from esim_bench.codec.saip.templates import TEMPLATES
from esim_bench.errors import CodecError

Severity = Literal["error", "warning"]

_ONCE: Final = (
    *("header", "mf", "cd", "telecom", "opt-usim", "gsm-access", "phonebook", "df-5gs", "df-saip", "df-snpn"),
    *("df-5gprose", "opt-isim", "opt-csim", "cdmaParameter", "iot", "opt-iot", "end"),
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
    "application": ("securityDomain",),
    "rfm": ("securityDomain",),
}
"""What has to come before an element: any one of these, or an application that genericFileManagement creates."""
_SERVICE_OF_KIND: Final = {"usim": "usim", "isim": "isim", "csim": "csim", "eap": "eap"}
_SERVICES_OF_ALGORITHM: Final = {1: ("milenage",), 2: ("tuak128", "tuak256"), 3: ("usim-test-algorithm",)}
_RUNTIMES: Final = ("javacard", "multos")
_PINS: Final = (range(1, 9), range(10, 15))
_LOCAL_PINS: Final = (range(129, 137), range(138, 143))
_DEFAULT_PIN_ATTRIBUTES: Final = 7


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or looks wrong."""

    severity: Severity
    """error: a strict eUICC refuses the package; warning: it works, but surely nobody meant it."""
    index: int
    """The element's place in the package, from 0."""
    kind: str
    """What kind of element it is."""
    message: str


def lint(package: ProfilePackage) -> list[Finding]:
    """Check a package; findings in the order of the elements. Never raises for a package that could be parsed."""
    findings = [*_order(package)]
    try:
        package.check()
    except CodecError:
        # Nothing below can be told of a package whose values can't be read; name each element that can't.
        findings += _undecodable(package)
    else:
        findings += [*_header(package), *_codes(package), *_authentication(package), *_files(package)]
    return sorted(findings, key=lambda finding: finding.index)


def _error(element: Element, message: str) -> Finding:
    return Finding("error", element.index, element.kind, message)


def _warning(element: Element, message: str) -> Finding:
    return Finding("warning", element.index, element.kind, message)


def _undecodable(package: ProfilePackage) -> Iterator[Finding]:
    for element in package.elements:
        try:
            element.value  # noqa: B018
        except CodecError as exc:
            yield _error(element, f"cannot be decoded: {exc}")


# ------------------------------------------------------------------------------------------------- order


def _order(package: ProfilePackage) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    managed = False
    identifications: dict[int, Element] = {}
    services = _services(package)
    for element in package.elements:
        kind = element.kind
        number = element.identification
        if number is not None and number in identifications:
            other = identifications[number]
            yield _error(element, f"identification {number} is that of element {other.index} ({other.kind}) already")
        elif number is not None:
            identifications[number] = element
        if kind in _APPLICATIONS:
            # What belongs to an application may come again after the next one of its kind.
            for dependent, before in _AFTER.items():
                if before == (kind,):
                    seen.pop(dependent, None)
            if kind in seen and services is not None and _APPLICATIONS[kind] not in services:
                yield _error(element, f"second {kind}: expected {_APPLICATIONS[kind]} among the mandatory services")
        elif kind in _ONCE and kind in seen:
            yield _error(element, f"second {kind}: expected at most one")
        needs = _AFTER.get(kind, ())
        if needs and not managed and not any(need in seen for need in needs):
            yield _error(element, f"expected after {' or '.join(needs)}, found before")
        if kind.startswith("rfu"):
            yield _warning(element, "reserved element: no eUICC knows it")
        elif kind != "header" and not element.mandated:
            yield _warning(element, "not mandated: an eUICC that does not support it skips it silently")
        managed = managed or kind == "genericFileManagement"
        seen[kind] = element.index
    if "mf" not in seen and not managed:
        yield _error(package.elements[0], "no mf: expected one, or genericFileManagement that creates the MF")


def _services(package: ProfilePackage) -> tuple[str, ...] | None:
    try:
        return package.services
    except CodecError:
        return None


# ------------------------------------------------------------------------------------------------- header


def _header(package: ProfilePackage) -> Iterator[Finding]:
    header = package.elements[0]
    kinds = dict.fromkeys(element.kind for element in package.elements)
    services = package.services
    for kind, service in _SERVICE_OF_KIND.items():
        if kind in kinds and service not in services:
            yield _error(header, f"the package has {kind}, but the mandatory services lack {service}")
        elif kind not in kinds and service in services and "genericFileManagement" not in kinds:
            yield _warning(header, f"mandatory service {service}, but no {kind}")
    if "application" in kinds and not any(runtime in services for runtime in _RUNTIMES):
        yield _warning(header, f"the package has application, but the mandatory services lack {' or '.join(_RUNTIMES)}")
    used: dict[str, Element] = {}
    for element in package.elements:
        if element.template is not None:
            used.setdefault(element.template, element)
    for oid, element in used.items():
        if oid not in package.templates:
            yield _error(element, f"template {oid} is not in eUICC-Mandatory-GFSTEList")
    for oid in package.templates:
        if oid not in TEMPLATES:
            yield _warning(header, f"template {oid} is unknown")
        elif oid not in used:
            yield _warning(header, f"template {oid} is in eUICC-Mandatory-GFSTEList, but no element uses it")


# ------------------------------------------------------------------------------------------------- PIN and PUK


def _codes(package: ProfilePackage) -> Iterator[Finding]:
    puks: dict[int, Element] = {}
    later = {
        puk["keyReference"] for element in package.of_kind("pukCodes") for puk in element.value.get("pukCodes", ())
    }
    local = False
    for element in package.elements:
        if element.kind == "pukCodes":
            for puk in element.value["pukCodes"]:
                if puk["keyReference"] in puks:
                    yield _error(element, f"PUK {puk['keyReference']} is there twice")
                puks[puk["keyReference"]] = element
        elif element.kind == "pinCodes":
            yield from _pins(element, puks, later, local)
        elif element.has_files or element.kind == "genericFileManagement":
            local = local or element.kind != "mf"


def _pins(element: Element, puks: dict[int, Element], later: set[int], local: bool) -> Iterator[Finding]:
    choice, pins = element.value["pinCodes"]
    if choice != "pinconfig":
        return
    seen: dict[int, bool] = {}
    for pin in pins:
        reference = pin["keyReference"]
        if reference in seen:
            yield _error(element, f"PIN {reference} is there twice")
        seen[reference] = True
        if not any(reference in numbers for numbers in (_LOCAL_PINS if local else _PINS)):
            scope = "129 to 136 or 138 to 142 below the MF" if local else "1 to 8 or 10 to 14 in the MF"
            yield _error(element, f"key reference: expected {scope}, found {reference}")
        puk = pin.get("unblockingPINReference")
        if puk and puk not in puks:
            yield _error(
                element, f"PIN {reference} needs PUK {puk}, which comes {'later' if puk in later else 'never'}"
            )
        packed = pin.get("maxNumOfAttemps-retryNumLeft", 0x33)
        if packed & 0x0F > packed >> 4:
            yield _error(element, f"PIN {reference}: more attempts left ({packed & 0x0F}) than there are")
        elif not packed & 0x0F and pin.get("pinAttributes", _DEFAULT_PIN_ATTRIBUTES) & 1:
            yield _warning(element, f"PIN {reference} is blocked from the start")


# ------------------------------------------------------------------------------------------------- authentication


def _authentication(package: ProfilePackage) -> Iterator[Finding]:
    pending: Element | None = None
    for element in package.elements:
        if element.kind in ("usim", "isim", "iot"):
            if pending is not None:
                yield _warning(pending, "application without akaParameter: it can't authenticate")
            pending = element
        elif element.kind == "akaParameter":
            if pending is None:
                yield _warning(element, "no application before it that lacks an akaParameter")
            pending = None
            choice, value = element.value["algoConfiguration"]
            if choice == "algoParameter":
                yield from _algorithm(element, value, package.services)
    if pending is not None:
        yield _warning(pending, "application without akaParameter: it can't authenticate")


def _algorithm(element: Element, value: dict[str, Any], services: tuple[str, ...]) -> Iterator[Finding]:
    number = value["algorithmID"]
    needed = _SERVICES_OF_ALGORITHM.get(number)
    if needed is None:
        yield _error(element, f"algorithm: expected 1, 2 or 3, found {number}")
        return
    if not any(service in services for service in needed):
        yield _error(element, f"algorithm {number}, but the mandatory services lack {' or '.join(needed)}")
    sizes = (16, 32) if number == 2 else (16,)
    if len(value["key"]) not in sizes:
        expected = " or ".join(map(str, sizes))
        yield _error(element, f"key: expected {expected} bytes, found {len(value['key'])}")
    size = {1: 16, 2: 32}.get(number)
    if size is not None and len(value["opc"]) != size:
        yield _error(element, f"OPc: expected {size} bytes, found {len(value['opc'])}")


# ------------------------------------------------------------------------------------------------- files


def _files(package: ProfilePackage) -> Iterator[Finding]:
    context = ResolveContext()
    where: dict[tuple[int, ...], Element] = {}
    for element in package.elements:
        try:
            specs = resolve_files(element, context)
        except CodecError as exc:
            yield _error(element, f"files: {exc}")
            return
        for spec in specs:
            where.setdefault(spec.path, element)
    if MF not in context.files:
        yield _error(package.elements[-1], "no MF was created")
    for path, spec in context.files.items():
        yield from _file(package, spec, where[path], context)


def _file(package: ProfilePackage, spec: FileSpec, element: Element, context: ResolveContext) -> Iterator[Finding]:
    name = spec.name or path_text(spec.path)
    if spec.path == (*MF, 0x2FE2) and spec.content != package.iccid:
        yield _warning(
            element, f"EF.ICCID differs from the header: {spec.content.hex().upper()}, {package.iccid.hex().upper()}"
        )
    if spec.link_path is not None and spec.link_path not in context.files:
        yield _error(element, f"{name} links to {path_text(spec.link_path)}, which is not there")
    if spec.arr is None or spec.link_path is not None:
        return
    fid, number = int.from_bytes(spec.arr[:2], "big"), spec.arr[2]
    # The EF.ARR of the nearest directory holds the rule (TS 102 221 9.2.7).
    start = spec.path if spec.is_directory else spec.path[:-1]
    rules = next(
        (
            context.files[(*start[:depth], fid)]
            for depth in range(len(start), 0, -1)
            if (*start[:depth], fid) in context.files
        ),
        None,
    )
    if rules is None:
        yield _error(element, f"{name}: access rule in {fid:04X}, which is not there")
    elif number not in range(1, len(rules.records()) + 1) or not rules.records()[number - 1].strip(b"\xff"):
        yield _error(element, f"{name}: access rule {number} of {path_text(rules.path)} is not there")
