"""The ASN.1 binding of ES9+ (SGP.22 6.6): fields on one side, RemoteProfileProvisioning TLVs (A2) on the other.

Fields are the same as in :mod:`esim_bench.codec.es9`: whole TLVs, raw octets (challenge, transactionId) and text, so
either binding serves the same caller. TLVs are carried as they are: what an eUICC or a server signed is never taken
apart here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.es9 import Fields
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError, RspError

PATH: Final = "/gsma/rsp2/asn1"
CONTENT_TYPE: Final = "application/x-gsma-rsp-asn1"
OUTER: Final = 0xA2
UNDEFINED: Final = 127
_OK, _ERROR = 0xA0, 0x81
_WHOLE = 0
"""A member that is a whole TLV: the field holds it with its tag."""


@dataclass(frozen=True, slots=True)
class Error:
    """One value of an error enumeration and the status codes that JSON has in its place."""

    number: int
    name: str
    statuses: tuple[tuple[str, str], ...] = ()
    """(subject, reason); the first one stands for the error where it is read."""
    since: tuple[int, int] = (2, 0)
    """First version of SGP.22 with it."""
    until: tuple[int, int] = (99, 0)
    """Last version of SGP.22 with it."""


_UNDEFINED_ERROR: Final = Error(UNDEFINED, "undefinedError")
_ORDER_EXPIRED: Final = (("8.8.5", "4.10"),)
_UNKNOWN_TRANSACTION: Final = (("8.10.1", "3.9"),)
_NOT_VERIFIED: Final = (("8.1", "6.1"),)

ERRORS: Final[Mapping[str, tuple[Error, ...]]] = {
    "initiateAuthentication": (
        Error(1, "invalidDpAddress", (("8.8.1", "3.8"),)),
        Error(2, "euiccVersionNotSupportedByDp", (("8.8.3", "3.1"),)),
        Error(3, "ciPKNotSupported", (("8.8.2", "3.1"), ("8.8.4", "3.7"))),
    ),
    "authenticateClient": (
        Error(1, "eumCertificateInvalid", (("8.1.2", "6.1"),)),
        Error(2, "eumCertificateExpired", (("8.1.2", "6.3"),)),
        Error(3, "euiccCertificateInvalid", (("8.1.3", "6.1"),)),
        Error(4, "euiccCertificateExpired", (("8.1.3", "6.3"),)),
        Error(5, "euiccSignatureInvalid", _NOT_VERIFIED),
        Error(6, "matchingIdRefused", (("8.2.6", "3.8"),)),
        Error(7, "eidMismatch", (("8.1.1", "3.8"),)),
        Error(8, "noEligibleProfile", (("8.2.5", "4.3"),)),
        Error(9, "ciPKUnknown", (("8.11.1", "3.9"),)),
        Error(10, "invalidTransactionId", _UNKNOWN_TRANSACTION),
        Error(11, "insufficientMemory", (("8.1", "4.8"),)),
        Error(18, "downloadOrderExpired", _ORDER_EXPIRED, since=(2, 6)),
        _UNDEFINED_ERROR,
    ),
    "getBoundProfilePackage": (
        Error(1, "euiccSignatureInvalid", _NOT_VERIFIED),
        Error(2, "confirmationCodeMissing", (("8.2.7", "2.2"),)),
        Error(3, "confirmationCodeRefused", (("8.2.7", "3.8"),)),
        Error(4, "confirmationCodeRetriesExceeded", (("8.2.7", "6.4"),)),
        Error(5, "bppRebindingRefused", (("8.2", "3.7"),)),
        Error(6, "downloadOrderExpired", _ORDER_EXPIRED, until=(2, 5)),
        Error(95, "invalidTransactionId", _UNKNOWN_TRANSACTION),
        _UNDEFINED_ERROR,
    ),
    "cancelSession": (
        Error(1, "invalidTransactionId", _UNKNOWN_TRANSACTION),
        Error(2, "euiccSignatureInvalid", _NOT_VERIFIED),
        _UNDEFINED_ERROR,
    ),
}
"""The error choice (81) of each answer. Status codes that no value names are ``undefinedError``."""


class Es9Error(RspError):
    """An error choice: ``number`` and ``name`` as in the ASN.1, subject and reason where they are unambiguous."""

    def __init__(self, function: str, number: int) -> None:
        found = next((error for error in ERRORS.get(function, ()) if error.number == number), None)
        self.number = number
        self.name = found.name if found else f"error {number}"
        subject, reason = found.statuses[0] if found and found.statuses else ("?", "?")
        super().__init__(subject, reason, f"{function}: {self.name}")


@dataclass(frozen=True, slots=True)
class Function:
    """An ES9+ function in ASN.1: its tag, and its members in their order as (field, tag in the message)."""

    name: str
    tag: int
    request: tuple[tuple[str, int], ...]
    response: tuple[tuple[str, int], ...]


_TRANSACTION_ID = ("transactionId", 0x80)
FUNCTIONS: Final[Mapping[str, Function]] = {
    function.name: function
    for function in (
        Function(
            "initiateAuthentication",
            0xBF39,
            (("euiccChallenge", 0x81), ("smdpAddress", 0x83), ("euiccInfo1", 0xBF20)),
            (
                _TRANSACTION_ID,
                ("serverSigned1", 0x30),
                ("serverSignature1", 0x5F37),
                ("euiccCiPKIdToBeUsed", 0x04),
                ("serverCertificate", 0x30),
            ),
        ),
        Function(
            "authenticateClient",
            0xBF3B,
            (_TRANSACTION_ID, ("authenticateServerResponse", 0xBF38)),
            (
                _TRANSACTION_ID,
                ("profileMetadata", 0xBF25),
                ("smdpSigned2", 0x30),
                ("smdpSignature2", 0x5F37),
                ("smdpCertificate", 0x30),
            ),
        ),
        Function(
            "getBoundProfilePackage",
            0xBF3A,
            (_TRANSACTION_ID, ("prepareDownloadResponse", 0xBF21)),
            (_TRANSACTION_ID, ("boundProfilePackage", 0xBF36)),
        ),
        Function("cancelSession", 0xBF41, (_TRANSACTION_ID, ("cancelSessionResponse", 0xA1)), ()),
        Function("handleNotification", 0xBF3D, (("pendingNotification", _WHOLE),), ()),
    )
}
_BY_TAG: Final = {function.tag: function for function in FUNCTIONS.values()}
_RAW: Final = frozenset(("transactionId", "euiccChallenge"))
_TEXT: Final = frozenset(("smdpAddress",))
_RETAGGED: Final = {"cancelSessionResponse": 0xBF41}
"""AUTOMATIC TAGS replace the tag of a choice that has one of its own: BF41 is carried as A1."""
_NOTIFICATIONS: Final = (0xBF37, 0x30)


def encode_request(function: str, fields: Fields) -> bytes:
    """Return the body of a request, A2. Raises CodecError for a wrong set of fields."""
    known = FUNCTIONS[function]
    return tlv.encode(OUTER, tlv.encode(known.tag, *_encode(known.request, fields, function)))


def decode_request(body: bytes) -> tuple[str, dict[str, bytes | str]]:
    """Read the body of a request: the function's name and its fields. Raises CodecError."""
    tlv.check_nesting(body, "request")
    inner = _inner(body, "request")
    known = _BY_TAG.get(inner.tag)
    if known is None:
        expected = ", ".join(f"{tag:X}" for tag in _BY_TAG)
        raise CodecError("unknown function", where="request", expected=expected, found=f"{inner.tag:X}")
    return known.name, _decode(known.request, inner, known.name)


