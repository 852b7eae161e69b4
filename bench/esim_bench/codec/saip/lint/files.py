"""The files: whether they can be made, their identifiers, links, states and access rules."""

from __future__ import annotations

from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.saip.files import MF, FileSpec, Path, path_text
from esim_bench.codec.saip.lint.codes import defined
from esim_bench.codec.saip.lint.report import Report
from esim_bench.codec.saip.lint.view import View
from esim_bench.codec.saip.package import Element
from esim_bench.errors import CodecError

_RULE_OF: Final = {
    "content does not fit the file": "file-size",
    "malformed record file": "file-records",
    "file exists already": "file-unique",
    "no such file": "file-path",
    "malformed file path": "file-path",
    "the directory of the file is missing": "file-parent",
    "profile element out of order": "order-after",
    "unknown template": "template-kind",
}
"""The rule that the reason names why a file cannot be made."""
_RESERVED: Final = frozenset((0x3F00, 0x3FFF, 0x7FFF, 0xFFFF))
"""Identifiers with a meaning of their own (TS 102 221 8.6)."""
_STATES: Final = frozenset((0x01, 0x03, 0x04, 0x05, 0x06, 0x07, *range(0x0C, 0x10)))
"""Creation, initialisation, deactivated, activated, terminated (ISO/IEC 7816-4 table 14)."""
_LAST_SFI = 30
_ALWAYS, _NEVER, _KEY_TEMPLATE = 0x90, 0x97, 0xA4
_COMBINED: Final = (0xA0, 0xA7, 0xAF)
"""OR, NOT, AND of conditions (ISO/IEC 7816-4 table 31)."""
_UNIVERSAL_PIN = 0x11


def check(view: View, scopes: dict[Path, set[int] | None], report: Report) -> None:
    """Check all files; ``scopes`` tells which PINs are defined where."""
    if view.stopped is not None:
        _cannot_be_made(*view.stopped, report)
    elif MF not in view.files:
        if not any(finding.rule == "order-mf" for finding in report.findings):
            report.add("order-mf", view.package.elements[-1], "no MF was created")
        return
    short: dict[Path, dict[int, FileSpec]] = {}
    checked: set[tuple[Path, int]] = set()
    for path, spec in view.files.items():
        element = view.makers[path]
        _identity(spec, element, short.setdefault(path[:-1], {}), report)
        if spec.link_path is not None:
            _link(spec, element, view, report)
        else:
            _access(spec, element, view, scopes, checked, report)
        if spec.is_directory and spec.pin_status_template is not None:
            _pin_status(spec, element, view, scopes, report)


def name_of(spec: FileSpec) -> str:
    """Return what people call a file: its name in the template with its path."""
    return f"{spec.name} ({path_text(spec.path)})" if spec.name else path_text(spec.path)


def _cannot_be_made(element: Element, exc: CodecError, report: Report) -> None:
    what = exc.what
    rule = "file-parent" if what.startswith("no directory for ") else _RULE_OF.get(what, "file-resolves")
    if report.broken(rule, element) and rule in ("order-after", "template-kind"):
        return
    where = exc.where.removeprefix(f"{element.where}, ") if exc.where and exc.where != element.where else None
    report.add(rule, element, what, where=where, expected=exc.expected, found=exc.found)


def _identity(spec: FileSpec, element: Element, taken: dict[int, FileSpec], report: Report) -> None:
    name = name_of(spec)
    parent = spec.path[-2] if len(spec.path) > 1 else None
    if (spec.fid in _RESERVED and spec.path != MF) or spec.fid == parent:
        expected = "none that is reserved, nor the directory's"
        report.add("file-identifier", element, "identifier", where=name, expected=expected, found=f"{spec.fid:04X}")
    if spec.sfi is not None:
        if spec.sfi > _LAST_SFI:
            report.add("sfi-range", element, "SFI", where=name, expected="1 to 30", found=spec.sfi)
        other = taken.setdefault(spec.sfi, spec)
        if other is not spec:
            report.add("sfi-unique", element, f"SFI {spec.sfi} is that of {name_of(other)} already", where=name)
    if spec.lcsi not in _STATES:
        report.add("file-state", element, "lcsi", where=name, expected="05, for example", found=f"{spec.lcsi:02X}")


