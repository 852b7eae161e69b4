"""What the files of a profile hold: ICCID, IMSI, networks, service table, access rules (TS 102 221, TS 31.102)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from esim_bench.codec.tlv import encode
from esim_bench.errors import CodecError

USIM_AID: Final = bytes.fromhex("A0000000871002FFFFFFFF8907090000")
"""The USIM of our profiles: RID of 3GPP, application code 1002 (TS 101 220 annex E)."""

PIN1, PIN2, ADM1 = 0x01, 0x81, 0x0A
_READ, _UPDATE, _MANAGE, _DIRECTORY = 0x01, 0x02, 0x58, 0x5E
_INCREASE, _RESIZE = b"\x32", b"\xd4"

_ALWAYS: Final = bytes.fromhex("9000")
_NEVER: Final = bytes.fromhex("9700")


def _key(reference: int) -> bytes:
    # A control reference template for authentication: the key, verified as a PIN (usage 08).
    return encode(0xA4, encode(0x83, bytes((reference,))), encode(0x95, b"\x08"))


def _mode(mode: int | bytes, condition: bytes) -> bytes:
    # An access mode as a bit map (80), or by the instruction byte of the command (84).
    return (encode(0x80, bytes((mode,))) if isinstance(mode, int) else encode(0x84, mode)) + condition


def _file(read: bytes, update: bytes, *more: bytes) -> bytes:
    return _mode(_READ, read) + _mode(_UPDATE, update) + b"".join(more) + _mode(_MANAGE, _key(ADM1))


ACCESS_RULES: Final[tuple[bytes, ...]] = (
    _file(_ALWAYS, _key(PIN1)),
    _file(_key(PIN1), _key(ADM1)),
    _file(_key(ADM1), _key(ADM1)),
    _file(_ALWAYS, _ALWAYS),
    _file(_key(PIN1), _key(PIN1)),
    _file(_key(PIN1), _NEVER),
    _file(_key(PIN1), _key(PIN1), _mode(_INCREASE, _key(PIN1))),
    _file(_key(PIN1), _key(PIN2)),
    _mode(_READ, _ALWAYS) + _mode(_UPDATE | 0x18, _key(PIN1)),
    _file(_ALWAYS, _key(ADM1)),
    _mode(_READ, _ALWAYS) + _mode(_UPDATE, _NEVER),
    _file(_NEVER, _key(ADM1)),
    _file(_key(PIN2), _key(PIN2)),
    _mode(_DIRECTORY, _key(ADM1)) + _mode(_RESIZE, _key(ADM1)),
)
"""The records of EF.ARR, 1 to 14: the templates of annex A refer to them by number."""

SERVICE_OF_FILE: Final = {
    "ef-fdn": 2,
    "ef-sdn": 4,
    "ef-sms": 10,
    "ef-smsr": 11,
    "ef-smsp": 12,
    "ef-cbmi": 15,
    "ef-cbmir": 16,
    "ef-gid1": 17,
    "ef-gid2": 18,
    "ef-spn": 19,
    "ef-plmnwact": 20,
    "ef-msisdn": 21,
    "df-gsm-access": 27,
    "ef-cbmid": 29,
    "ef-oplmnwact": 42,
    "ef-hplmnwact": 43,
    "ef-pnn": 45,
    "ef-opl": 46,
    "ef-mbdn": 47,
    "ef-mwis": 48,
    "ef-cfis": 49,
    "ef-spdi": 51,
    "ef-ehplmn": 71,
    "ef-spni": 78,
    "ef-pnni": 79,
    "ef-epsloci": 85,
    "ef-nasconfig": 96,
    "ef-5gs3gpploci": 122,
    "ef-5gauthkeys": 123,
    "ef-uac-aic": 126,
}
"""The service of the USIM Service Table that stands for a file being there (TS 31.102 4.2.8)."""
_OTHER_SERVICES: Final = (28, 33, 38)
"""Data download via SMS-PP, one that is always there, GSM security context."""


def ust(files: Iterable[str], size: int) -> bytes:
    """Return EF.UST for the files that are there, by their template names: ``size`` bytes, or as many as it takes."""
    services = [*_OTHER_SERVICES, *(SERVICE_OF_FILE[name] for name in files if name in SERVICE_OF_FILE)]
    table = bytearray(max(size, (max(services) + 7) // 8))
    for number in services:
        table[(number - 1) // 8] |= 1 << (number - 1) % 8
    return bytes(table)


def luhn_digit(digits: str) -> str:
    """Return the check digit that belongs behind the digits (ISO/IEC 7812-1, ITU-T E.118)."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def plmn(mcc: str, mnc: str) -> bytes:
    """Return the three bytes of a network (TS 24.008 10.5.1.13). Raises CodecError."""
    if not (mcc + mnc).isascii() or not (mcc + mnc).isdigit() or len(mcc) != 3 or len(mnc) not in (2, 3):
        raise CodecError("not a network", expected="an MCC of 3 and an MNC of 2 or 3 digits", found=f"{mcc!r} {mnc!r}")
    third = mnc[2] if len(mnc) == 3 else "F"
    return bytes.fromhex(mcc[1] + mcc[0] + third + mcc[2] + mnc[1] + mnc[0])