def encode_response(function: str, fields: Fields) -> bytes:
    """Return the body of an answer of a function that was executed. A notification has none: CodecError."""
    known = _answered(function)
    return tlv.encode(OUTER, tlv.encode(known.tag, tlv.encode(_OK, *_encode(known.response, fields, function))))


def encode_failure(function: str, error: RspError, version: tuple[int, int] = (2, 5)) -> bytes:
    """Return the body of an answer of a function that failed; ``version``: the one of SGP.22 that the LPA speaks.

    Status codes without a value of their own become undefinedError.
    """
    known = _answered(function)
    number = error_number(function, error.subject, error.reason, version)
    return tlv.encode(OUTER, tlv.encode(known.tag, tlv.encode(_ERROR, bytes((number,)))))


def decode_response(function: str, body: bytes) -> dict[str, bytes | str]:
    """Read the body of an answer. Raises Es9Error (an RspError) when the function failed, CodecError."""
    known = _answered(function)
    inner = _inner(body, function)
    branch = inner.children()
    if inner.tag != known.tag or len(branch) != 1 or branch[0].tag not in (_OK, _ERROR):
        found = f"{inner.tag:X} {{ {' '.join(f'{item.tag:X}' for item in branch)} }}"
        raise CodecError("wrong choice", where=function, expected=f"{known.tag:X} {{ A0 or 81 }}", found=found)
    if branch[0].tag == _ERROR:
        if not 1 <= len(branch[0].value) <= 4:
            raise CodecError("not an error code", where=function, expected="an INTEGER", found=branch[0].value.hex())
        raise Es9Error(function, int.from_bytes(branch[0].value, "big", signed=True))
    return _decode(known.response, branch[0], function)


