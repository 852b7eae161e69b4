"""ESipa in ASN.1 (SGP.32 6.3): fields on one side, messages on the other; no wrapper, the message is its TLV.

``Fields`` are the same as in :mod:`esim_bench.codec.esipa_json`, so either binding serves the same caller: whole TLVs
(with their own tags) and raw octets as bytes, texts as str, codes as int, flags as True. A member that may be left out
is left out of the fields. Objects that were signed are carried as they are, never taken apart here.
"""

from __future__ import annotations

from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.esipa_functions import (
    BY_TAG,
    ERRORS,
    FUNCTIONS,
    NOTIFICATION_TAGS,
    EsipaError,
    Fields,
    Function,
    Kind,
    Member,
    Value,
    error_number,
    errors,
    known_function,
    members_of,
)
from esim_bench.codec.esipa_objects import STATE_CHANGE_CAUSES
from esim_bench.codec.sgp32 import (
    INTEGER,
    SEQUENCE,
    Version,
    flag_of,
    integer,
    name_of,
    sized,
    text_of,
    utf8,
)
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import BenchError, CodecError, RspError

__all__ = [
    "BY_TAG",
    "ERRORS",
    "FUNCTIONS",
    "EsipaError",
    "Fields",
    "Value",
    "decode_request",
    "decode_response",
    "describe",
    "encode_error",
    "encode_failure",
    "encode_request",
    "encode_response",
    "error_number",
    "errors",
]

PATH: Final = "/gsma/rsp2/asn1"
CONTENT_TYPE: Final = "application/x-gsma-rsp-asn1"
ADMIN_PROTOCOL: Final = "gsma/rsp/v2.1.0"
"""What is sent in X-Admin-Protocol; some eIMs refuse anything else. Anything after ADMIN_PREFIX is accepted."""
ADMIN_PREFIX: Final = "gsma/rsp/v"
UNDEFINED: Final = 127
"""undefinedError, which all answers but a notification's can be."""
USER_AGENTS: Final = ("gsma-rsp-ipad", "gsma-rsp-ipae")
"""User-Agent of an IPA; text may follow after a semicolon."""

# ------------------------------------------------------------------------------------------------------------- messages


def encode_request(function: str, fields: Fields, version: Version = Version.V1_2) -> bytes:
    """Return a request. Raises CodecError for a wrong set of fields, or wrong values."""
    known = known_function(function)
    members = members_of(known.request, version)
    if known.request_is_choice and len(fields) != 1:
        expected = ", ".join(member.field for member in members)
        raise CodecError("fields", where=function, expected=f"one of {expected}", found=", ".join(fields))
    return tlv.encode(known.tag, *_encode(members, fields, function))


def decode_request(body: bytes, version: Version = Version.V1_2) -> tuple[str, dict[str, Value]]:
    """Read a request: the function's name and its fields. Raises CodecError.

    An EID may be missing or of a wrong length, because the eIM has codes for both.
    """
    item = tlv.parse(body, "ESipa request")
    tlv.check_nesting(body, "in ESipa request")
    known = BY_TAG.get(item.tag)
    if known is None:
        expected = ", ".join(f"{tag:X}" for tag in BY_TAG)
        raise CodecError("unknown function", where="ESipa request", expected=expected, found=f"{item.tag:X}")
    if known.name == "handleNotification":
        return known.name, _notification(item)
    if known.name == "getEimPackage":
        version = _version_of(item, version)
    fields = _decode(members_of(known.request, version), item, known.name)
    if known.request_is_choice and len(fields) != 1:
        raise CodecError("wrong choice", where=known.name, expected="one member", found=len(fields))
    return known.name, fields


def encode_response(function: str, fields: Fields, version: Version = Version.V1_2) -> bytes:
    """Return an answer of a function that was executed. Raises CodecError; handleNotification has no answer."""
    known = _answered(function)
    if known.arms is not None:
        arm = 0xA1 if 0xA1 in known.arms and "smdpSigned2" not in fields else 0xA0
        return tlv.encode(known.tag, tlv.encode(arm, *_encode(members_of(known.arms[arm], version), fields, function)))
    members = members_of(known.response, version)
    empty = function == "provideEimPackageResult" and not fields
    if not empty and len(fields) != 1:
        expected = ", ".join(member.field for member in members if member.field)
        raise CodecError("fields", where=function, expected=f"one of {expected}", found=", ".join(fields))
    for name in ("eimPackageError", "provideEimPackageResultError"):
        if name in fields and fields[name] not in errors(function, version):
            expected = ", ".join(map(str, errors(function, version)))
            raise CodecError("error code", where=function, expected=expected, found=fields[name])
    if empty and version >= Version.V1_2:
        return tlv.encode(known.tag, tlv.encode(SEQUENCE, b""))
    return tlv.encode(known.tag, *_encode(members, fields, function))


