"""Comprehension-TLV, the data objects of the card application toolkit (ETSI TS 101 220 7.1.1).

Tags are one byte, of which bit 8 only says whether the object must be understood (3F and BF are no two-byte tags here),
or three when the first is 7F; lengths are as in BER-TLV.
"""

from __future__ import annotations

from typing import Final

from esim_bench.errors import CodecError

REQUIRED: Final = 0x80
"""Bit of a tag: a receiver that does not know the object must refuse the whole."""
_LONG: Final = 0x7F


def objects(data: bytes, where: str = "") -> list[tuple[int, bytes]]:
    """Split data into (tag without its comprehension bit, value). Raises CodecError."""
    found, at = [], 0
    while at < len(data):
        start, tag = at, data[at] & 0x7F
        at += 1
        if tag == _LONG:
            tag = int.from_bytes(data[at : at + 2], "big") & 0x7FFF
            at += 2
        length, at = _length(data, at, start, where)
        if at + length > len(data):
            raise CodecError(
                "truncated comprehension-TLV",
                where=_place(start, where),
                expected=f"{length} bytes",
                found=len(data) - at,
            )
        found.append((tag, data[at : at + length]))
        at += length
    return found


def first(data: bytes, where: str = "") -> dict[int, bytes]:
    """Return the first object of each tag. Raises CodecError."""
    return dict(reversed(objects(data, where)))


def _length(data: bytes, at: int, start: int, where: str) -> tuple[int, int]:
    """Return a length and where its value begins: one byte, or 81, 82 or 83 and as many more."""
    size = 0
    if at < len(data) and data[at] > 0x80:
        size = data[at] & 0x7F
    end = at + 1 + size
    if at >= len(data) or data[at] == 0x80 or size > 3 or end > len(data):
        raise CodecError(
            "length of a comprehension-TLV", where=_place(start, where), expected="one byte, or 81 to 83 and the length"
        )
    return (int.from_bytes(data[at + 1 : end], "big") if size else data[at]), end


def _place(at: int, where: str) -> str:
    return f"object at byte {at} {where}".rstrip()
