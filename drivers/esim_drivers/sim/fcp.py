"""File headers of a UICC: how a file is kept in NVM, and the FCP template that SELECT and STATUS answer with.

ETSI TS 102 221 11.1.1.3 (response), TS 102 222 6.3.2.2 (creation). In NVM a file is its header, written as an FCP
template (tag 62), followed by its content; so a header in a memory dump can be read by any TLV tool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esim_bench.codec import tlv
from esim_bench.errors import CodecError

MF = 0x3F00
CURRENT_ADF = 0x7FFF

DESCRIPTOR = {"transparent": 0x41, "linear": 0x42, "cyclic": 0x46, "ber-tlv": 0x79, "df": 0x78, "adf": 0x78}
"""File descriptor byte (TS 102 221 11.1.1.4.3): shareable, by kind of file."""
DATA_CODING = 0x21
"""Data coding byte: behaviour of write functions (TS 102 221 11.1.1.4.3)."""
_KINDS = {value: kind for kind, value in DESCRIPTOR.items() if kind != "adf"}

_TEMPLATE = 0x62
_FCI = 0x6F
_SIZE, _TOTAL, _DESCRIPTOR, _FID, _AID = 0x80, 0x81, 0x82, 0x83, 0x84
_SFI, _LIFE_CYCLE, _ARR, _PROPRIETARY = 0x88, 0x8A, 0x8B, 0xA5
_PINS, _LINK, _SPECIAL = 0xC6, 0xC7, 0xC0


@dataclass(slots=True)
class FileHeader:
    """All that a file is besides its content. Sizes in bytes. Not frozen: an installation makes hundreds."""

    kind: str
    """transparent, linear, cyclic, ber-tlv, df or adf."""
    fid: int
    size: int = 0
    record_length: int = 0
    sfi: int | None = None
    """1 to 30; None: no short file identifier."""
    arr: bytes = b""
    """The access rules: FID of EF.ARR (2 bytes) and record number; empty: none, and nothing is allowed."""
    life_cycle: int = 0x05
    aid: bytes = b""
    pins: bytes = b""
    """A DF's key references (one byte each), in the order of its PIN status template."""
    link: tuple[int, ...] = ()
    """The path of the file whose content this one shows; empty: its own."""
    special: int = 0

    @property
    def is_df(self) -> bool:
        """Tell whether it is a directory: MF, DF or ADF."""
        return self.kind in ("df", "adf")

    @property
    def record_count(self) -> int:
        """Return the number of records; 0 for a file without."""
        return self.size // self.record_length if self.record_length else 0

    # ------------------------------------------------------------------------------------------------- in NVM

    def encode(self) -> bytes:
        """Return the header as it is kept."""
        # Written out, as an installation makes hundreds of them; none of the values is longer than 127 bytes.
        parts = [_descriptor(self), b"\x83\x02", self.fid.to_bytes(2, "big")]
        if self.kind == "adf":
            parts.append(tlv.encode(_AID, self.aid))
        if self.special:
            parts.append(bytes((_PROPRIETARY, 3, _SPECIAL, 1, self.special)))
        parts.append(bytes((_LIFE_CYCLE, 1, self.life_cycle)))
        if self.arr:
            parts.append(bytes((_ARR, len(self.arr))) + self.arr)
        if not self.is_df:
            size = _number(self.size)
            parts.append(bytes((_SIZE, len(size))) + size)
        if self.sfi is not None:
            parts.append(bytes((_SFI, 1, self.sfi << 3)))
        if self.pins:
            parts.append(tlv.encode(_PINS, self.pins))
        if self.link:
            parts.append(tlv.encode(_LINK, b"".join(fid.to_bytes(2, "big") for fid in self.link)))
        value = b"".join(parts)
        return bytes((_TEMPLATE,)) + tlv.length_bytes(len(value)) + value

    @classmethod
    def parse(cls, stored: bytes) -> tuple[FileHeader, bytes]:
        """Split a kept file into header and content. Raises CodecError."""
        template = tlv.parse_prefix(stored, 0, "of a kept file")
        members = {child.tag: child.value for child in template.children()}
        try:
            descriptor = members[_DESCRIPTOR]
            kind = "adf" if _AID in members else _KINDS[descriptor[0]]
            link = members.get(_LINK, b"")
            header = cls(
                kind=kind,
                fid=int.from_bytes(members[_FID], "big"),
                size=int.from_bytes(members.get(_SIZE, b""), "big"),
                record_length=int.from_bytes(descriptor[2:4], "big"),
                sfi=members[_SFI][0] >> 3 if _SFI in members else None,
                arr=members.get(_ARR, b""),
                life_cycle=members[_LIFE_CYCLE][0],
                aid=members.get(_AID, b""),
                pins=members.get(_PINS, b""),
                link=tuple(int.from_bytes(link[at : at + 2], "big") for at in range(0, len(link), 2)),
                special=tlv.parse(members[_PROPRIETARY]).value[0] if _PROPRIETARY in members else 0,
            )
        except (KeyError, IndexError) as exc:
            raise CodecError("a kept file without its header", expected="82, 83, 8A", found=stored[:16].hex()) from exc
        return header, stored[len(template.raw) :]