def error_number(function: str, subject: str, reason: str, version: tuple[int, int] = (2, 5)) -> int:
    """Return the ASN.1 value for a status code in an edition of SGP.22; 127 where it has none."""
    for error in ERRORS[function]:
        if (subject, reason) in error.statuses and error.since <= version <= error.until:
            return error.number
    return UNDEFINED


def _answered(function: str) -> Function:
    if function not in ERRORS:
        raise CodecError("no answer to this function", expected=", ".join(ERRORS), found=function)
    return FUNCTIONS[function]


def _inner(body: bytes, where: str) -> Tlv:
    outer = tlv.parse(body, where)
    members = outer.children() if outer.tag == OUTER else []
    if len(members) != 1:
        found = f"{outer.tag:X} with {len(members)} members"
        raise CodecError("not RemoteProfileProvisioning", where=where, expected="A2 with one member", found=found)
    return members[0]


def _encode(members: tuple[tuple[str, int], ...], fields: Fields, where: str) -> list[bytes]:
    if len(fields) != len(members) or any(name not in fields for name, _ in members):
        expected = ", ".join(name for name, _ in members) or "none"
        raise CodecError("fields", where=where, expected=expected, found=", ".join(fields))
    return [_member(name, tag, fields[name], where) for name, tag in members]


def _member(name: str, tag: int, value: bytes | str, where: str) -> bytes:
    if isinstance(value, str) != (name in _TEXT):
        raise CodecError(f"field {name}", where=where, found=type(value).__name__)
    if isinstance(value, str):
        return tlv.encode(tag, value.encode())
    if name in _RAW:
        return tlv.encode(tag, value)
    if tag == _WHOLE:
        # An untagged choice in automatically tagged members: an explicit tag around it.
        return tlv.encode(0xA0, value)
    own = _RETAGGED.get(name, tag)
    found, _, body = tlv.parse_header(value, 0, f"of {name}")
    if found != own:
        raise CodecError(f"field {name}", where=where, expected=f"tag {own:X}", found=f"{found:X}")
    return tlv.encode(tag, value[body:]) if own != tag else value


def _decode(members: tuple[tuple[str, int], ...], outer: Tlv, where: str) -> dict[str, bytes | str]:
    children = outer.children()
    fields: dict[str, bytes | str] = {}
    # Members keep their order; unknown ones may follow (SGP.22 extensibility).
    for number, (name, tag) in enumerate(members):
        child = children[number] if number < len(children) else None
        if tag == _WHOLE:
            fields[name] = _notification(child, where)
            continue
        if child is None or child.tag != tag:
            found = f"{child.tag:X}" if child is not None else "the end"
            raise CodecError(f"field {name} is missing", where=where, expected=f"tag {tag:X}", found=found)
        if name in _TEXT:
            fields[name] = _text(child, name, where)
        elif name in _RAW:
            fields[name] = child.value
        else:
            own = _RETAGGED.get(name, tag)
            fields[name] = child.raw if own == tag else tlv.encode(own, child.value)
    return fields


def _notification(child: Tlv | None, where: str) -> bytes:
    # Some writers leave the explicit tag out; the two forms cannot be mistaken for one another.
    if child is not None and child.tag == 0xA0:
        inside = child.children()
        child = inside[0] if len(inside) == 1 else None
    if child is None or child.tag not in _NOTIFICATIONS:
        found = f"{child.tag:X}" if child is not None else "no single member"
        raise CodecError("pendingNotification", where=where, expected="A0 { BF37 or 30 }", found=found)
    return child.raw


def _text(item: Tlv, name: str, where: str) -> str:
    try:
        return item.value.decode()
    except UnicodeDecodeError as exc:
        raise CodecError(f"field {name}", where=where, expected="UTF-8", found=f"byte {exc.start}") from exc
