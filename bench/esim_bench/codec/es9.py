"""The JSON binding of ES9+ (SGP.22 6.5): fields on one side, JSON bodies on the other.

Fields are bytes (TLVs and raw octets; base64 in JSON; a transactionId is upper-case hexadecimal) or text. An optional
``header`` object is accepted in requests and sent in answers.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from esim_bench.errors import CodecError, RspError

PATH: Final = "/gsma/rsp2/es9plus/"
CONTENT_TYPE: Final = "application/json;charset=UTF-8"
ADMIN_PROTOCOL: Final = "gsma/rsp/v2.2.0"
MAX_OBJECTS: Final = 256
"""Arrays and objects in one body, ours and unknown ones."""
USER_AGENT: Final = "gsma-rsp-lpad"

Fields = Mapping[str, bytes | str]

_HEX, _BASE64, _TEXT = "hexadecimal", "base64", "text"


@dataclass(frozen=True, slots=True)
class Function:
    """An ES9+ function: the fields of its request and of its answer, with their coding."""

    name: str
    request: Mapping[str, str]
    response: Mapping[str, str]


FUNCTIONS: Final[Mapping[str, Function]] = {
    function.name: function
    for function in (
        Function(
            "initiateAuthentication",
            {"euiccChallenge": _BASE64, "euiccInfo1": _BASE64, "smdpAddress": _TEXT},
            {
                "transactionId": _HEX,
                "serverSigned1": _BASE64,
                "serverSignature1": _BASE64,
                "euiccCiPKIdToBeUsed": _BASE64,
                "serverCertificate": _BASE64,
            },
        ),
        Function(
            "authenticateClient",
            {"transactionId": _HEX, "authenticateServerResponse": _BASE64},
            {
                "transactionId": _HEX,
                "profileMetadata": _BASE64,
                "smdpSigned2": _BASE64,
                "smdpSignature2": _BASE64,
                "smdpCertificate": _BASE64,
            },
        ),
        Function(
            "getBoundProfilePackage",
            {"transactionId": _HEX, "prepareDownloadResponse": _BASE64},
            {"transactionId": _HEX, "boundProfilePackage": _BASE64},
        ),
        Function("cancelSession", {"transactionId": _HEX, "cancelSessionResponse": _BASE64}, {}),
        Function("handleNotification", {"pendingNotification": _BASE64}, {}),
    )
}


def encode_request(function: str, fields: Fields) -> bytes:
    """Return the body of a request. Raises CodecError for a wrong set of fields."""
    return _dump(_encode(FUNCTIONS[function].request, fields, function))


def decode_request(function: str, body: bytes) -> dict[str, bytes | str]:
    """Read the body of a request. Raises CodecError."""
    return _decode(FUNCTIONS[function].request, json_object(body, function), function)


def encode_response(function: str, fields: Fields) -> bytes:
    """Return the body of an answer of a function that was executed."""
    header = {"functionExecutionStatus": {"status": "Executed-Success"}}
    return _dump({"header": header, **_encode(FUNCTIONS[function].response, fields, function)})


def encode_failure(error: RspError, status: str = "Failed") -> bytes:
    """Return the body of an answer of a function that failed (``Failed`` or ``Expired``)."""
    data = {"subjectCode": error.subject, "reasonCode": error.reason}
    if error.identifier:
        data["subjectIdentifier"] = error.identifier
    if error.message:
        data["message"] = error.message
    # A refusal must reach the other side whatever it quotes: half a surrogate pair becomes a question mark.
    quoted = {name: text.encode(errors="replace").decode() for name, text in data.items()}
    return _dump({"header": {"functionExecutionStatus": {"status": status, "statusCodeData": quoted}}})


def decode_response(function: str, body: bytes) -> dict[str, bytes | str]:
    """Read the body of an answer. Raises RspError when the function failed, CodecError for a malformed body."""
    document = json_object(body, function)
    header = document.get("header")
    execution = header.get("functionExecutionStatus") if isinstance(header, dict) else None
    status = execution.get("status") if isinstance(execution, dict) else None
    # Some servers in the wild leave the header out of a success.
    if status is not None and not str(status).startswith("Executed"):
        data = execution.get("statusCodeData") if isinstance(execution, dict) else None
        data = data if isinstance(data, dict) else {}
        raise RspError(
            str(data.get("subjectCode", "?")),
            str(data.get("reasonCode", "?")),
            f"{function}: {status}" + (f", {data['message']}" if data.get("message") else ""),
            identifier=str(data["subjectIdentifier"]) if data.get("subjectIdentifier") else None,
        )
    return _decode(FUNCTIONS[function].response, document, function)


def _dump(document: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        raise CodecError("half a surrogate pair in a text", where="ES9+ message", expected="Unicode") from exc


def json_object(body: bytes, where: str) -> dict[str, Any]:
    """Read a body that is one JSON object. Raises CodecError, also for one with too many arrays and objects."""
    # Ours are flat. A bound on all brackets bounds the depth of nesting, and the work on an answer full of them.
    if body.count(b"[") + body.count(b"{") > MAX_OBJECTS:
        raise CodecError("JSON with too many arrays and objects", where=where, expected=f"at most {MAX_OBJECTS}")
    try:
        document = json.loads(body.decode(), object_pairs_hook=_members)
        if b"\\u" in body:
            # Half of a surrogate pair can be written in JSON, but no text that goes on from here can hold it.
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        raise CodecError("half a surrogate pair in a text", where=where, expected="Unicode") from exc
    except UnicodeDecodeError as exc:
        raise CodecError("not UTF-8", where=where, expected="a JSON object", found=f"byte {exc.start}") from exc
    except RecursionError as exc:
        raise CodecError("JSON nested too deeply", where=where) from exc
    except ValueError as exc:
        raise CodecError("not JSON", where=where, expected="a JSON object", found=str(exc)) from exc
    if not isinstance(document, dict):
        raise CodecError("wrong JSON", where=where, expected="an object", found=type(document).__name__)
    return document


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two fields of one name somebody in between may have looked at the other one.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member comes twice in one object")
    return members


def _encode(coding: Mapping[str, str], fields: Fields, where: str) -> dict[str, str]:
    if set(fields) != set(coding):
        raise CodecError("fields", where=where, expected=", ".join(coding) or "none", found=", ".join(fields))
    document = {}
    for name, kind in coding.items():
        value = fields[name]
        if isinstance(value, str) != (kind == _TEXT):
            raise CodecError(f"field {name}", where=where, expected=kind, found=type(value).__name__)
        if isinstance(value, str):
            document[name] = value
        else:
            document[name] = value.hex().upper() if kind == _HEX else base64.b64encode(value).decode()
    return document


def _decode(coding: Mapping[str, str], document: Mapping[str, Any], where: str) -> dict[str, bytes | str]:
    fields: dict[str, bytes | str] = {}
    for name, kind in coding.items():
        if name not in document:
            raise CodecError(f"field {name} is missing", where=where, expected=kind)
        value = document[name]
        if not isinstance(value, str):
            raise CodecError(f"field {name}", where=where, expected=f"a string ({kind})", found=type(value).__name__)
        try:
            if kind == _HEX:
                if not value.isalnum():
                    raise ValueError
                fields[name] = bytes.fromhex(value)
            elif kind == _BASE64:
                fields[name] = base64.b64decode(value, validate=True)
            else:
                fields[name] = value
        except (ValueError, binascii.Error) as exc:
            raise CodecError(f"field {name}", where=where, expected=kind, found=repr(value[:40])) from exc
    return fields
