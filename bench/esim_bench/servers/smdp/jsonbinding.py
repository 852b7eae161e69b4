"""The JSON binding of ES9+ over HTTP (SGP.22 6.5): an ASGI application around the functions.

======  =====================================================================================================
status  when
======  =====================================================================================================
200     the function was executed, or failed with a status code: functionExecutionStatus says which
204     handleNotification: taken, whatever its verification said
400     no JSON object, a field missing or of the wrong type, a TLV that is malformed; X-Admin-Protocol not gsma/rsp/v*
404     another path
405     another method than POST
408     a body that did not come in time
413     a body over the limit
415     another Content-Type than application/json (in UTF-8)
500     a defect of the server
======  =====================================================================================================
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from email.message import Message as MimeMessage
from typing import Final

from esim_bench.codec import es9
from esim_bench.errors import BenchError, CodecError
from esim_bench.servers import asgi
from esim_bench.servers.smdp.status import StatusError

log = logging.getLogger(__name__)

MAX_BODY: Final = 64 * 1024
"""Bytes of the longest request that is read; real ones are below 10 kB, and the work on one grows with its length."""

BODY_SECONDS: Final = 30.0
"""How long a served SM-DP+ waits for a request body: slow clients are not to hold connections open."""

Handler = Callable[[str, Mapping[str, bytes | str]], Awaitable[dict[str, bytes | str]]]


class _HttpError(Exception):
    """An answer other than 200 and 204."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


def json_app(handle: Handler, *, max_body: int = MAX_BODY, body_seconds: float | None = None) -> asgi.AsgiApp:
    """Make the ASGI application. ``handle``: executes one function, raises StatusError or CodecError.

    ``body_seconds``: how long a client may take to send a request body; None, as on the virtual loop: for ever.
    """

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] == "lifespan":
            await asgi.lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            function = _function(scope)
            headers = asgi.request_headers(scope)
            _check_headers(headers)
            async with asyncio.timeout(body_seconds):
                body = await asgi.read_body(receive, max_body, headers.get("content-length"))
            status, answer = await _answer(handle, function, body)
        except asgi.ClientGoneError:
            return
        except TimeoutError:
            await _refuse(send, _HttpError(408, f"no whole request within {body_seconds} s", {"connection": "close"}))
        except asgi.BodyTooLargeError as exc:
            await _refuse(send, _HttpError(413, str(exc)))
        except _HttpError as exc:
            await _refuse(send, exc)
        else:
            headers = {"x-admin-protocol": es9.ADMIN_PROTOCOL}
            if status == 200:
                headers["content-type"] = es9.CONTENT_TYPE
            await asgi.respond(send, status, headers, answer)

    return app


def _function(scope: asgi.Scope) -> str:
    path = str(scope["path"])
    function = path.removeprefix(es9.PATH)
    if not path.startswith(es9.PATH) or function not in es9.FUNCTIONS:
        raise _HttpError(404, f"no such function; expected {es9.PATH} and one of {', '.join(es9.FUNCTIONS)}")
    if scope["method"] != "POST":
        raise _HttpError(405, "expected POST", {"allow": "POST"})
    return function


def _check_headers(headers: Mapping[str, str]) -> None:
    content = MimeMessage()
    content["content-type"] = headers.get("content-type", "")
    charset = content.get_param("charset", "utf-8")
    if content.get_content_type() != "application/json" or str(charset).lower() not in ("utf-8", "utf8"):
        raise _HttpError(415, f"wrong content type; expected {es9.CONTENT_TYPE}", {"accept": "application/json"})
    # Hand-made clients leave it out: that is no reason to refuse them.
    protocol = headers.get("x-admin-protocol", es9.ADMIN_PROTOCOL)
    if not protocol.lower().startswith("gsma/rsp/v"):
        raise _HttpError(400, "wrong X-Admin-Protocol; expected gsma/rsp/v2.x.y")


async def _answer(handle: Handler, function: str, body: bytes) -> tuple[int, bytes]:
    try:
        fields = es9.decode_request(function, body)
        answer = await handle(function, fields)
    except StatusError as exc:
        log.info("%s: %s %s", function, exc.status, exc)
        # A notification has no answer that could carry a status code.
        return (204, b"") if function == "handleNotification" else (200, es9.encode_failure(exc, exc.status))
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
    if function == "handleNotification":
        return 204, b""
    return 200, es9.encode_response(function, answer)


async def _refuse(send: asgi.Send, error: _HttpError) -> None:
    headers = {"content-type": "text/plain;charset=UTF-8", "x-admin-protocol": es9.ADMIN_PROTOCOL, **error.headers}
    await asgi.respond(send, error.status, headers, error.text.encode() + b"\n")