def _link(spec: FileSpec, element: Element, view: View, report: Report) -> None:
    path = spec.link_path or ()
    target = view.files.get(path)
    if target is None and view.stopped is None:
        report.add("file-link", element, f"links to {path_text(path)}, which is not there", where=name_of(spec))
    elif target is not None and (target.link_path is not None or target.is_directory != spec.is_directory):
        expected = "a directory" if spec.is_directory else "a file that is no link"
        report.add("file-link", element, "link", where=name_of(spec), expected=expected, found=name_of(target))


# ------------------------------------------------------------------------------------------------- access rules


def _access(
    spec: FileSpec,
    element: Element,
    view: View,
    scopes: dict[Path, set[int] | None],
    checked: set[tuple[Path, int]],
    report: Report,
) -> None:
    name = name_of(spec)
    if spec.arr is None:
        report.add("file-rules", element, "no access rules", where=name, expected="securityAttributesReferenced")
        return
    fid, number = int.from_bytes(spec.arr[:2], "big"), spec.arr[2]
    # The EF.ARR of the nearest directory holds the rule (TS 102 221 9.2.7).
    rules = view.nearest(spec.path if spec.is_directory else spec.path[:-1], fid)
    if rules is None:
        if view.stopped is None:
            report.add("arr-file", element, f"access rule in {fid:04X}, which is not there", where=name)
        return
    records = rules.records()
    record = records[number - 1] if 1 <= number <= len(records) else b""
    if not record.strip(b"\xff"):
        report.add("arr-record", element, f"access rule {number} of {path_text(rules.path)} is not there", where=name)
        return
    place = spec.path if spec.is_directory else spec.path[:-1]
    try:
        references = conditions(record)
    except CodecError as exc:
        if (rules.path, number) not in checked:
            where = f"{name_of(rules)}, record {number}"
            report.add("arr-format", view.makers[rules.path], f"access rule: {exc}", where=where)
    else:
        missing = sorted(r for r in references if r != _UNIVERSAL_PIN and not defined(scopes, place, r))
        if missing and (rules.path, number) not in checked and view.stopped is None:
            listed = ", ".join(f"{reference:02X}" for reference in missing)
            report.add(
                "arr-pin",
                element,
                f"access rule {number} of {path_text(rules.path)} asks for {listed}, which no pinCodes define",
                where=name,
            )
    checked.add((rules.path, number))


def conditions(record: bytes) -> set[int]:
    """Return the key references that an access rule asks for (TS 102 221 9.2). Raises CodecError."""
    references: set[int] = set()
    pending = False
    for item in tlv.iterate(_padding_off(record), "of the access rule"):
        if 0x80 <= item.tag <= 0x8F or item.tag == 0x9C:
            pending = True
        elif pending:
            references |= _condition(item, 0)
        else:
            raise CodecError("condition without an access mode", expected="80 to 8F", found=f"{item.tag:X}")
    return references


def _padding_off(record: bytes) -> bytes:
    # FF is no tag that an access rule has: what begins with it is padding.
    at = 0
    while at < len(record) and record[at] != 0xFF:
        _, length, body = tlv.parse_header(record, at, "of the access rule")
        at = body + length
    return record[:at]


def _condition(item: tlv.Tlv, depth: int) -> set[int]:
    if item.tag in (_ALWAYS, _NEVER):
        return set()
    if item.tag == _KEY_TEMPLATE:
        key = item.get(0x83).value
        if len(key) != 1:
            raise CodecError("malformed key reference", expected="1 byte", found=key.hex().upper())
        return {key[0]}
    if item.tag in _COMBINED and depth < 4:
        return {reference for child in item.children() for reference in _condition(child, depth + 1)}
    if item.tag in (0x9E, 0xB4, 0xB6, 0xB8):
        # A condition byte, or secure messaging: no PIN.
        return set()
    raise CodecError("unknown condition", expected="90, 97, A4, A0, A7 or AF", found=f"{item.tag:X}")


def _pin_status(
    spec: FileSpec, element: Element, view: View, scopes: dict[Path, set[int] | None], report: Report
) -> None:
    if view.stopped is not None:
        return
    missing = [r for r in spec.pin_status_template or b"" if r != _UNIVERSAL_PIN and not defined(scopes, spec.path, r)]
    if missing:
        listed = ", ".join(f"{reference:02X}" for reference in missing)
        report.add("pin-status", element, f"PIN status of {listed}, which no pinCodes define", where=name_of(spec))
