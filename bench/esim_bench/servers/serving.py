"""Our ASGI applications on sockets: TLS, until a signal, and within limits that slow or many clients cannot stretch."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from esim_bench.servers.asgi import AsgiApp, Message, Receive, Scope, Send, respond

GRACE: Final = 3
"""Seconds that open requests get when the server is told to stop."""
MAX_HEAD: Final = 16 * 1024
"""Bytes of the longest request line and headers that are read."""


@dataclass(frozen=True, slots=True)
class ServingLimits:
    """What a listening server grants its clients. Bodies are limited by the application."""

    connections: int = 512
    """Open at once, idle ones too; further requests are answered with 503."""
    head_seconds: float = 10.0
    """For request line and headers, from the connection or their first byte on; later the connection is cut."""
    idle_seconds: int = 10
    """That an unused connection stays open after an answer."""


class _Server(uvicorn.Server):
    """A uvicorn server that says when it listens, and leaves signals to us: stopping it is no failure."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """HTTP/1.1 that does not wait for ever for a request: uvicorn's own has no time limit on the headers."""

    head_seconds: float = 10.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        # IDLE: no whole request head has come yet. Between two requests the keep-alive timer does the same.
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._too_late)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        # An orderly end would wait for a client that has shown that it does not answer.
        self.transport.abort()


async def serve(
    application: AsgiApp,
    listener: socket.socket,
    tls: ssl.SSLContext,
    on_listening: Callable[[], None],
    limits: ServingLimits = ServingLimits(),
) -> None:
    """Serve an ASGI application over TLS until SIGINT or SIGTERM; open requests get some seconds to end."""
    await serve_all([(application, listener)], tls, on_listening, limits)


async def serve_all(
    served: Sequence[tuple[AsgiApp, socket.socket]],
    tls: ssl.SSLContext,
    on_listening: Callable[[], None],
    limits: ServingLimits = ServingLimits(),
) -> None:
    """Serve applications, each on a socket of its own and within limits of its own, as ``serve`` does one.

    ``on_listening``: called once, when all of them listen.
    """
    waiting = len(served)

    def listening() -> None:
        nonlocal waiting
        waiting -= 1
        if waiting == 0:
            on_listening()

    servers = [_Server(_config(application, tls, limits), listening) for application, _ in served]

    def stop() -> None:
        # A second signal does not wait for open requests.
        for server in servers:
            server.force_exit = server.should_exit
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await asyncio.gather(*(server.serve([one]) for server, (_, one) in zip(servers, served, strict=True)))


def _ending(application: AsgiApp) -> AsgiApp:
    """Have requests that are cut off when the server ends be answered with 503, where nothing was answered yet."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await application(scope, receive, noted)
        except asyncio.CancelledError:
            # Nothing waits for this task any more; raised further, it would be told of as a defect.
            if not started:
                await respond(send, 503, {"connection": "close"})

    return app


def _config(application: AsgiApp, tls: ssl.SSLContext, limits: ServingLimits) -> uvicorn.Config:
    config = uvicorn.Config(
        _ending(application),
        http=type("_LimitedProtocol", (_Protocol,), {"head_seconds": limits.head_seconds}),
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=MAX_HEAD,
        ws="none",
        interface="asgi3",
    )
    config.load()
    config.ssl = tls
    return config
