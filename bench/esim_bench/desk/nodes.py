"""Trees of decoded values: helpers for what the desk decodes itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from esim_bench.codec import tlv
from esim_bench.errors import CodecError
from esim_bench.trace.tree import Node

MAX_DEPTH: Final = 12

FCP_TAGS: Final = {
    0x62: "FCP template",
    0x80: "file size",
    0x81: "total file size",
    0x82: "file descriptor",
    0x83: "file identifier",
    0x84: "DF name (AID)",
    0x88: "short file identifier",
    0x8A: "life cycle status",
    0x8B: "security attributes (EF.ARR, record)",
    0x8C: "security attributes, compact",
    0xA5: "proprietary information",
    0xAB: "security attributes, expanded",
    0xC6: "PIN status template",
}
"""TS 102 221 11.1.1.3 and 11.1.1.4."""
_LIFE: Final = {0: "no information", 1: "creation", 3: "initialisation", 4: "deactivated", 5: "activated"}
_KINDS: Final = {0x01: "transparent", 0x02: "linear fixed", 0x06: "cyclic"}


def tlv_nodes(data: bytes, names: Mapping[int, str] | None = None, start: int = 0, depth: int = 0) -> list[Node]:
    """Return TLV objects as nodes, with their places in the bytes; [] where they are none."""
    try:
        items = tlv.parse_all(data, "data")
    except CodecError:
        return []
    return [_tlv_node(item, names or {}, start, depth) for item in items]


def _tlv_node(item: tlv.Tlv, names: Mapping[int, str], start: int, depth: int) -> Node:
    at = start + item.offset
    children: list[Node] = []
    if item.constructed and depth < MAX_DEPTH:
        children = tlv_nodes(item.value, names, at + item.header_length, depth + 1)
    name = f"{item.tag:02X}"
    return Node(
        name=f"{name} {names[item.tag]}" if item.tag in names else name,
        value="" if children else item.value.hex().upper(),
        start=at,
        end=at + len(item.raw),
        children=children,
    )


def structure_of(descriptor: bytes) -> str:
    """Say the structure of a file by its descriptor byte (TS 102 221 table 11.5)."""
    if not descriptor:
        return ""
    if descriptor[0] & 0x38 == 0x38:
        return "BER-TLV" if descriptor[0] & 0x07 == 0x01 else "DF"
    return _KINDS.get(descriptor[0] & 0x07, "")


def control_nodes(fcp: bytes) -> list[Node]:
    """Return file control parameters as nodes, their values in words."""
    return [_in_words(node) for top in tlv_nodes(fcp, FCP_TAGS) for node in (top.children or [top])]


def _in_words(node: Node) -> Node:
    try:
        raw = bytes.fromhex(node.value)
        text = _words(int(node.name.partition(" ")[0], 16), raw)
    except (ValueError, IndexError):
        return node
    return node.model_copy(update={"note": text}) if text else node


def _words(tag: int, raw: bytes) -> str:
    match tag:
        case 0x80 | 0x81:
            return f"{int.from_bytes(raw, 'big')} bytes"
        case 0x82:
            records = f", {raw[4]} records of {int.from_bytes(raw[2:4], 'big')} bytes" if len(raw) >= 5 else ""
            return structure_of(raw) + records
        case 0x88:
            return f"SFI {raw[0] >> 3:02X}"
        case 0x8A:
            return _LIFE.get(raw[0], "terminated" if raw[0] & 0xFC == 0x0C else "")
        case 0x8B:
            return f"EF.ARR {raw[:2].hex().upper()}, record {raw[-1]}"
        case _:
            return ""
