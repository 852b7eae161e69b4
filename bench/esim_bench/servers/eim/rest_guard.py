"""What stands before the REST API: bearer token, limits on guessing, on bodies and on time. Errors are JSON."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from typing import Final

from esim_bench.servers import asgi
from esim_bench.servers.smdp.limits import Throttle

log = logging.getLogger(__name__)

PREFIX: Final = "/api/v1"
MAX_BODY: Final = 64 * 1024
MINUTE_NS: Final = 60 * 1_000_000_000
WRONG_TOKENS: Final = 10
"""That a host may send within a minute; until it is over, none of it is looked at, the right one neither."""
_JSON: Final = {"content-type": "application/json", "cache-control": "no-store"}


def guarded(
    application: asgi.AsgiApp,
    token: str,
    now_ns: Callable[[], int],
    *,
    max_body: int = MAX_BODY,
    body_seconds: float | None = None,
) -> asgi.AsgiApp:
    """Return an application that only requests with ``Authorization: Bearer <token>`` get to, with their whole body.

    ``now_ns``: by which wrong tokens are counted. ``body_seconds``: for the body to come; None: for ever.
    """
    wanted = hashlib.sha256(token.encode()).digest()
    wrong = Throttle(WRONG_TOKENS, MINUTE_NS)

    def refusal(scope: asgi.Scope) -> tuple[int, str, Mapping[str, str]] | None:
        host = str((scope.get("client") or ("",))[0])
        if wrong.exceeded(host.encode(), now_ns()):
            return 429, "too many wrong tokens", {"retry-after": "60"}
        scheme, _, given = asgi.request_headers(scope).get("authorization", "").partition(" ")
        # Of equal length, so that the comparison takes the same time for any token.
        digest = hashlib.sha256(given.strip().encode("latin-1", "replace")).digest()
        if hmac.compare_digest(digest, wanted) and scheme.lower() == "bearer":
            return None
        if scheme:
            wrong.count(host.encode(), now_ns())
        log.warning("REST: %s token from %s", "wrong" if scheme else "no", host)
        return 401, "a bearer token is needed", {"www-authenticate": "Bearer"}

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] == "lifespan":
            await asgi.lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        refused = refusal(scope)
        if refused is not None:
            await _error(send, *refused)
            return
        close = {"connection": "close"}
        try:
            async with asyncio.timeout(body_seconds):
                declared = asgi.request_headers(scope).get("content-length")
                body = await asgi.read_body(receive, max_body, declared)
        except TimeoutError:
            await _error(send, 408, f"no whole request within {body_seconds} s", close)
            return
        except asgi.BodyTooLargeError as exc:
            await _error(send, 413, str(exc), close)
            return
        except asgi.ClientGoneError:
            return
        await _passed_on(application, scope, body, receive, send)

    return app


async def _passed_on(
    application: asgi.AsgiApp, scope: asgi.Scope, body: bytes, receive: asgi.Receive, send: asgi.Send
) -> None:
    waiting: list[asgi.Message] = [{"type": "http.request", "body": body, "more_body": False}]
    started = False

    async def next_message() -> asgi.Message:
        return waiting.pop() if waiting else await receive()

    async def answer(message: asgi.Message) -> None:
        nonlocal started
        if message["type"] == "http.response.start":
            started = True
            log.info("REST: %s %s: %s", scope["method"], str(scope["path"])[:200], message["status"])
        await send(message)

    try:
        await application(scope, next_message, answer)
    except Exception:
        # Nothing of the inside goes out; the log has it.
        log.exception("REST: %s %s", scope["method"], str(scope["path"])[:200])
        if not started:
            await _error(send, 500, "internal error", {})


async def _error(send: asgi.Send, status: int, text: str, headers: Mapping[str, str]) -> None:
    await asgi.respond(send, status, {**_JSON, **headers}, json.dumps({"error": text}).encode())
