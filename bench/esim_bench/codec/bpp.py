"""The bound profile package (SGP.22 2.5.4) and its cutting into segments for the eUICC (2.5.5).

A BPP is BF36 { BF23, A0 { 87 }, A1 { 88 ... }, A2 { 87 }?, A3 { 86 ... } }. It is taken apart and put together by TLV,
because the 86, 87 and 88 objects are ciphertexts whose bytes must survive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

TAG_BPP: Final = 0xBF36
TAG_INITIALISE: Final = 0xBF23
MAX_SEGMENT: Final = 1020
"""Bytes of the longest 86, 87 or 88 TLV that is sent: four APDUs of 255."""
_PARTS: Final = ((0xA0, 0x87), (0xA1, 0x88), (0xA2, 0x87), (0xA3, 0x86))


@dataclass(frozen=True, slots=True)
class Bpp:
    """A bound profile package, taken apart."""

    raw: bytes
    initialise: Tlv
    """BF23."""
    configure: tuple[Tlv, ...]
    """87s of A0."""
    metadata: tuple[Tlv, ...]
    """88s of A1."""
    replace_keys: tuple[Tlv, ...]
    """87s of A2; empty where session keys protect the profile."""
    elements: tuple[Tlv, ...]
    """86s of A3."""

    @classmethod
    def parse(cls, raw: bytes) -> Bpp:
        """Take a BPP apart. Raises CodecError naming the part that is wrong."""
        whole = tlv.parse(raw, "BoundProfilePackage")
        if whole.tag != TAG_BPP:
            raise CodecError("not a bound profile package", expected="BF36", found=f"{whole.tag:X}")
        members = whole.children()
        if not members or members[0].tag != TAG_INITIALISE:
            found = f"{members[0].tag:X}" if members else "nothing"
            raise CodecError("bound profile package", expected="BF23 first", found=found)
        rest = members[1:]
        parts: dict[int, tuple[Tlv, ...]] = {}
        for tag, inner in _PARTS:
            if rest and rest[0].tag == tag:
                children = tuple(rest.pop(0).children())
                wrong = next((child for child in children if child.tag != inner), None)
                if wrong is not None:
                    raise CodecError(f"part {tag:X} of the BPP", expected=f"{inner:X}", found=f"{wrong.tag:X}")
                parts[tag] = children
            elif tag != 0xA2:
                found = f"{rest[0].tag:X}" if rest else "the end"
                raise CodecError("bound profile package", expected=f"{tag:X}", found=found)
        if rest:
            raise CodecError("bound profile package", expected="the end", found=f"{rest[0].tag:X}")
        return cls(bytes(raw), members[0], parts[0xA0], parts[0xA1], parts.get(0xA2, ()), parts[0xA3])


def build(
    initialise: bytes,
    configure: Sequence[bytes],
    metadata: Sequence[bytes],
    elements: Sequence[bytes],
    replace_keys: Sequence[bytes] = (),
) -> bytes:
    """Put a BPP together from ready-made TLVs: BF23, 87s, 88s, 86s, and the 87s of ReplaceSessionKeys."""
    parts = [initialise, tlv.encode(0xA0, *configure), tlv.encode(0xA1, *metadata)]
    if replace_keys:
        parts.append(tlv.encode(0xA2, *replace_keys))
    return tlv.encode(TAG_BPP, *parts, tlv.encode(0xA3, *elements))


def segments(raw: bytes) -> list[bytes]:
    """Cut a BPP into what goes to the eUICC as one STORE DATA chain each (SGP.22 2.5.5). Raises CodecError.

    BF36's tag and length with all of BF23; A0's with its first 87; A1's alone, then each 88; A2's with its first 87;
    A3's alone, then each 86.
    """
    bpp = Bpp.parse(raw)
    whole = tlv.parse(raw)
    heads = {member.tag: member.raw[: member.header_length] for member in whole.children()}
    cut = [raw[: whole.header_length] + bpp.initialise.raw]
    cut += _with_head(heads[0xA0], bpp.configure)
    cut += [heads[0xA1], *(segment.raw for segment in bpp.metadata)]
    if 0xA2 in heads:
        cut += _with_head(heads[0xA2], bpp.replace_keys)
    cut += [heads[0xA3], *(segment.raw for segment in bpp.elements)]
    return cut


def signed_part(initialise: Tlv, euicc_otpk: bytes) -> bytes:
    """Return what smdpSign signs: BF23's members before it, plainly concatenated, and the eUICC's one-time key.

    ``euicc_otpk`` is the key alone (65 bytes); it is not a member of BF23, both sides know it (SGP.22 5.5.1).
    Raises CodecError.
    """
    members = initialise.children()
    if not members or members[-1].tag != 0x5F37:
        found = f"{members[-1].tag:X}" if members else "nothing"
        raise CodecError("InitialiseSecureChannel", expected="5F37 at its end", found=found)
    return b"".join(member.raw for member in members[:-1]) + tlv.encode(0x5F49, euicc_otpk)


def _with_head(head: bytes, children: Sequence[Tlv]) -> list[bytes]:
    if not children:
        return [head]
    return [head + children[0].raw, *(child.raw for child in children[1:])]
