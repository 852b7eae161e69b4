"""BER-TLV objects as trees of names: walked beside the ASN.1 types of SGP.22, by tags alone where there is no type.

Nothing here decodes in order to go on from the result: it is for people who look at bytes, so whatever the bytes are,
a tree comes back, and what does not fit its type is shown as plain TLV.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from esim_bench.codec import tlv
from esim_bench.codec.identifiers import iccid_to_text
from esim_bench.codec.schema import RSP
from esim_bench.errors import CodecError
from esim_bench.trace.tree import Node

MAX_DEPTH: Final = 24
MAX_NODES: Final = 4000
"""Objects of one tree; what comes after them is not shown one by one."""
_UNIVERSAL: Final = {
    0x01: "BOOLEAN",
    0x02: "INTEGER",
    0x03: "BIT STRING",
    0x04: "OCTET STRING",
    0x05: "NULL",
    0x06: "OBJECT IDENTIFIER",
    0x0A: "ENUMERATED",
    0x0C: "UTF8String",
    0x13: "PrintableString",
    0x16: "IA5String",
    0x17: "UTCTime",
    0x18: "GeneralizedTime",
    0x30: "SEQUENCE",
    0x31: "SET",
}
_TEXTS: Final = frozenset((0x0C, 0x13, 0x16, 0x17, 0x18))
_OUTER: Final = frozenset(("Request", "Response", "Result"))
# Numbers that stand for something (SGP.22 5.7, 2.4a); the schema has them as plain INTEGER.
_NUMBERS: Final[Mapping[str, Mapping[int, str]]] = {
    "profileState": {0: "disabled", 1: "enabled"},
    "profileClass": {0: "test", 1: "provisioning", 2: "operational"},
    "iconType": {0: "jpg", 1: "png"},
}


class _Budget:
    """How many objects may still be shown."""

    def __init__(self) -> None:
        self.left = MAX_NODES


def type_for(tag: int, *, request: bool, inside: str = "") -> Any:
    """Return the type of an outermost object by its tag; None where the schema has none."""
    found = _types().get(tag, ())
    names = [name for name in found if name.endswith("Request") == request]
    if not names:
        return None
    preferred = [name for name in names if name == inside] or names
    return _type(preferred[0])


def trees(data: bytes, *, request: bool, base: int = 0) -> list[Node]:
    """Return the trees of the objects that data consists of; positions count from ``base``. Never raises."""
    return _list(data, base, None, request, 0, _Budget())


@lru_cache(maxsize=1)
def _types() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in RSP._compiled.types:
        tag = getattr(_type(name), "tag", None)
        if tag and len(tag) > 1:
            found.setdefault(int.from_bytes(tag, "big"), []).append(name)
    return found


def _type(name: str) -> Any:
    compiled = RSP._compiled.types[name]
    return getattr(compiled, "type", None) or compiled._type


def _list(data: bytes, base: int, kind: Any, request: bool, depth: int, budget: _Budget) -> list[Node]:
    """Return the objects of a value one after another; what is no TLV comes as bytes."""
    nodes: list[Node] = []
    kept = [member for member in getattr(kind, "root_members", None) or () if type(member).__name__ == "Any"]
    offset = 0
    while offset < len(data):
        try:
            tag, length, value_at = tlv.parse_header(data, offset)
            end = value_at + length
            whole = end <= len(data)
        except CodecError:
            tag, value_at, end, whole = 0, offset, len(data), False
        if not whole or budget.left <= 0:
            rest = data[offset:]
            note = "more than can be shown" if whole else "no TLV, or the end is missing"
            nodes.append(Node(name="bytes", value=_hex(rest), note=note, start=base + offset, end=base + len(data)))
            break
        budget.left -= 1
        member = _member(kind, tag) if kind is not None else type_for(tag, request=request)
        if member is _Nothing and kept:
            member = _signed(kept.pop(0))
        nodes.append(
            _node(tag, data[value_at:end], base + offset, base + value_at, base + end, member, request, depth, budget)
        )
        offset = end
    return nodes


def _signed(member: Any) -> Any:
    """Return the type of what the schema keeps as bytes, because it is signed as it came: they stand in their order."""
    name = _names().get(member.name.lower())
    return _type(name) if name is not None else member


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    return {name.lower(): name for name in RSP._compiled.types}


def _whole(kind: Any) -> Any:
    """Return the type with its members, for a member that the schema keeps as bytes."""
    form = type(kind).__name__
    kept = form in ("OctetString", "Any") or (form == "Sequence" and not kind.root_members)
    return _type(_names()[kind.name.lower()]) if kept and kind.name.lower() in _names() else kind


def _node(
    tag: int, value: bytes, start: int, value_at: int, end: int, kind: Any, request: bool, depth: int, budget: _Budget
) -> Node:
    name = _name(tag, kind)
    first = tag >> 8 * ((max(tag.bit_length(), 1) - 1) // 8)
    children: list[Node] = []
    if first & 0x20 and depth < MAX_DEPTH:
        inner = _inner(_whole(kind))
        children = _list(value, value_at, inner if inner is not None else _Nothing, request, depth + 1, budget)
    if children:
        return Node(name=name, start=start, end=end, children=children)
    text, note = _value(tag, value, kind)
    return Node(name=name, value=text, note=note, start=start, end=end)


class _NothingKnown:
    """The type of what has none: members are not looked for, nor are outermost objects."""


_Nothing: Final = _NothingKnown()


def _name(tag: int, kind: Any) -> str:
    known = getattr(kind, "name", "") or ""
    shown = f"{tag:02X}"
    if known:
        return f"{shown} {known}"
    return f"{shown} {_UNIVERSAL[tag]}" if tag in _UNIVERSAL else shown


def _inner(kind: Any) -> Any:
    """Return the type whose members stand in a constructed value."""
    if kind is None or kind is _Nothing:
        return None
    if type(kind).__name__ == "ExplicitTag":
        return _Exactly(kind.inner)
    return kind


class _Exactly:
    """What stands behind an explicit tag: this one type."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner


