"""ESipa in JSON (SGP.32 6.4): the same fields as :mod:`esim_bench.codec.esipa`, as HTTP bodies with their paths.

An EID is 32 digits, transaction identifiers are upper-case hexadecimal, objects base64 of their TLVs, a challenge
base64 of its 16 bytes. Errors are status codes in ``header.functionExecutionStatus`` as in ES9+, but for those that are
fields.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Container, Mapping
from typing import Any, Final

from esim_bench.codec import es9, esipa, tlv
from esim_bench.codec.esipa_functions import (
    EsipaError,
    Fields,
    Kind,
    Member,
    Value,
    error_number,
    known_function,
    members_of,
)
from esim_bench.codec.sgp32 import Version, sized
from esim_bench.errors import CodecError, RspError

PATH: Final = "/gsma/rsp2/esipa/"
"""Before the function's name."""
CONTENT_TYPE: Final = "application/json;charset=UTF-8"
_HEX: Final = frozenset(("eidValue", "transactionId", "eimTransactionId", "rPLMN"))
_AS_TLV: Final = {"hashCc": 0x04}
"""Octets that go as TLV; without their tag they are read as well."""
_ALIASES: Final = {"euiccCiPKIdToBeUsed": "euiccCiPKIdentifierToBeUsed", "profileMetadata": "profileMetaData"}
"""SGP.32 has another name than SGP.22 for these; both are read."""


def path(function: str) -> str:
    """Return the path of a function. Raises CodecError for an unknown one."""
    return PATH + known_function(function).name


def function_of(request_path: str) -> str:
    """Return the function of a path. Raises CodecError for an unknown one."""
    name = request_path.removeprefix(PATH)
    if name == request_path or name not in esipa.FUNCTIONS:
        raise CodecError("unknown path", where="ESipa", expected=f"{PATH}<function>", found=repr(request_path[:80]))
    return name


def encode_request(function: str, fields: Fields, version: Version = Version.V1_2) -> bytes:
    """Return the body of a request. Raises CodecError for a wrong set of fields, or wrong values."""
    # What the ASN.1 binding would refuse is refused here, too.
    esipa.encode_request(function, fields, version)
    return _dump(_document(_request(function, version), fields))


def decode_request(function: str, body: bytes, version: Version = Version.V1_2) -> dict[str, Value]:
    """Read the body of a request. Raises CodecError; an EID may be missing or of a wrong length."""
    fields = _fields(_request(function, version), es9.json_object(body, function), function)
    if esipa.FUNCTIONS[function].request_is_choice and len(fields) != 1:
        raise CodecError("wrong choice", where=function, expected="one member", found=", ".join(fields) or "none")
    return fields


def encode_response(function: str, fields: Fields, version: Version = Version.V1_2) -> bytes:
    """Return the body of an answer of a function that was executed. Raises CodecError."""
    esipa.encode_response(function, fields, version)
    header = {"functionExecutionStatus": {"status": "Executed-Success"}}
    return _dump({"header": header, **_document(_response(function, version, fields), fields)})


def encode_failure(error: RspError, status: str = "Failed") -> bytes:
    """Return the body of an answer of a function that failed; an EsipaError's name is its message."""
    return es9.encode_failure(error, status)


def decode_response(function: str, body: bytes, version: Version = Version.V1_2) -> dict[str, Value]:
    """Read the body of an answer. Raises EsipaError when the function failed, CodecError for a malformed body."""
    document = es9.json_object(body, function)
    header = document.get("header")
    execution = header.get("functionExecutionStatus") if isinstance(header, dict) else None
    status = execution.get("status") if isinstance(execution, dict) else None
    if isinstance(execution, dict) and status is not None and not str(status).startswith("Executed"):
        raise _failure(function, execution)
    fields = _fields(_response(function, version, document), document, function)
    known = esipa.FUNCTIONS[function]
    if known.arms is None and (len(fields) > 1 or (not fields and function != "provideEimPackageResult")):
        raise CodecError("wrong choice", where=function, expected="one member", found=", ".join(fields) or "none")
    return fields


