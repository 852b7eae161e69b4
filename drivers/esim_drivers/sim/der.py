"""The few DER values that an eUICC reads and writes by hand around the bytes it signs."""

from __future__ import annotations

from esim_bench.codec.tlv import Tlv, encode
from esim_bench.errors import CodecError

MAX_INTEGER_BYTES = 8


def integer(tag: int, value: int) -> bytes:
    """Encode an INTEGER under a tag (80 or more gets a leading 00)."""
    return encode(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def read_integer(tlv: Tlv) -> int:
    """Return the value of an INTEGER. Raises CodecError when it is empty or longer than 8 bytes."""
    if not 1 <= len(tlv.value) <= MAX_INTEGER_BYTES:
        raise CodecError(f"INTEGER {tlv.tag:X}", expected=f"1 to {MAX_INTEGER_BYTES} bytes", found=len(tlv.value))
    return int.from_bytes(tlv.value, "big", signed=True)


def read_boolean(tlv: Tlv) -> bool:
    """Return the value of a BOOLEAN. Raises CodecError when it is not one byte."""
    if len(tlv.value) != 1:
        raise CodecError(f"BOOLEAN {tlv.tag:X}", expected="1 byte", found=len(tlv.value))
    return tlv.value != b"\x00"


def bit_string(tag: int, bits: tuple[bytes, int]) -> bytes:
    """Encode a BIT STRING under a tag from its bytes and number of bits."""
    data, count = bits
    return encode(tag, bytes((len(data) * 8 - count,)), data)


def bits(tag: int, *positions: int) -> bytes:
    """Encode a named-bit BIT STRING under a tag: bit 0 is the highest of the first byte, trailing zeros dropped."""
    if not positions:
        return encode(tag, b"\x00")
    count = max(positions) + 1
    value = sum(1 << (count - 1 - position) for position in dict.fromkeys(positions))
    size = (count + 7) // 8
    return bit_string(tag, ((value << (size * 8 - count)).to_bytes(size, "big"), count))


def read_bits(tlv: Tlv) -> tuple[int, ...]:
    """Return the positions of the set bits, ascending. Raises CodecError for an impossible unused-bit count."""
    data = tlv.value
    if not data or data[0] > 7 or (data[0] and len(data) == 1):
        raise CodecError(
            f"BIT STRING {tlv.tag:X}", expected="an unused-bit count of 0 to 7 and its bytes", found=data.hex()
        )
    count = (len(data) - 1) * 8 - data[0]
    return tuple(bit for bit in range(count) if data[1 + bit // 8] & (0x80 >> bit % 8))


def text(tag: int, value: str) -> bytes:
    """Encode a UTF8String under a tag."""
    return encode(tag, value.encode())


def read_text(tlv: Tlv, most: int) -> str:
    """Return a UTF8String of at most ``most`` characters. Raises CodecError."""
    try:
        value = tlv.value.decode()
    except UnicodeDecodeError as exc:
        raise CodecError(f"text {tlv.tag:X}", expected="UTF-8", found=tlv.value.hex()) from exc
    if len(value) > most:
        raise CodecError(f"text {tlv.tag:X}", expected=f"at most {most} characters", found=len(value))
    return value


def oid(tag: int, dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER under a tag. Raises CodecError for text that is none."""
    try:
        arcs = [int(arc) for arc in dotted.split(".")]
        first, second, *rest = arcs
    except ValueError as exc:
        raise CodecError("object identifier", expected="dotted numbers", found=repr(dotted)) from exc
    out = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | (arc & 0x7F))
        out += bytes(reversed(groups))
    return encode(tag, bytes(out))


def exactly(tlv: Tlv, *sizes: int) -> bytes:
    """Return a value that must have one of the given lengths. Raises CodecError."""
    if len(tlv.value) not in sizes:
        expected = " or ".join(map(str, sizes))
        raise CodecError(f"length of {tlv.tag:X}", expected=f"{expected} bytes", found=len(tlv.value))
    return tlv.value
