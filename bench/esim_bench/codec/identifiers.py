"""Numbers as people write them and as cards store them: ICCID, EID, IMSI."""

from __future__ import annotations

from esim_bench.errors import CodecError


def iccid_to_text(iccid: bytes) -> str:
    """Return the digits of an ICCID as in EF.ICCID: nibble-swapped BCD, padded with F (TS 102 221 13.2)."""
    return "".join(f"{byte & 0x0F:X}{byte >> 4:X}" for byte in iccid).rstrip("F")


def iccid_to_bytes(text: str) -> bytes:
    """Return an ICCID of 18 to 20 digits as 10 bytes of nibble-swapped BCD. Raises CodecError."""
    if not text.isascii() or not text.isdigit() or not 18 <= len(text) <= 20:
        raise CodecError("not an ICCID", expected="18 to 20 digits", found=repr(text[:40]))
    padded = text.ljust(20, "F")
    return bytes(int(padded[i + 1] + padded[i], 16) for i in range(0, 20, 2))


def swap_nibbles(data: bytes) -> bytes:
    """Swap the nibbles of each byte: between the ICCID of a profile header and the one of EF.ICCID."""
    return bytes((byte & 0x0F) << 4 | byte >> 4 for byte in data)


def eid_to_text(eid: bytes) -> str:
    """Return the 32 digits of an EID (16 bytes BCD, not swapped). Raises CodecError."""
    if len(eid) != 16:
        raise CodecError("not an EID", expected="16 bytes", found=len(eid))
    return eid.hex().upper()


def imsi_to_text(ef_imsi: bytes) -> str:
    """Return the digits of an IMSI as stored in EF.IMSI (TS 31.102 4.2.2). Raises CodecError."""
    if len(ef_imsi) != 9 or not 1 <= ef_imsi[0] <= 8:
        raise CodecError("not an EF.IMSI", expected="a length byte 1..8 in 9 bytes", found=ef_imsi.hex().upper())
    nibbles = "".join(f"{byte & 0x0F:X}{byte >> 4:X}" for byte in ef_imsi[1 : 1 + ef_imsi[0]])
    digits = nibbles[1:].rstrip("F")
    if not digits.isdigit():
        raise CodecError("not an EF.IMSI", expected="BCD digits", found=ef_imsi.hex().upper())
    return digits


def imsi_to_bytes(digits: str) -> bytes:
    """Return EF.IMSI (9 bytes) for an IMSI of 6 to 15 digits. Raises CodecError."""
    if not digits.isascii() or not digits.isdigit() or not 6 <= len(digits) <= 15:
        raise CodecError("not an IMSI", expected="6 to 15 digits", found=repr(digits[:40]))
    # The first nibble tells parity: 9 for an odd number of digits, 1 for an even one (TS 24.008 10.5.1.4).
    nibbles = ("9" if len(digits) % 2 else "1") + digits
    nibbles += "F" * (len(nibbles) % 2)
    body = bytes(int(nibbles[i + 1] + nibbles[i], 16) for i in range(0, len(nibbles), 2))
    return bytes((len(body),)) + body.ljust(8, b"\xff")
