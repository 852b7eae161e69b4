"""ES9+ over HTTP (SGP.22 6.2, 6.5, 6.6): an ASGI application that serves the functions in JSON and in ASN.1.

Which binding a request is in, its path says; behind it both are the same functions.

======  =====================================================================================================
status  when
======  =====================================================================================================
200     the function was executed, or failed: functionExecutionStatus (JSON), the error choice (ASN.1) says how
204     handleNotification: taken, whatever its verification said
400     no JSON object, a field missing or of the wrong type, a TLV that is malformed; X-Admin-Protocol not gsma/rsp/v*
404     another path
405     another method than POST
408     a body that did not come in time
413     a body over the limit
415     another Content-Type than that of the binding
500     a defect of the server
======  =====================================================================================================
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.message import Message as MimeMessage
from typing import Final

from esim_bench.codec import es9, es9_asn1
from esim_bench.errors import BenchError, CodecError
from esim_bench.servers import asgi
from esim_bench.servers.smdp.status import StatusError

log = logging.getLogger(__name__)

MAX_BODY: Final = 64 * 1024
"""Bytes of the longest request that is read; real ones are below 10 kB, and the work on one grows with its length."""

BODY_SECONDS: Final = 30.0
"""How long a served SM-DP+ waits for a request body, and for its answer to be taken: slow clients are not to hold
connections open."""

NOTIFICATION: Final = "handleNotification"
DEFAULT_VERSION: Final = (2, 5)
"""What a client speaks that does not say."""
_PROTOCOL: Final = re.compile(r"gsma/rsp/v(?:(\d{1,3})\.(\d{1,3}))?", re.IGNORECASE)

Handler = Callable[[str, Mapping[str, bytes | str]], Awaitable[dict[str, bytes | str]]]
Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Binding:
    """How one binding reads requests and writes answers."""

    content_type: str
    read: Callable[[bytes], tuple[str, dict[str, bytes | str]]]
    """Function and fields of a body. Raises CodecError."""
    executed: Callable[[str, es9.Fields], bytes]
    failed: Callable[[str, StatusError, Version], bytes]


def _json_binding(function: str) -> _Binding:
    return _Binding(
        es9.CONTENT_TYPE,
        lambda body: (function, es9.decode_request(function, body)),
        es9.encode_response,
        lambda _, error, __: es9.encode_failure(error, error.status),
    )


_BINDINGS: Final[Mapping[str, _Binding]] = {
    **{es9.PATH + function: _json_binding(function) for function in es9.FUNCTIONS},
    es9_asn1.PATH: _Binding(
        es9_asn1.CONTENT_TYPE, es9_asn1.decode_request, es9_asn1.encode_response, es9_asn1.encode_failure
    ),
}
"""By path."""


class _HttpError(Exception):
    """An answer other than 200 and 204."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


def es9_app(handle: Handler, *, max_body: int = MAX_BODY, body_seconds: float | None = None) -> asgi.AsgiApp:
    """Make the ASGI application. ``handle``: executes one function, raises StatusError or CodecError.

    ``body_seconds``: how long a client may take to send a request body, and to take the answer; None, as on the virtual
    loop: for ever.
    """

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] == "lifespan":
            await asgi.lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            status, headers, answer = await _exchange(scope, receive)
        except asgi.ClientGoneError:
            return
        # A client that takes no answer: ending without one lets the server close the connection.
        try:
            async with asyncio.timeout(body_seconds):
                await asgi.respond(send, status, headers, answer)
        except TimeoutError:
            log.info("a client did not take its answer within %s s", body_seconds)

    async def _exchange(scope: asgi.Scope, receive: asgi.Receive) -> tuple[int, dict[str, str], bytes]:
        try:
            binding = _binding(scope)
            headers = asgi.request_headers(scope)
            version = _check_headers(headers, binding)
            async with asyncio.timeout(body_seconds):
                body = await asgi.read_body(receive, max_body, headers.get("content-length"))
            answer = await _answer(handle, binding, body, version)
        except TimeoutError:
            return _refusal(_HttpError(408, f"no whole request within {body_seconds} s", {"connection": "close"}))
        except asgi.BodyTooLargeError as exc:
            return _refusal(_HttpError(413, str(exc), {"connection": "close"}))
        except _HttpError as exc:
            return _refusal(exc)
        names = {"x-admin-protocol": es9.ADMIN_PROTOCOL}
        if answer is None:
            return 204, names, b""
        names["content-type"] = binding.content_type
        return 200, names, answer

    return app


def _binding(scope: asgi.Scope) -> _Binding:
    binding = _BINDINGS.get(str(scope["path"]))
    if binding is None:
        functions = ", ".join(es9.FUNCTIONS)
        raise _HttpError(404, f"no such function; expected {es9_asn1.PATH}, or {es9.PATH} and one of {functions}")
    if scope["method"] != "POST":
        raise _HttpError(405, "expected POST", {"allow": "POST"})
    return binding


def _check_headers(headers: Mapping[str, str], binding: _Binding) -> Version:
    """Check the content type and return the version of SGP.22 that the client speaks."""
    stated = headers.get("content-type", "").lower()
    if stated != binding.content_type.lower() and not _same_type(stated, binding.content_type):
        accepted = binding.content_type.partition(";")[0]
        raise _HttpError(415, f"wrong content type; expected {binding.content_type}", {"accept": accepted})
    # Hand-made clients leave it out: that is no reason to refuse them.
    protocol = headers.get("x-admin-protocol")
    if protocol is None:
        return DEFAULT_VERSION
    found = _PROTOCOL.match(protocol)
    if found is None:
        raise _HttpError(400, "wrong X-Admin-Protocol; expected gsma/rsp/v2.x.y")
    return (int(found[1]), int(found[2])) if found[1] else DEFAULT_VERSION


def _same_type(stated: str, wanted: str) -> bool:
    content = MimeMessage()
    content["content-type"] = stated
    if content.get_content_type() != wanted.partition(";")[0]:
        return False
    return "charset" not in wanted or str(content.get_param("charset", "utf-8")).lower() in ("utf-8", "utf8")


async def _answer(handle: Handler, binding: _Binding, body: bytes, version: Version) -> bytes | None:
    """Return the body of the answer; None: there is none (204)."""
    function = "request"
    try:
        function, fields = binding.read(body)
        answer = await handle(function, fields)
    except StatusError as exc:
        log.info("%s: %s %s", function, exc.status, exc)
        # A notification has no answer that could carry a status code.
        return None if function == NOTIFICATION else binding.failed(function, exc, version)
    except (CodecError, RecursionError) as exc:
        log.info("%s: malformed request: %s", function, exc)
        reason = str(exc) if isinstance(exc, CodecError) else "nested too deeply"
        raise _HttpError(400, f"malformed request: {reason}") from exc
    except Exception as exc:
        # Nothing of the inside goes out; the log has it.
        detail = log.isEnabledFor(logging.DEBUG) or not isinstance(exc, BenchError)
        log.error("%s: %s: %s", function, type(exc).__name__, exc, exc_info=detail)
        raise _HttpError(500, "internal error") from exc
    log.info("%s: Executed-Success", function)
    return None if function == NOTIFICATION else binding.executed(function, answer)


def _refusal(error: _HttpError) -> tuple[int, dict[str, str], bytes]:
    headers = {"content-type": "text/plain;charset=UTF-8", "x-admin-protocol": es9.ADMIN_PROTOCOL, **error.headers}
    return error.status, headers, error.text.encode() + b"\n"