def encode_error(function: str, number: int, version: Version = Version.V1_2) -> bytes:
    """Return an answer of a function that failed. Raises CodecError for a code that it does not have."""
    known = _answered(function)
    if number not in errors(function, version):
        expected = ", ".join(map(str, errors(function, version))) or "no error"
        raise CodecError("error code", where=function, expected=expected, found=number)
    return tlv.encode(known.tag, integer(known.error_tag or INTEGER, number))


def encode_failure(function: str, error: RspError, version: Version = Version.V1_2) -> bytes:
    """Return an answer of a function that failed with any error, such as one that an SM-DP+ gave. Raises CodecError."""
    number = error_number(function, error)
    return encode_error(function, number if number in errors(function, version) else UNDEFINED, version)


def decode_response(function: str, body: bytes, version: Version = Version.V1_2) -> dict[str, Value]:
    """Read an answer. Raises EsipaError when the function failed by an arm of its own, CodecError."""
    known = _answered(function)
    item = tlv.parse(body, function)
    tlv.check_nesting(body, f"in {function}")
    if item.tag != known.tag:
        raise CodecError("wrong answer", where=function, expected=f"{known.tag:X}", found=f"{item.tag:X}")
    if known.arms is None:
        fields = _decode(known.response, item, function)
        if len(fields) > 1 or (not fields and function != "provideEimPackageResult"):
            raise CodecError("wrong choice", where=function, expected="one member", found=len(fields))
        return fields
    members = item.children()
    if len(members) != 1 or (members[0].tag not in known.arms and members[0].tag != known.error_tag):
        found = " ".join(f"{member.tag:X}" for member in members[:8]) or "nothing"
        expected = ", ".join(f"{tag:X}" for tag in (*known.arms, known.error_tag or 0))
        raise CodecError("wrong choice", where=function, expected=expected, found=found)
    if members[0].tag == known.error_tag:
        raise EsipaError(function, members[0].integer())
    return _decode(members_of(known.arms[members[0].tag], version), members[0], function)


def _answered(function: str) -> Function:
    known = known_function(function)
    if known.arms is None and not known.response:
        raise CodecError("no answer to this function", where=function)
    return known


def _encode(members: tuple[Member, ...], fields: Fields, where: str) -> list[bytes]:
    present = [member for member in members if member.field in fields]
    missing = [member.field for member in members if not member.optional and member.field not in fields]
    if missing or len(present) != len(fields):
        expected = ", ".join(member.field for member in members) or "none"
        found = f"{', '.join(fields) or 'none'}" + (f"; {', '.join(missing)} missing" if missing else "")
        raise CodecError("fields", where=where, expected=expected, found=found)
    return [_member(member, fields[member.field], where) for member in present]


def _member(member: Member, value: Value, where: str) -> bytes:
    place = f"{where}, {member.field}"
    match member.kind, value:
        case Kind.OCTETS, bytes() if member.lengths:
            return tlv.encode(member.tags[0], sized(value, place, *member.lengths))
        case Kind.TEXT, str():
            return utf8(member.tags[0], value, place)
        case Kind.NUMBER, int() if not isinstance(value, bool):
            if member.field == "stateChangeCause" and value not in STATE_CHANGE_CAUSES:
                raise CodecError("cause", where=place, expected=", ".join(map(str, STATE_CHANGE_CAUSES)), found=value)
            return integer(member.tags[0], value)
        case Kind.FLAG, True:
            return tlv.encode(member.tags[0], b"")
        case ((Kind.OBJECT | Kind.EXPLICIT | Kind.RETAGGED), bytes()):
            item = tlv.parse(value, place)
            tags = member.own or member.tags
            if item.tag not in tags:
                expected = " or ".join(f"{tag:X}" for tag in tags)
                raise CodecError("wrong tag", where=place, expected=expected, found=f"{item.tag:X}")
            if member.kind is Kind.OBJECT:
                return item.raw
            return tlv.encode(member.tags[0], item.raw if member.kind is Kind.EXPLICIT else item.value)
    raise CodecError("value", where=place, expected=member.kind.name, found=type(value).__name__)


