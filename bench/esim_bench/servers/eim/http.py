"""ESipa over HTTP (SGP.32 6.1 to 6.4): an ASGI application that serves the functions in ASN.1 and in JSON.

Which binding a request is in, its path says; behind it both are the same functions.

======  =====================================================================================================
status  when
======  =====================================================================================================
200     the function was executed, or failed: an error of the message (ASN.1), functionExecutionStatus (JSON)
204     handleNotification: taken, whatever its verification said
400     a message or field that is malformed; X-Admin-Protocol not gsma/rsp/v*
404     another path
405     another method than POST
408     a body that did not come in time
413     a body over the limit
415     another Content-Type than that of the binding
500     a defect of the server
503     a notification that cannot be kept now: too many wait, or there is no way to their servers
======  =====================================================================================================
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from email.message import Message as MimeMessage
from functools import lru_cache
from typing import Any, Final, Protocol

from esim_bench.codec import esipa, esipa_json
from esim_bench.codec.esipa import Value
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import BenchError, CodecError, RspError
from esim_bench.servers import asgi
from esim_bench.servers.eim.errors import UnavailableError
from esim_bench.servers.eim.results import text_of

log = logging.getLogger(__name__)

_NO_LIMIT: Final = nullcontext()

BODY_SECONDS: Final = 30.0
"""How long a served eIM waits for a request body, and for its answer to be taken."""
NOTIFICATION: Final = "handleNotification"
SERVED: Final = tuple(name for name in esipa.FUNCTIONS if name != "transferEimPackage")
"""TransferEimPackage goes the other way: the eIM is the client there."""

Connection = tuple[str, int]
"""Host and port of a client; port 0 where connections cannot be told apart (calls in the same process)."""


class Handler(Protocol):
    """Executes a function."""

    async def __call__(self, function: str, fields: Mapping[str, Value], connection: Connection) -> Mapping[str, Value]:
        """Return the fields of the answer. Raises RspError (the function failed), CodecError (malformed fields)."""


@dataclass(frozen=True, slots=True)
class _Binding:
    """How one binding reads requests and writes answers."""

    content_type: str
    read: Callable[[bytes], tuple[str, dict[str, Value]]]
    """Function and fields of a body. Raises CodecError."""
    executed: Callable[[str, Mapping[str, Value]], bytes]
    failed: Callable[[str, RspError], bytes]


def _bindings(version: Version) -> dict[str, _Binding]:
    def in_json(function: str) -> _Binding:
        return _Binding(
            esipa_json.CONTENT_TYPE,
            lambda body: (function, esipa_json.decode_request(function, body, version)),
            lambda name, fields: esipa_json.encode_response(name, fields, version),
            lambda _, error: esipa_json.encode_failure(error),
        )

    def read(body: bytes) -> tuple[str, dict[str, Value]]:
        function, fields = esipa.decode_request(body, version)
        if function not in SERVED:
            raise CodecError("a function of the IPA", expected=", ".join(SERVED), found=function)
        return function, fields

    in_asn1 = _Binding(
        esipa.CONTENT_TYPE,
        read,
        lambda name, fields: esipa.encode_response(name, fields, version),
        lambda name, error: esipa.encode_failure(name, error, version),
    )
    return {esipa.PATH: in_asn1, **{esipa_json.path(name): in_json(name) for name in SERVED}}


class _HttpError(Exception):
    """An answer other than 200 and 204."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


def esipa_app(
    handle: Handler,
    after: Callable[[], Awaitable[None]],
    version: Version,
    *,
    max_body: int,
    body_seconds: float | None = None,
) -> asgi.AsgiApp:
    """Make the ASGI application.

    ``handle``: executes one function. ``after``: called when an answer has been sent, for what need not hold it up.
    ``body_seconds``: how long a client may take to send a request body, and to take the answer; None, as on the virtual
    loop: for ever.
    """
    bindings = _bindings(version)

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
        try:
            async with _limit(body_seconds):
                await asgi.respond(send, status, headers, answer)
        except TimeoutError:
            log.info("a client did not take its answer within %s s", body_seconds)
        if status in (200, 204):
            await after()

    async def _exchange(scope: asgi.Scope, receive: asgi.Receive) -> tuple[int, dict[str, str], bytes]:
        try:
            binding = _binding(bindings, scope)
            headers = asgi.request_headers(scope)
            _check_headers(headers, binding)
            async with _limit(body_seconds):
                body = await asgi.read_body(receive, max_body, headers.get("content-length"))
            answer = await _answer(handle, binding, body, _connection(scope))
        except TimeoutError:
            return _refusal(_HttpError(408, f"no whole request within {body_seconds} s", {"connection": "close"}))
        except asgi.BodyTooLargeError as exc:
            return _refusal(_HttpError(413, str(exc), {"connection": "close"}))
        except _HttpError as exc:
            return _refusal(exc)
        names = {"x-admin-protocol": esipa.ADMIN_PROTOCOL}
        if answer is None:
            return 204, names, b""
        names["content-type"] = binding.content_type
        return 200, names, answer

    return app


