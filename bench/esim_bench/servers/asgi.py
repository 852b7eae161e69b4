"""ASGI without a framework: call an application in the same process, read a request, send an answer.

Our servers are plain ASGI 3 callables, so that a simulated rack calls them directly on its virtual loop, without thread
or socket, and uvicorn serves the very same object over TLS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from esim_bench.errors import BenchError, ConfigError, ProtocolError
from esim_bench.ports import HttpResponse

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyTooLargeError(BenchError):
    """A request body over the limit (HTTP 413)."""


class ClientGoneError(BenchError):
    """The client left before its request was complete: nobody is there to answer."""


class _Target(NamedTuple):
    """A URL as the scope of a request has it."""

    scheme: str
    host: bytes
    path: str
    raw_path: bytes
    query: bytes
    server: tuple[str, int]


# A client asks for the same few URLs again and again.
@lru_cache(maxsize=64)
def _target(url: str) -> _Target:
    parts = urlsplit(url)
    if not parts.scheme or not parts.hostname:
        raise ConfigError("not an absolute URL", expected="https://host/path", found=repr(url))
    return _Target(
        parts.scheme,
        parts.netloc.encode(),
        unquote(parts.path) or "/",
        (parts.path or "/").encode(),
        parts.query.encode(),
        (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)),
    )


async def call(
    app: AsgiApp, method: str, url: str, headers: Mapping[str, str], body: bytes, client: int = 0
) -> HttpResponse:
    """Send one HTTP request to an application in this process and return its answer.

    ``url``: absolute, with scheme and host. ``client``: stands for the connection's port; 0 for none. Raises
    ConfigError for another kind of URL, ProtocolError when the application breaks the order of ASGI messages.
    """
    target = _target(url)
    raw_headers = [(b"host", target.host), *_raw_headers(tuple(headers.items()))]
    if b"content-length" not in [name for name, _ in raw_headers]:
        raw_headers.append((b"content-length", str(len(body)).encode()))
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method.upper(),
        "scheme": target.scheme,
        "path": target.path,
        "raw_path": target.raw_path,
        "query_string": target.query,
        "root_path": "",
        "headers": raw_headers,
        "client": ("in-process", client),
        "server": target.server,
    }
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    start: Message | None = None
    answer = bytearray()
    complete = False

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal start, complete
        kind = message["type"]
        if kind == "http.response.start" and start is None:
            start = message
        elif kind == "http.response.body" and start is not None and not complete:
            answer.extend(message.get("body", b""))
            complete = not message.get("more_body", False)
        else:
            raise ProtocolError("the application broke the order of ASGI messages", found=kind)

    await app(scope, receive, send)
    if start is None or not complete:
        raise ProtocolError("the application ended without a complete answer", expected="http.response.start and body")
    return HttpResponse(
        int(start["status"]), dict(_headers(tuple(map(tuple, start.get("headers", []))))), bytes(answer)
    )


def request_headers(scope: Scope) -> dict[str, str]:
    """Return the request's headers; names in lower case, of a repeated one the last."""
    return dict(_headers(tuple(map(tuple, scope["headers"]))))


# The same client sends the same headers with each request, and its server with each answer.
@lru_cache(maxsize=256)
def _raw_headers(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


@lru_cache(maxsize=256)
def _headers(raw: tuple[tuple[bytes, bytes], ...]) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


async def read_body(receive: Receive, limit: int, declared: str | None = None) -> bytes:
    """Read a request body of at most ``limit`` bytes; ``declared``: its Content-Length, where there is one.

    Raises BodyTooLargeError as soon as that is clear, ClientGoneError.
    """
    if declared is not None and declared.isdecimal() and int(declared[:20]) > limit:
        raise BodyTooLargeError("request body too large", expected=f"at most {limit} bytes", found=declared[:20])
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError("the client left in mid-request", found=f"{len(body)} bytes")
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLargeError("request body too large", expected=f"at most {limit} bytes")
        if not message.get("more_body", False):
            return bytes(body)


async def respond(send: Send, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
    """Send a whole answer; Content-Length is added (not to a 204, which has no body)."""
    names = {name.lower(): value for name, value in (headers or {}).items()}
    if status != 204:
        names["content-length"] = str(len(body))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in names.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body if status != 204 else b""})


async def lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's lifespan protocol: nothing to start, nothing to stop."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
