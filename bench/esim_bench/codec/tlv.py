"""BER-TLV (ISO/IEC 8825-1, ISO 7816-4 5.2.2): definite lengths, tags of up to four bytes as one integer (0xBF36).

Parsing keeps the exact bytes of each object (``raw``), because signatures are verified over what was received.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from esim_bench.errors import CodecError

MAX_TAG_BYTES = 4
MAX_INTEGER = 64
"""Bytes of a number. The longest are serial numbers, of 20; Python does not even write those of thousands of digits."""
_SHORT = tuple(bytes((length,)) for length in range(0x80))
MAX_DEPTH = 64
"""Levels of constructed objects that ``check_nesting`` lets through; a profile package has about ten."""
_REMEMBERED = 8192
"""Bytes of the longest object whose nesting is not looked at twice."""
_SHORTEST_PART, _LONGEST_PART = 256, 1023
"""Bytes of such members of an object, certificates above all, whose nesting is not looked at twice either."""


class Tlv(NamedTuple):
    """One TLV object: tag as an integer of its bytes, value, and the exact bytes of the whole object."""

    tag: int
    value: bytes
    raw: bytes
    offset: int = 0
    """Where ``raw`` starts in the data that was parsed."""

    @property
    def constructed(self) -> bool:
        """Tell whether the value is a list of TLVs (bit 6 of the first tag byte)."""
        return bool(self.raw[0] & 0x20)

    @property
    def header_length(self) -> int:
        """Return the number of tag and length bytes."""
        return len(self.raw) - len(self.value)

    def integer(self, *, signed: bool = True) -> int:
        """Return the value as a number. Raises CodecError when it has no bytes, or more than any number of ours."""
        if not 1 <= len(self.value) <= MAX_INTEGER:
            raise CodecError(f"number in {self.tag:X}", expected=f"1 to {MAX_INTEGER} bytes", found=len(self.value))
        return int.from_bytes(self.value, "big", signed=signed)

    def children(self) -> list[Tlv]:
        """Parse the value as a list of TLVs. Raises CodecError."""
        found = _objects(self.value)
        return found if found is not None else parse_all(self.value, f"in {self.tag:X}")

    def find(self, *path: int) -> Tlv | None:
        """Return the first object down a path of tags, or None."""
        found = self
        for tag in path:
            for child in found.children():
                if child.tag == tag:
                    found = child
                    break
            else:
                return None
        return found

    def get(self, *path: int) -> Tlv:
        """Return the first object down a path of tags. Raises CodecError when it is missing."""
        found = self.find(*path)
        if found is None:
            raise CodecError(f"missing member in {self.tag:X}", expected="/".join(f"{tag:X}" for tag in path))
        return found


# What the class itself does at each call, without a call between.
_new = tuple.__new__


@lru_cache(maxsize=512)
def tag_bytes(tag: int) -> bytes:
    """Return the bytes of a tag."""
    return tag.to_bytes((tag.bit_length() + 7) // 8 or 1, "big")


def length_bytes(length: int) -> bytes:
    """Return a definite length in its shortest (DER) form."""
    if length < 0x80:
        return bytes((length,))
    size = (length.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + length.to_bytes(size, "big")


def encode(tag: int, *values: bytes) -> bytes:
    """Encode one object; several values are concatenated."""
    value = values[0] if len(values) == 1 else b"".join(values)
    length = len(value)
    return tag_bytes(tag) + (_SHORT[length] if length < 0x80 else length_bytes(length)) + value


def parse_header(data: bytes, offset: int = 0, where: str = "") -> tuple[int, int, int]:
    """Read tag and length at ``offset``: (tag, value length, offset of the value). Raises CodecError."""
    # Nearly all objects have a tag of one byte and a length of one: this is the hot path of every parser.
    try:
        tag, length = data[offset], data[offset + 1]
    except IndexError:
        return _long_header(data, offset, where)
    if tag & 0x1F == 0x1F or length & 0x80:
        return _long_header(data, offset, where)
    return tag, length, offset + 2


def _long_header(data: bytes, offset: int, where: str) -> tuple[int, int, int]:
    # Tags of two bytes, and lengths of up to three, are in every message; what is longer, or broken, is rare.
    try:
        tag, at = data[offset], offset + 1
        if tag & 0x1F == 0x1F:
            if data[at] & 0x80:
                return _any_header(data, offset, where)
            tag, at = tag << 8 | data[at], at + 1
        length = data[at]
        if length < 0x80:
            return tag, length, at + 1
        if length == 0x81:
            return tag, data[at + 1], at + 2
        if length == 0x82:
            return tag, data[at + 1] << 8 | data[at + 2], at + 3
    except IndexError:
        pass
    return _any_header(data, offset, where)


def _any_header(data: bytes, offset: int, where: str) -> tuple[int, int, int]:
    place = f"TLV at byte {offset}" + (f" {where}" if where else "")
    end = len(data)
    if offset >= end:
        raise CodecError("truncated", where=place, expected="a tag", found="the end of the data")
    start = offset
    first = data[offset]
    offset += 1
    if first & 0x1F == 0x1F:
        while True:
            if offset >= end:
                raise CodecError("truncated tag", where=place, expected="another tag byte", found="the end of the data")
            byte = data[offset]
            offset += 1
            if offset - start > MAX_TAG_BYTES:
                raise CodecError("tag too long", where=place, expected=f"at most {MAX_TAG_BYTES} bytes")
            if not byte & 0x80:
                break
    tag = int.from_bytes(data[start:offset], "big")
    if offset >= end:
        raise CodecError("truncated", where=place, expected=f"a length after tag {tag:X}", found="the end of the data")
    length = data[offset]
    offset += 1
    if length & 0x80:
        size = length & 0x7F
        if size == 0:
            raise CodecError("indefinite length", where=place, expected="a definite length", found="80")
        if size > 4:
            raise CodecError("length too long", where=place, expected="at most 4 length bytes", found=size)
        if offset + size > end:
            raise CodecError("truncated length", where=place, expected=f"{size} length bytes", found=end - offset)
        length = int.from_bytes(data[offset : offset + size], "big")
        offset += size
    return tag, length, offset


def parse_prefix(data: bytes, offset: int = 0, where: str = "") -> Tlv:
    """Parse the one object that starts at ``offset``; more bytes may follow. Raises CodecError."""
    tag, length, body = parse_header(data, offset, where)
    if body + length > len(data):
        raise CodecError(
            f"truncated value of tag {tag:X}",
            where=f"TLV at byte {offset}" + (f" {where}" if where else ""),
            expected=f"{length} bytes",
            found=f"{len(data) - body}",
        )
    end = body + length
    return Tlv(tag, bytes(data[body:end]), bytes(data[offset:end]), offset)


def parse(data: bytes, where: str = "") -> Tlv:
    """Parse exactly one object. Raises CodecError, also when bytes follow it."""
    try:
        tag, length, body = data[0], data[1], 2
    except IndexError:
        return parse_prefix(data, 0, where)
    if tag & 0x1F == 0x1F or length & 0x80:
        tag, length, body = _long_header(data, 0, where)
    if body + length == len(data):
        raw = bytes(data)
        return _new(Tlv, (tag, raw[body:], raw, 0))
    tlv = parse_prefix(data, 0, where)
    if len(tlv.raw) != len(data):
        raise CodecError(
            f"{len(data) - len(tlv.raw)} bytes after the end of tag {tlv.tag:X}",
            where=where or None,
            expected=f"{len(tlv.raw)} bytes in all",
            found=len(data),
        )
    return tlv


def parse_all(data: bytes, where: str = "") -> list[Tlv]:
    """Parse a concatenation of objects. Raises CodecError."""
    found = _objects(bytes(data))
    # Object by object it says what is wrong.
    return found if found is not None else list(iterate(data, where))


def _objects(data: bytes) -> list[Tlv] | None:
    """Return the objects of a concatenation, None where it is none: every message goes through this, at each level."""
    found = []
    offset, end = 0, len(data)
    try:
        while offset < end:
            tag, length, body = data[offset], data[offset + 1], offset + 2
            if tag & 0x1F == 0x1F or length & 0x80:
                tag, length, body = _long_header(data, offset, "")
            after = body + length
            if after > end:
                return None
            found.append(_new(Tlv, (tag, data[body:after], data[offset:after], offset)))
            offset = after
    except (IndexError, CodecError):
        return None
    return found


def iterate(data: bytes, where: str = "") -> Iterator[Tlv]:
    """Yield the objects of a concatenation one by one. Raises CodecError where the next one is malformed."""
    offset = 0
    while offset < len(data):
        tlv = parse_prefix(data, offset, where)
        yield tlv
        offset += len(tlv.raw)


def check_nesting(data: bytes, where: str = "") -> None:
    """Check, all the way down, that no object is longer than the constructed one it lies in. Raises CodecError."""
    if not 0 <= (_levels_again(data) if len(data) <= _REMEMBERED else _levels(data)) <= MAX_DEPTH:
        _explain_nesting(data, where)


def _levels(data: bytes, parts: bool = True) -> int:
    """Return how deep the objects are nested, 0: not at all; a negative number where the nesting is broken.

    This is what every message goes through, so it is quick and says no more. ``parts``: remember it of members that
    are as long as certificates, since the same ones come in message after message.
    """
    areas = [(0, len(data), 0)]
    deepest = 0
    while areas:
        offset, end, depth = areas.pop()
        if depth > MAX_DEPTH:
            return depth
        if depth > deepest:
            deepest = depth
        while offset < end:
            first = data[offset]
            body = offset + 2
            if body > end:
                return -1
            length = data[offset + 1]
            if first & 0x1F == 0x1F or length & 0x80:
                try:
                    _, length, body = _long_header(data, offset, "")
                except CodecError:
                    return -1
            offset = body + length
            if offset > end:
                return -1
            if first & 0x20 and length:
                if parts and _SHORTEST_PART <= length <= _LONGEST_PART:
                    levels = _levels_of_part(data[body:offset])
                    if levels < 0:
                        return -1
                    deepest = max(deepest, depth + 1 + levels)
                else:
                    areas.append((body, offset, depth + 1))
    return deepest


@lru_cache(maxsize=64)
def _levels_of_part(data: bytes) -> int:
    return _levels(data, parts=False)


# An object passes through several layers, each of which must not rely on the one before.
_levels_again = lru_cache(maxsize=256)(_levels)


def _explain_nesting(data: bytes, where: str) -> None:
    areas = [(0, len(data), 0)]
    while areas:
        offset, end, depth = areas.pop()
        if depth > MAX_DEPTH:
            raise CodecError("nested too deeply", where=where or None, expected=f"at most {MAX_DEPTH} levels")
        while offset < end:
            start = offset
            tag, length, body = parse_header(data, start, where)
            offset = body + length
            if offset > end:
                raise CodecError(
                    f"truncated value of tag {tag:X}",
                    where=f"TLV at byte {start}" + (f" {where}" if where else ""),
                    expected=f"{length} bytes",
                    found=max(end - body, 0),
                )
            if data[start] & 0x20 and length:
                areas.append((body, offset, depth + 1))