def _decode(members: tuple[Member, ...], outer: Tlv, where: str) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    rest = outer.children()
    for member in members:
        if rest and rest[0].tag in member.tags:
            value = _value(member, rest.pop(0), where)
            if member.kind is not Kind.EMPTY:
                fields[member.field] = value
        elif not member.optional and member.field != "eidValue":
            found = f"{rest[0].tag:X}" if rest else "the end"
            expected = " or ".join(f"{tag:X}" for tag in member.tags)
            raise CodecError(f"field {member.field} is missing", where=where, expected=expected, found=found)
    if rest:
        known = {tag for member in members for tag in member.tags}
        wrong = next((item for item in rest if item.tag in known), None)
        if wrong is not None:
            raise CodecError("member twice or out of order", where=where, found=f"{wrong.tag:X}")
    return fields


def _value(member: Member, item: Tlv, where: str) -> Value:
    place = f"{where}, {member.field}"
    match member.kind:
        case Kind.OCTETS:
            if member.lengths and member.field != "eidValue":
                return sized(item.value, place, *member.lengths)
            return item.value
        case Kind.TEXT:
            return text_of(item, place)
        case Kind.NUMBER:
            return item.integer()
        case Kind.FLAG:
            return flag_of(item, place)
        case Kind.EXPLICIT:
            inside = item.children()
            if len(inside) != 1 or inside[0].tag not in member.own:
                found = " ".join(f"{child.tag:X}" for child in inside[:4]) or "nothing"
                expected = " or ".join(f"{tag:X}" for tag in member.own)
                raise CodecError("wrong choice", where=place, expected=expected, found=found)
            return inside[0].raw
        case Kind.RETAGGED:
            return _own_tag(item, member.own[0])
    return item.raw


def _own_tag(item: Tlv, own: int) -> bytes:
    # Some writers put the object with its tag into the member's; a CHOICE's arms never have that tag.
    inside = item.children()
    return inside[0].raw if len(inside) == 1 and inside[0].tag == own else tlv.encode(own, item.value)


def _version_of(item: Tlv, version: Version) -> Version:
    # 81 is a cause of one byte, but v1.0's network is of three.
    found = item.find(0x81)
    return Version.V1_0_1 if found is not None and len(found.value) == 3 else version


def _notification(item: Tlv) -> dict[str, Value]:
    # Both versions' forms, and a notification without the explicit tag: none can be taken for another.
    inside = item.children()
    one = inside[0] if len(inside) == 1 else None
    if one is not None and one.tag in (0xBF37, SEQUENCE):
        return {"pendingNotification": one.raw}
    if one is not None and one.tag == 0xBF50:
        return {"provideEimPackageResult": one.raw}
    if one is not None and one.tag == 0xA1:
        return {"provideEimPackageResult": _own_tag(one, 0xBF50)}
    if one is not None and one.tag == 0xA0:
        children = one.children()
        if len(children) == 1 and children[0].tag in NOTIFICATION_TAGS:
            return {"pendingNotification": children[0].raw}
    found = " ".join(f"{child.tag:X}" for child in inside[:4]) or "nothing"
    raise CodecError("wrong choice", where="handleNotification", expected="A0 { BF37 or 30 } or BF50", found=found)


# ----------------------------------------------------------------------------------------------------------- for people


def describe(request: bytes, response: bytes | None, version: Version = Version.V1_2) -> str:
    """Say an exchange in one line, e.g. "ESipa.GetEimPackage -> noEimPackageAvailable". Never raises."""
    try:
        tag, _, _ = tlv.parse_header(request)
    except CodecError:
        return f"ESipa {request[:8].hex().upper()}"
    known = BY_TAG.get(tag)
    if known is None:
        return f"ESipa {tag:X}"
    name = f"ESipa.{known.name[0].upper()}{known.name[1:]}"
    if not response:
        return name
    try:
        fields = decode_response(known.name, response, version)
    except EsipaError as exc:
        return f"{name} -> {exc.name}"
    except BenchError:
        return f"{name} -> {len(response)} bytes"
    for field, code in fields.items():
        if field.endswith("Error") and isinstance(code, int):
            return f"{name} -> {name_of(ERRORS[known.name], code)}"
    if known.arms is not None:
        return f"{name} -> ok"
    return f"{name} -> {', '.join(fields) or 'empty'}"