def _failure(function: str, execution: Mapping[str, Any]) -> EsipaError:
    data = execution.get("statusCodeData")
    data = data if isinstance(data, dict) else {}
    message = str(data.get("message") or "")
    status = (str(data.get("subjectCode", "?")), str(data.get("reasonCode", "?")))
    identifier = str(data["subjectIdentifier"]) if data.get("subjectIdentifier") else None
    number = error_number(function, RspError(*status, message))
    return EsipaError(function, number, message, status=status, identifier=identifier)


# --------------------------------------------------------------------------------------------------------------- fields


def _request(function: str, version: Version) -> tuple[Member, ...]:
    return members_of(known_function(function).request, version)


def _response(function: str, version: Version, names: Container[str]) -> tuple[Member, ...]:
    # Which of two arms an answer is, is told by a member that only the first has.
    known = known_function(function)
    if known.arms is None:
        return tuple(member for member in members_of(known.response, version) if member.kind is not Kind.EMPTY)
    return members_of(known.arms[0xA1 if 0xA1 in known.arms and "smdpSigned2" not in names else 0xA0], version)


def _document(members: tuple[Member, ...], fields: Fields) -> dict[str, Any]:
    return {member.field: _json(member, fields[member.field]) for member in members if member.field in fields}


def _json(member: Member, value: Value) -> Any:
    if not isinstance(value, bytes):
        return value
    if member.field in _HEX:
        return value.hex().upper()
    tag = _AS_TLV.get(member.field)
    return base64.b64encode(tlv.encode(tag, value) if tag else value).decode()


def _fields(members: tuple[Member, ...], document: Mapping[str, Any], where: str) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    for member in members:
        name = member.field
        value = document.get(name, document.get(_ALIASES.get(name, name)))
        if member.kind is Kind.FLAG:
            # A NULL: it is there or not; "false" is a way to say that it is not.
            if name in document and value is not False:
                fields[name] = True
        elif value is not None:
            fields[name] = _value(member, value, f"{where}, {name}")
        elif not member.optional and name != "eidValue":
            raise CodecError(f"field {name} is missing", where=where, expected=member.kind.name)
    return fields


def _value(member: Member, value: Any, where: str) -> Value:
    if member.kind is Kind.NUMBER:
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) >> 63:
            raise CodecError("number", where=where, expected="an integer", found=repr(value)[:40])
        return value
    if not isinstance(value, str):
        raise CodecError("text", where=where, expected="a string", found=type(value).__name__)
    if member.kind is Kind.TEXT:
        return value
    octets = _octets(member, value, where)
    if member.kind is Kind.OCTETS:
        tag = _AS_TLV.get(member.field)
        if tag and len(octets) > 2 and octets[0] == tag and octets[1] == len(octets) - 2:
            octets = octets[2:]
        if member.lengths and member.field != "eidValue":
            return sized(octets, where, *member.lengths)
        return octets
    item = tlv.parse(octets, where)
    tlv.check_nesting(octets, f"in {where}")
    tags = member.tags if member.kind is Kind.OBJECT else member.own
    if item.tag not in tags:
        expected = " or ".join(f"{tag:X}" for tag in tags)
        raise CodecError("wrong tag", where=where, expected=expected, found=f"{item.tag:X}")
    return octets


def _octets(member: Member, value: str, where: str) -> bytes:
    expected = "hexadecimal" if member.field in _HEX else "base64"
    try:
        if member.field in _HEX:
            if not value.isascii() or not value.isalnum():
                raise ValueError
            return bytes.fromhex(value)
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error) as exc:
        raise CodecError("octets", where=where, expected=expected, found=repr(value[:40])) from exc


def _dump(document: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        raise CodecError("half a surrogate pair in a text", where="ESipa message", expected="Unicode") from exc
