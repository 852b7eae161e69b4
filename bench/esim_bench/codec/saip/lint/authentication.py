"""Network authentication: each application's algorithm and its keys."""

from __future__ import annotations

from typing import Any, Final

from esim_bench.codec.saip.lint.report import Report
from esim_bench.codec.saip.lint.view import View
from esim_bench.codec.saip.package import Element

_MILENAGE, _TUAK, _TEST = 1, 2, 3
_KEY_SIZES: Final = {_MILENAGE: (16,), _TUAK: (16, 32), _TEST: (16,)}
_OPC_SIZES: Final = {_MILENAGE: 16, _TUAK: 32}
_ROTATIONS: Final = bytes.fromhex("4000204060")
_XORS: Final = b"".join(bytes(15) + bytes((value,)) for value in (0, 1, 2, 4, 8))


def check(view: View, report: Report) -> None:
    """Check all akaParameter elements, and that the applications have theirs."""
    pending: Element | None = None
    sources: set[bytes] = set()
    current: bytes | None = None
    for element in view.package.elements:
        if element.kind in ("usim", "isim", "iot"):
            if pending is not None:
                _missing(pending, report)
            pending = element
            current = _aid(view, element)
        elif element.kind == "akaParameter":
            # One without an element before it may be for an application that genericFileManagement made.
            if pending is None and "genericFileManagement" not in view.kinds:
                report.add("aka-unneeded", element, "no application before it that lacks an akaParameter")
            pending = None
            choice, value = element.value["algoConfiguration"]
            if choice == "algoParameter":
                _algorithm(element, value, report)
                if current is not None:
                    sources.add(current)
            elif value["mappingSource"] not in sources:
                found = value["mappingSource"].hex().upper()
                expected = "the AID of an application before it that has a key"
                report.add("aka-mapping", element, "mapping source", expected=expected, found=found)
    if pending is not None:
        _missing(pending, report)


def _missing(element: Element, report: Report) -> None:
    report.add("aka-missing", element, "application without akaParameter: it can't authenticate")


def _aid(view: View, element: Element) -> bytes | None:
    return next((aid for aid, path in view.adfs.items() if view.makers[path] is element), None)


def _algorithm(element: Element, value: dict[str, Any], report: Report) -> None:
    number = value["algorithmID"]
    if number not in _KEY_SIZES:
        report.add("aka-algorithm", element, "algorithm", expected="1, 2 or 3", found=number)
        return
    sizes, size = _KEY_SIZES[number], _OPC_SIZES.get(number)
    if len(value["key"]) not in sizes:
        expected = " or ".join(map(str, sizes))
        report.add("aka-key", element, "key", expected=f"{expected} bytes", found=len(value["key"]))
    if size is not None and len(value["opc"]) != size:
        name = "TOPc" if number == _TUAK else "OPc"
        report.add("aka-opc", element, name, expected=f"{size} bytes", found=len(value["opc"]))
    if number == _TUAK and value.get("numberOfKeccak") == 0:
        report.add("aka-keccak", element, "numberOfKeccak", expected="1 at least", found=0)
    if number == _MILENAGE:
        _constants(element, value, report)


def _constants(element: Element, value: dict[str, Any], report: Report) -> None:
    rotations: bytes = value.get("rotationConstants", _ROTATIONS)
    xors: bytes = value.get("xoringConstants", _XORS)
    if max(rotations) >= 128:
        report.add("aka-rotation", element, "rotationConstants", expected="bytes below 80", found=rotations.hex())
        return
    constants = [xors[at : at + 16] for at in range(0, 80, 16)]
    if len(set(zip(rotations, constants, strict=True))) < len(rotations):
        report.add("aka-constants", element, "two of the five pairs of rotation and xor constants are the same")
    odd = [int.from_bytes(constant, "big").bit_count() % 2 for constant in constants]
    if odd != [0, 1, 1, 1, 1]:
        found = ", ".join(f"c{index} {'odd' if bit else 'even'}" for index, bit in enumerate(odd, 1))
        report.add("aka-constants", element, "parity of c1 to c5", expected="c1 even, the others odd", found=found)