def acc(imsi: str) -> bytes:
    """Return EF.ACC: the access class is the last digit of the IMSI."""
    return (1 << int(imsi[-1])).to_bytes(2, "big")


def ad(mnc: str) -> bytes:
    """Return EF.AD: normal operation, and the length of the MNC."""
    return bytes((0, 0, 0, len(mnc)))


def spn(name: str) -> bytes:
    """Return EF.SPN; the registered network need not be shown beside it (bit 1 clear). Raises CodecError."""
    return b"\x00" + text(name, 16)


def text(value: str, size: int) -> bytes:
    """Return a name in the GSM default alphabet, one byte a character. Raises CodecError."""
    # Of the default alphabet, these places differ from ASCII; a name can do without them.
    if not value.isascii() or not value.isprintable() or set(value) & set("@$[\\]^_`{|}~"):
        raise CodecError("not a name that the GSM alphabet has", expected="letters, digits, space", found=repr(value))
    if not 1 <= len(value) <= size:
        raise CodecError("name too long or empty", expected=f"1 to {size} characters", found=len(value))
    return value.encode()


def ecc(number: str, category: int = 0) -> bytes:
    """Return a record of EF.ECC: an emergency number of up to 6 digits, no name. Raises CodecError."""
    return bcd(number, 3) + bytes((category,))


def bcd(digits: str, size: int) -> bytes:
    """Return digits as nibble-swapped BCD, padded with F. Raises CodecError."""
    if not digits.isascii() or not digits.isdigit() or len(digits) > size * 2:
        raise CodecError("not a number", expected=f"up to {size * 2} digits", found=repr(digits))
    padded = digits.ljust(size * 2, "F")
    return bytes(int(padded[at + 1] + padded[at], 16) for at in range(0, size * 2, 2))


def msisdn(number: str, size: int) -> bytes:
    """Return a record of EF.MSISDN without a name, for an international number with or without +. Raises CodecError."""
    digits = number.removeprefix("+")
    packed = bcd(digits, 10)
    used = (len(digits) + 1) // 2
    return b"\xff" * (size - 14) + bytes((used + 1, 0x91)) + packed + b"\xff\xff"


def smsp(centre: str, size: int) -> bytes:
    """Return a record of EF.SMSP that tells nothing but the service centre. Raises CodecError."""
    digits = centre.removeprefix("+")
    packed = bcd(digits, 10)
    used = (len(digits) + 1) // 2
    # Parameter indicators: bit 2 clear, the centre's address is there (TS 31.102 4.2.27).
    tail = b"\xfd" + b"\xff" * 12 + bytes((used + 1, 0x91)) + packed + b"\xff" * 3
    return b"\xff" * (size - len(tail)) + tail


def directory(aid: bytes, label: str) -> bytes:
    """Return a record of EF.DIR (TS 102 221 13.1)."""
    return encode(0x61, encode(0x4F, aid), encode(0x50, label.encode()))


def network_access_name(apn: str) -> bytes:
    """Return an APN as labels, each after its length (TS 23.003 9.1). Raises CodecError."""
    labels = apn.split(".")
    if not apn.isascii() or len(apn) > 99 or not all(1 <= len(label) <= 63 for label in labels):
        raise CodecError("not an APN", expected="labels of 1 to 63 characters, at most 99 in all", found=repr(apn))
    return b"".join(bytes((len(label),)) + label.encode() for label in labels)


def record_length(records: Sequence[bytes]) -> int:
    """Return the length that all of the records fit."""
    return max(len(record) for record in records)
