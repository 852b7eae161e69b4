"""PINs and PUKs: references, values, attempts, and which directories they are for."""

from __future__ import annotations

from typing import Any, Final

from esim_bench.codec.saip.files import MF, Path, parse_path, path_text
from esim_bench.codec.saip.lint.report import Report
from esim_bench.codec.saip.lint.view import View
from esim_bench.codec.saip.package import Element
from esim_bench.errors import CodecError

GLOBAL: Final = frozenset((*range(1, 9), *range(10, 15)))
"""PIN and ADM of the UICC (TS 102 221 table 9.3)."""
LOCAL: Final = frozenset((*range(129, 137), *range(138, 143)))
"""Second PIN and ADM of an application."""
_PINS: Final = frozenset((*range(1, 9), *range(129, 137)))
_ATTEMPTS, _PUK_ATTEMPTS = 0x33, 0xAA
_ENABLED, _ATTRIBUTES = 0x01, 0x07


def check(view: View, report: Report) -> dict[Path, set[int] | None]:
    """Check all PINs and PUKs.

    Returns the key references by the directory that they are defined for; None for a directory that shares those of
    another one.
    """
    puks: dict[int, Element] = {}
    later = {p["keyReference"] for element in view.of_kind("pukCodes") for p in element.value["pukCodes"]}
    scopes: dict[Path, set[int] | None] = {}
    for element in view.package.elements:
        if element.kind == "pukCodes":
            for puk in element.value["pukCodes"]:
                _puk(puk, element, puks, report)
        elif element.kind == "pinCodes":
            directory = view.directories.get(element.index)
            choice, pins = element.value["pinCodes"]
            if choice == "filePath":
                _shared(pins, view, element, report)
                if directory is not None:
                    scopes[directory] = None
                continue
            known = scopes.setdefault(directory, set()) if directory is not None else set()
            # The global ones may be spelled out again where they can be used.
            references = known if known is not None else set()
            for pin in pins:
                _pin(pin, element, references, directory, report)
                _unblocking(pin, element, puks, later, report)
    return scopes


def defined(scopes: dict[Path, set[int] | None], directory: Path, reference: int) -> bool:
    """Tell whether a key reference is defined in a directory: global ones in the MF, local ones in it or above it."""
    for depth in range(len(directory), 0, -1):
        references = scopes.get(directory[:depth], set())
        if references is None or reference in references:
            return True
    return False


def _puk(puk: dict[str, Any], element: Element, puks: dict[int, Element], report: Report) -> None:
    reference = puk["keyReference"]
    name = f"PUK {reference}"
    if reference not in _PINS:
        report.add("puk-reference", element, "key reference", expected="1 to 8 or 129 to 136", found=reference)
    if reference in puks:
        report.add("puk-unique", element, f"{name} is there twice")
    puks[reference] = element
    if not puk["pukValue"].isdigit():
        report.add("puk-value", element, "value", where=name, expected="8 digits", found="something else")
    _attempts("puk-attempts", puk.get("maxNumOfAttemps-retryNumLeft", _PUK_ATTEMPTS), name, element, report)


def _pin(pin: dict[str, Any], element: Element, known: set[int], directory: Path | None, report: Report) -> None:
    reference = pin["keyReference"]
    name = f"PIN {reference}"
    if reference in known:
        report.add("pin-unique", element, f"{name} is there twice")
    known.add(reference)
    if directory is not None and reference not in (GLOBAL if directory == MF else LOCAL):
        scope = "1 to 8 or 10 to 14 in the MF" if directory == MF else "129 to 136 or 138 to 142 below the MF"
        report.add("pin-reference", element, "key reference", expected=scope, found=reference)
    if reference in _PINS:
        digits = pin["pinValue"].rstrip(b"\xff")
        if not digits.isdigit() or len(digits) < 4:
            expected = "4 to 8 digits, then FF"
            report.add("pin-value", element, "value", where=name, expected=expected, found="something else")
    packed = pin.get("maxNumOfAttemps-retryNumLeft", _ATTEMPTS)
    wrong = _attempts("pin-attempts", packed, name, element, report)
    if not wrong and not packed & 0x0F and pin.get("pinAttributes", _ATTRIBUTES) & _ENABLED:
        report.add("pin-blocked", element, f"{name} is blocked from the start")


def _attempts(rule: str, packed: int, name: str, element: Element, report: Report) -> bool:
    # The high nibble is the number of attempts, the low one how many are left.
    most, left = packed >> 4, packed & 0x0F
    if most > 0 and left <= most:
        return False
    found = f"{left} of {most}"
    report.add(rule, element, "attempts left", where=name, expected="at most those there are, 1 to 15", found=found)
    return True


def _unblocking(
    pin: dict[str, Any], element: Element, puks: dict[int, Element], later: set[int], report: Report
) -> None:
    puk = pin.get("unblockingPINReference")
    if puk and puk not in puks:
        when = "later" if puk in later else "never"
        report.add("pin-puk", element, f"PIN {pin['keyReference']} needs PUK {puk}, which comes {when}")


def _shared(data: bytes, view: View, element: Element, report: Report) -> None:
    try:
        path = parse_path(data)
    except CodecError as exc:
        report.add("pin-path", element, exc.what, expected=exc.expected, found=exc.found)
        return
    target = view.files.get(path)
    if target is None or not target.is_directory:
        report.add(
            "pin-path", element, "PINs shared with", expected="a directory created before", found=path_text(path)
        )
