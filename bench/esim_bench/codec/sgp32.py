"""What all objects of SGP.32 share: the versions, members in their order, strings of named bits, keys and certificates.

Sending is strict: an object that a version of SGP.32 does not have is a CodecError. In receiving, members that follow
the known ones are passed over (extensibility), and other liberties are named where they are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

SEQUENCE: Final = 0x30
INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
UTF8_STRING: Final = 0x0C
NULL: Final = 0x05
SIGNATURE: Final = 0x5F37
EID: Final = 0x5A
EID_LENGTH: Final = 16
ICCID_LENGTH: Final = 10
MAX_EIM_ID: Final = 128
"""Bytes of UTF-8."""
MAX_TRANSACTION_ID: Final = 16


class Version(IntEnum):
    """Versions of SGP.32 that are on the air; 1.1 has 1.2's messages. The value is the version's three bytes."""

    V1_0_1 = 0x010001
    V1_2 = 0x010200
    V1_3 = 0x010300

    @property
    def octets(self) -> bytes:
        """Return it as in iotSpecificInfo, e.g. 01 02 00."""
        return int(self).to_bytes(3, "big")

    @property
    def text(self) -> str:
        """Return "1.0.1", "1.2" or "1.3"."""
        return ".".join(str(byte) for byte in self.octets).removesuffix(".0")

    @classmethod
    def from_text(cls, text: str) -> Version:
        """Return the version of a text. Raises CodecError."""
        found = next((version for version in cls if version.text == text), None)
        if found is None:
            raise CodecError("SGP.32 version", expected=", ".join(version.text for version in cls), found=repr(text))
        return found


class Members:
    """The members of a SEQUENCE, taken one by one in their order."""

    def __init__(self, item: Tlv, where: str) -> None:
        self.where = where
        self._rest = item.children()
        self._asked: set[int] = set()

    @classmethod
    def of(cls, raw: bytes, tag: int, where: str) -> Members:
        """Open a whole object. Raises CodecError for another tag, and where the nesting is broken anywhere in it."""
        return cls(open_object(raw, tag, where), where)

    def peek(self) -> int | None:
        """Return the tag of the next member."""
        return self._rest[0].tag if self._rest else None

    def optional(self, *tags: int) -> Tlv | None:
        """Take the next member if it has one of these tags."""
        self._asked.update(tags)
        return self._rest.pop(0) if self._rest and self._rest[0].tag in tags else None

    def take(self, *tags: int) -> Tlv:
        """Take the next member. Raises CodecError unless it has one of these tags."""
        self._asked.update(tags)
        if self._rest and self._rest[0].tag in tags:
            return self._rest.pop(0)
        came = f"{self._rest[0].tag:X}" if self._rest else "the end"
        expected = " or ".join(f"{tag:X}" for tag in tags)
        raise CodecError("missing member", where=self.where, expected=expected, found=came)

    def end(self) -> tuple[Tlv, ...]:
        """Return the members of later versions. Raises CodecError where a known one comes twice or out of order."""
        for item in self._rest:
            if item.tag in self._asked:
                raise CodecError("member twice or out of order", where=self.where, found=f"{item.tag:X}")
        return tuple(self._rest)


def open_object(raw: bytes, tag: int, where: str) -> Tlv:
    """Parse exactly one object of a tag, checking its nesting all the way down. Raises CodecError."""
    item = tlv.parse(raw, where)
    if item.tag != tag:
        raise CodecError("wrong tag", where=where, expected=f"{tag:X}", found=f"{item.tag:X}")
    tlv.check_nesting(raw, f"in {where}")
    return item


def choice(item: Tlv, where: str, *tags: int) -> Tlv:
    """Return the one member of a CHOICE's object. Raises CodecError for none, several, or another tag."""
    members = item.children()
    if len(members) != 1 or (tags and members[0].tag not in tags):
        found = " ".join(f"{member.tag:X}" for member in members[:8]) or "nothing"
        expected = " or ".join(f"{tag:X}" for tag in tags) or "one member"
        raise CodecError("wrong choice", where=where, expected=expected, found=found)
    return members[0]


# --------------------------------------------------------------------------------------------------------------- values