def _limit(seconds: float | None) -> AbstractAsyncContextManager[Any]:
    return asyncio.timeout(seconds) if seconds is not None else _NO_LIMIT


def _connection(scope: asgi.Scope) -> Connection:
    client = scope.get("client") or ("", 0)
    return str(client[0]), int(client[1] or 0)


def _binding(bindings: Mapping[str, _Binding], scope: asgi.Scope) -> _Binding:
    binding = bindings.get(str(scope["path"]))
    if binding is None:
        expected = f"{esipa.PATH}, or {esipa_json.PATH} and one of {', '.join(SERVED)}"
        raise _HttpError(404, f"no such function; expected {expected}")
    if scope["method"] != "POST":
        raise _HttpError(405, "expected POST", {"allow": "POST"})
    return binding


def _check_headers(headers: Mapping[str, str], binding: _Binding) -> None:
    kind, charset = _content_type(headers.get("content-type", ""))
    accepted = binding.content_type.partition(";")[0]
    if kind != accepted or ("charset" in binding.content_type and charset not in ("utf-8", "utf8")):
        raise _HttpError(415, f"wrong content type; expected {binding.content_type}", {"accept": accepted})
    # Clients that leave it out are no reason to refuse them; the number behind it differs from IPA to IPA.
    protocol = headers.get("x-admin-protocol")
    if protocol is not None and not protocol.lower().startswith(esipa.ADMIN_PREFIX):
        raise _HttpError(400, f"wrong X-Admin-Protocol; expected {esipa.ADMIN_PROTOCOL}")


@lru_cache(maxsize=64)
def _content_type(header: str) -> tuple[str, str]:
    """Return media type and charset of a Content-Type."""
    content = MimeMessage()
    content["content-type"] = header
    return content.get_content_type(), str(content.get_param("charset", "utf-8")).lower()


async def _answer(handle: Handler, binding: _Binding, body: bytes, connection: Connection) -> bytes | None:
    """Return the body of the answer; None: there is none (204)."""
    function = "request"
    try:
        function, fields = binding.read(body)
        answer = await handle(function, fields, connection)
        return None if function == NOTIFICATION else binding.executed(function, answer)
    except RspError as exc:
        log.info("%s: %s", function, text_of(exc))
        return None if function == NOTIFICATION else binding.failed(function, exc)
    except (CodecError, RecursionError) as exc:
        reason = text_of(exc) if isinstance(exc, CodecError) else "nested too deeply"
        log.warning("%s: malformed request: %s", function, reason)
        raise _HttpError(400, f"malformed request: {reason}") from exc
    except UnavailableError as exc:
        log.warning("%s: %s", function, text_of(exc))
        raise _HttpError(503, text_of(exc), {"retry-after": "60"}) from exc
    except Exception as exc:
        # Nothing of the inside goes out; the log has it.
        detail = log.isEnabledFor(logging.DEBUG) or not isinstance(exc, BenchError)
        log.error("%s: %s: %s", function, type(exc).__name__, exc, exc_info=detail)
        raise _HttpError(500, "internal error") from exc


def _refusal(error: _HttpError) -> tuple[int, dict[str, str], bytes]:
    log.warning("HTTP %d: %s", error.status, error.text)
    headers = {"content-type": "text/plain;charset=UTF-8", "x-admin-protocol": esipa.ADMIN_PROTOCOL, **error.headers}
    return error.status, headers, error.text.encode() + b"\n"
