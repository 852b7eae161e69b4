"""The EID: 32 digits, the last two of them check digits (SGP.02 2.2.2, SGP.29; ISO 7064 MOD 97-10)."""

from __future__ import annotations

from typing import Final

from esim_bench.errors import CodecError

DEFAULT_IIN: Final = "89049032"
"""Of the test EUM of SGP.26."""
DIGITS: Final = 32

_VERSION: Final = "1234512345"
"""Digits 9 to 18: platform version and additional information, as in the test EID of SGP.26."""


def make_eid(individual: int | str, iin: str = DEFAULT_IIN) -> bytes:
    """Make an EID with check digits from an individual number of up to 12 digits: 16 bytes as in tag 5A.

    Raises CodecError for anything but digits, and for an IIN that is not 8 digits long.
    """
    number = str(individual)
    if not _digits(number) or len(number) > 12:
        raise CodecError("not an individual number of an EID", expected="up to 12 digits", found=number)
    if not _digits(iin) or len(iin) != 8:
        raise CodecError("not an issuer identification number", expected="8 digits", found=iin)
    body = iin + _VERSION + number.zfill(12)
    return bytes.fromhex(body + check_digits(body))


def check_digits(body: str) -> str:
    """Return the two check digits after the first 30 digits of an EID."""
    return f"{98 - int(body + '00') % 97:02d}"


def check_eid(text: str) -> bytes:
    """Read an EID as people write it (blanks and hyphens allowed) and check its check digits: 16 bytes.

    Raises CodecError.
    """
    digits = text.replace(" ", "").replace("-", "")
    if not _digits(digits) or len(digits) != DIGITS:
        raise CodecError("not an EID", expected=f"{DIGITS} digits", found=f"{text!r}")
    if int(digits) % 97 != 1:
        raise CodecError(f"wrong check digits of EID {digits}", expected=check_digits(digits[:-2]), found=digits[-2:])
    return bytes.fromhex(digits)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