def integer(tag: int, value: int) -> bytes:
    """Encode an INTEGER in DER: two's complement, the fewest bytes, so 128 is 00 80."""
    bits = value if value >= 0 else ~value
    return tlv.encode(tag, value.to_bytes(bits.bit_length() // 8 + 1, "big", signed=True))


def natural(item: Tlv) -> int:
    """Read a number that is never negative. Raises CodecError."""
    value = item.integer()
    if value < 0:
        raise CodecError(f"number in {item.tag:X}", expected="0 or more", found=value)
    return value


def utf8(tag: int, text: str, where: str, most: int = 255, least: int = 0) -> bytes:
    """Encode a text. Raises CodecError for one that is too long or short (in bytes), or no Unicode."""
    try:
        value = text.encode()
    except UnicodeEncodeError as exc:
        raise CodecError("half a surrogate pair in a text", where=where, expected="Unicode") from exc
    if not least <= len(value) <= most:
        raise CodecError("length of a text", where=where, expected=f"{least} to {most} bytes", found=len(value))
    return tlv.encode(tag, value)


def text_of(item: Tlv, where: str, most: int = 255, least: int = 0) -> str:
    """Read a text. Raises CodecError."""
    if not least <= len(item.value) <= most:
        raise CodecError("length of a text", where=where, expected=f"{least} to {most} bytes", found=len(item.value))
    try:
        return item.value.decode()
    except UnicodeDecodeError as exc:
        raise CodecError("text", where=where, expected="UTF-8", found=f"byte {exc.start}") from exc


def eim_id(text: str) -> bytes:
    """Encode an eimId (80), 1 to 128 bytes. Raises CodecError."""
    return utf8(0x80, text, "eimId", MAX_EIM_ID, 1)


def eim_id_of(item: Tlv) -> str:
    """Read an eimId. Raises CodecError."""
    return text_of(item, "eimId", MAX_EIM_ID, 1)


def sized(value: bytes, where: str, least: int, most: int | None = None) -> bytes:
    """Return octets of the right number. Raises CodecError."""
    most = least if most is None else most
    if not least <= len(value) <= most:
        expected = f"{least} bytes" if least == most else f"{least} to {most} bytes"
        raise CodecError("length", where=where, expected=expected, found=len(value))
    return bytes(value)


def transaction_id(tag: int, value: bytes | None) -> bytes:
    """Encode a transaction identifier (1 to 16 bytes); nothing for None. Raises CodecError."""
    return b"" if value is None else tlv.encode(tag, sized(value, "transactionId", 1, MAX_TRANSACTION_ID))


def transaction_id_of(item: Tlv | None) -> bytes | None:
    """Read an optional transaction identifier. Raises CodecError."""
    return None if item is None else sized(item.value, "transactionId", 1, MAX_TRANSACTION_ID)


def flag(tag: int, value: bool) -> bytes:
    """Encode an optional NULL that stands for "yes"."""
    return tlv.encode(tag, b"") if value else b""


def flag_of(item: Tlv | None, where: str) -> bool:
    """Tell whether an optional NULL is there. Raises CodecError when it has a value."""
    if item is not None and item.value:
        raise CodecError("NULL", where=where, expected="no bytes", found=item.value[:8].hex())
    return item is not None


def boolean(tag: int, value: bool) -> bytes:
    """Encode a BOOLEAN in DER: FF or 00."""
    return tlv.encode(tag, b"\xff" if value else b"\x00")


def boolean_of(item: Tlv, where: str) -> bool:
    """Read a BOOLEAN; any byte but 00 is true. Raises CodecError."""
    if len(item.value) != 1:
        raise CodecError("BOOLEAN", where=where, expected="1 byte", found=len(item.value))
    return item.value != b"\x00"


def named_bits(tag: int, names: Iterable[str], table: Sequence[str], where: str) -> bytes:
    """Encode a BIT STRING of named bits, bit 0 first, trailing zero bits left out (DER). Raises CodecError."""
    chosen = list(names)
    unknown = [name for name in chosen if name not in table]
    if unknown:
        raise CodecError("no such bit", where=where, expected=", ".join(table), found=repr(unknown[0]))
    indexes = {table.index(name) for name in chosen}
    if not indexes:
        return tlv.encode(tag, b"\x00")
    size = max(indexes) // 8 + 1
    value = sum(1 << size * 8 - 1 - index for index in indexes)
    return tlv.encode(tag, bytes((size * 8 - 1 - max(indexes),)), value.to_bytes(size, "big"))


def names_of(item: Tlv, table: Sequence[str], where: str) -> tuple[str, ...]:
    """Read a BIT STRING of named bits, of whatever length; unknown bits are passed over. Raises CodecError."""
    if not item.value or item.value[0] > 7 or (len(item.value) == 1 and item.value[0]):
        raise CodecError("BIT STRING", where=where, expected="0 to 7 unused bits", found=item.value[:4].hex())
    data = item.value[1:]
    bits = len(data) * 8 - item.value[0]
    return tuple(name for index, name in enumerate(table) if index < bits and data[index // 8] & 0x80 >> index % 8)


def object_identifier(tag: int, dotted: str, where: str) -> bytes:
    """Encode an OBJECT IDENTIFIER, e.g. "2.999.10". Raises CodecError."""
    parts = dotted.split(".")
    if len(parts) < 2 or len(dotted) > 256 or not all(part.isascii() and part.isdigit() for part in parts):
        raise CodecError("OBJECT IDENTIFIER", where=where, expected="numbers with dots", found=repr(dotted[:40]))
    arcs = [int(part) for part in parts]
    if arcs[0] > 2 or (arcs[0] < 2 and arcs[1] > 39):
        raise CodecError("OBJECT IDENTIFIER", where=where, expected="0.0-39, 1.0-39 or 2.n", found=repr(dotted[:40]))
    value = b""
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(arc & 0x7F | 0x80)
        value += bytes(reversed(septets))
    return tlv.encode(tag, value)


def dotted_of(item: Tlv, where: str) -> str:
    """Read an OBJECT IDENTIFIER. Raises CodecError."""
    if not 1 <= len(item.value) <= 128 or item.value[-1] & 0x80:
        raise CodecError("OBJECT IDENTIFIER", where=where, expected="whole arcs, 1 to 128 bytes", found=len(item.value))
    arcs, arc = [], 0
    for byte in item.value:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


# ------------------------------------------------------------------------------------------------ certificates and keys


def retagged(tag: int, der: bytes, where: str, own: int = SEQUENCE) -> bytes:
    """Put a tag in the place of an object's own one (IMPLICIT tagging). Raises CodecError unless it has its own."""
    item = tlv.parse(der, where)
    if item.tag != own:
        raise CodecError("wrong tag", where=where, expected=f"{own:X}", found=f"{item.tag:X}")
    return tlv.encode(tag, item.value)


def certificate_of(item: Tlv, where: str) -> bytes:
    """Return a Certificate whose 30 was replaced, with its 30. Raises CodecError when it cannot be one."""
    if [child.tag for child in item.children()] != [0x30, 0x30, 0x03]:
        raise CodecError("no certificate", where=where, expected="30, 30, 03 in place of the 30 around them")
    return tlv.encode(SEQUENCE, item.value)


def name_of(table: Mapping[int, str], code: int) -> str:
    """Return the standard's name of a code."""
    return table.get(code, f"unknown {code}")