@dataclass(frozen=True, slots=True)
class PinState:
    """What the PIN status template tells of one key reference."""

    reference: int
    enabled: bool
    usage: int | None = None
    """The usage qualifier (TS 102 221 9.5.2), which only the universal PIN has: 08 it stands in for a PIN, 00 not."""


def fcp(
    header: FileHeader, *, pins: Sequence[PinState] = (), free_memory: int | None = None, fci: bool = False
) -> bytes:
    """Return the answer to SELECT: the FCP template, or (``fci``) the same members as FCI template.

    ``pins`` is the state of a directory's PINs, ``free_memory`` what MF and ADF tell as available.
    """
    # The number of an ADF is the profile creator's temporary one: outside it is "the current ADF".
    fid = CURRENT_ADF if header.kind == "adf" else header.fid
    parts = [_descriptor(header), tlv.encode(_FID, fid.to_bytes(2, "big"))]
    if header.kind == "adf":
        parts.append(tlv.encode(_AID, header.aid))
    proprietary = _proprietary(header, free_memory)
    if proprietary:
        parts.append(tlv.encode(_PROPRIETARY, proprietary))
    parts.append(tlv.encode(_LIFE_CYCLE, bytes((header.life_cycle,))))
    if header.arr:
        parts.append(tlv.encode(_ARR, header.arr))
    if header.is_df:
        if pins:
            parts.append(tlv.encode(_PINS, pin_status(pins)))
    else:
        parts.append(tlv.encode(_SIZE, _number(header.size)))
        if header.kind != "ber-tlv":
            parts.append(tlv.encode(_TOTAL, _number(header.size + len(header.encode()))))
        parts.append(tlv.encode(_SFI, bytes((header.sfi << 3,)) if header.sfi is not None else b""))
    return tlv.encode(_FCI if fci else _TEMPLATE, *parts)


def pin_status(pins: Sequence[PinState]) -> bytes:
    """Return the PIN status template's value (TS 102 221 9.5.2): bit map of the enabled ones, then the references."""
    size = (len(pins) + 7) // 8
    bits = 0
    for index, pin in enumerate(pins):
        if pin.enabled:
            bits |= 1 << (size * 8 - 1 - index)
    members = [tlv.encode(0x90, bits.to_bytes(size, "big"))]
    for pin in pins:
        if pin.usage is not None:
            members.append(tlv.encode(0x95, bytes((pin.usage,))))
        members.append(tlv.encode(0x83, bytes((pin.reference,))))
    return b"".join(members)


def _proprietary(header: FileHeader, free_memory: int | None) -> bytes:
    """TS 102 221 11.1.1.4.6: UICC characteristics (80) of the MF, free memory (83), special file information (C0)."""
    value = b""
    if header.fid == MF:
        value += tlv.encode(0x80, b"\x71")
    if free_memory is not None and (header.fid == MF or header.kind == "adf"):
        value += tlv.encode(0x83, free_memory.to_bytes(4, "big"))
    if header.special:
        value += tlv.encode(_SPECIAL, bytes((header.special,)))
    return value


def _descriptor(header: FileHeader) -> bytes:
    kind, length = DESCRIPTOR[header.kind], header.record_length
    if not length:
        return bytes((_DESCRIPTOR, 2, kind, DATA_CODING))
    return bytes((_DESCRIPTOR, 5, kind, DATA_CODING, length >> 8, length & 0xFF, header.record_count & 0xFF))


def _number(value: int) -> bytes:
    """A file size: at least two bytes (TS 102 221 11.1.1.4.1)."""
    return value.to_bytes(max(2, (value.bit_length() + 7) // 8), "big")