def _member(kind: Any, tag: int) -> Any:
    """Return the type of a member by its tag; _Nothing where it is not known."""
    wanted = tag.to_bytes((tag.bit_length() + 7) // 8 or 1, "big")
    if isinstance(kind, _Exactly):
        return _fit(kind.inner, wanted) or _Nothing
    for member in getattr(kind, "root_members", None) or ():
        found = _fit(member, wanted)
        if found is not None:
            return found
    element = getattr(kind, "element_type", None)
    if element is not None:
        return _fit(element, wanted) or _Nothing
    if type(kind).__name__ == "Choice":
        return _fit(kind, wanted) or _Nothing
    return _Nothing


def _fit(kind: Any, tag: bytes) -> Any:
    """Return the type that begins with a tag: this one, or the alternative of a CHOICE; None where neither does."""
    if type(kind).__name__ == "Choice":
        return kind.tag_to_member.get(tag)
    if type(kind).__name__ == "Recursive":
        return None
    own = getattr(kind, "tag", None)
    return kind if own is not None and bytes(own) == tag else None


def _value(tag: int, value: bytes, kind: Any) -> tuple[str, str]:
    """Return a primitive value in words, and what it means where that is known."""
    name = getattr(kind, "name", "") or ""
    form = type(kind).__name__
    if not value:
        return "", ""
    if tag == 0x5A and 8 <= len(value) <= 10:
        try:
            return _hex(value), f"ICCID {iccid_to_text(value)}"
        except (CodecError, ValueError):
            return _hex(value), ""
    if (form in ("Integer", "Enumerated") or tag in (0x02, 0x0A)) and len(value) <= 8:
        number = int.from_bytes(value, "big", signed=True)
        meaning = _NUMBERS.get(name, {}).get(number, "")
        if not meaning and form == "Enumerated":
            meaning = str(getattr(kind, "value_to_data", {}).get(number, "") or "")
        if not meaning and name.endswith(("Result", "result")):
            meaning = "ok" if number == 0 else ""
        return str(number), meaning
    if form == "UTF8String" or tag in _TEXTS:
        return _text(value), ""
    if form == "ObjectIdentifier" or tag == 0x06:
        return _oid(value), ""
    if form == "BitString" or tag == 0x03:
        return _hex(value), _bits(value, kind)
    if form == "Boolean" or tag == 0x01:
        return ("TRUE" if value != b"\x00" else "FALSE"), ""
    if len(value) == 3 and (name == "svn" or name.lower().endswith(("version", "ver"))):
        return _hex(value), ".".join(map(str, value))
    printable = value.isascii() and value.decode("ascii").isprintable() and len(value) > 3
    return _hex(value), f'"{value.decode("ascii")}"' if printable else ""


def _text(value: bytes) -> str:
    text = value.decode("utf-8", errors="replace")
    return text if text.isprintable() else repr(text)[1:-1]


def _oid(value: bytes) -> str:
    arcs: list[int] = []
    number = 0
    for byte in value[:64]:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(number)
            number = 0
    if not arcs:
        return _hex(value)
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _bits(value: bytes, kind: Any) -> str:
    if not value or value[0] > 7:
        return ""
    count = (len(value) - 1) * 8 - value[0]
    names = {number: str(name) for name, number in getattr(kind, "named_bits", None) or ()}
    on = [number for number in range(max(count, 0)) if value[1 + number // 8] & 0x80 >> number % 8]
    return ", ".join(names.get(number, f"bit {number}") for number in on[:40]) or "none"


def _hex(value: bytes) -> str:
    return value.hex().upper()
