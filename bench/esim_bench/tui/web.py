"""The screen in a browser: each page that is open has a process of its own, which ends with it, whatever ends it.

On loopback anybody on this machine may look, as at a terminal. Elsewhere a token is needed: it comes once in the
address and is then a cookie. Pages of other sites cannot use either: the Host header and a web socket's Origin must
be this server.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from esim_bench.errors import ConfigError

if TYPE_CHECKING:
    from esim_bench.rack.model import Rack

try:
    from aiohttp import web
    from textual_serve.app_service import AppService
    from textual_serve.server import Server
except ImportError:
    raise ConfigError(
        "the screen in a browser needs textual-serve", hint="pip install 'esim-bench[web]', or textual-serve"
    ) from None

SESSIONS: Final = 8
"""Pages that may be open at the same time."""
QUIT_SECONDS: Final = 20.0
"""A session may take so long to leave its devices in their safe state."""
TERM_SECONDS: Final = 5.0
COOKIE: Final = "esim-bench-token"
_PAGE: Final = Path(__file__).with_name("web_page.html")


class Session(AppService):
    """One page's process, in a process group of its own."""

    def __init__(self, arguments: list[str], **others: Any) -> None:
        super().__init__("", **others)
        self._arguments = arguments
        self._over: asyncio.Task[None] | None = None

    async def _open_app_process(self, width: int = 80, height: int = 24) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._build_environment(width, height), "TEXTUAL_FPS": "30"},
            start_new_session=True,
        )
        self._process, self._stdin = process, process.stdin
        return process

    async def stop(self) -> None:
        """End the process, with more and more force; return when it is gone."""
        if self._over is None:
            self._over = asyncio.create_task(self._end())
        # Shielded: a server that is being stopped cancels the page's task, not the end of its process.
        await asyncio.shield(self._over)

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        await self._download_manager.cancel_app_downloads(app_service_id=self.app_service_id)
        with suppress(Exception):
            await asyncio.wait_for(self.send_meta({"type": "quit"}), 1.0)
        drain = asyncio.create_task(self._drain())
        for seconds, number in ((QUIT_SECONDS, signal.SIGTERM), (TERM_SECONDS, signal.SIGKILL)):
            try:
                await asyncio.wait_for(process.wait(), seconds)
                break
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
        else:
            await process.wait()
        with suppress(ProcessLookupError):
            # Whatever it left behind in its group.
            os.killpg(process.pid, signal.SIGKILL)
        for task in (drain, self._task):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _drain(self) -> None:
        """Read on when nobody does any more: a process that cannot write cannot end."""
        if self._task is not None:
            await asyncio.wait([self._task])
        process = self._process
        assert process is not None
        assert process.stdout is not None
        with suppress(Exception):
            while await process.stdout.read(65536):
                pass


class BenchServer(Server):
    """Serves the page, its web socket and its files."""

    def __init__(
        self, arguments: list[str], *, host: str, port: int, title: str, token: str | None, ready: Callable[[str], None]
    ) -> None:
        super().__init__("", host=host, port=port, title=title)
        self._arguments = arguments
        self._token = token
        self._ready = ready
        self._sessions: set[Session] = set()
        self._local = is_loopback(host)

    async def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/", self._index, name="index"),
                web.get("/ws", self.handle_websocket, name="websocket"),
                web.get("/download/{key}", self.handle_download, name="download"),
                web.static("/static", self.statics_path, name="static"),
            ]
        )
        app.on_shutdown.append(self.on_shutdown)
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let nobody in who is not meant: by name, by origin, by token."""
        if self._local and not is_loopback(_name(request.host), resolve=False):
            # A name is not enough to be looked up: anybody's may point here.
            raise web.HTTPForbidden(text="This server answers to the names of this machine's loopback only.\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise web.HTTPForbidden(text="Pages of other sites may not use this server.\n")
        if self._token is not None:
            given = request.query.get("token")
            if given is not None and _same(given, self._token) and request.path == "/":
                answer = web.HTTPSeeOther("/")
                answer.set_cookie(COOKIE, self._token, httponly=True, samesite="Strict", path="/")
                raise answer
            if not _same(request.cookies.get(COOKIE, ""), self._token):
                raise web.HTTPForbidden(
                    text="A token is needed: open the address that esim-bench tui --web printed, with its ?token=\n"
                )
        response = await handler(request)
        if not response.prepared:
            response.headers["X-Frame-Options"] = "DENY"
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["Cache-Control"] = "no-store"
        return response

    async def _index(self, request: web.Request) -> web.Response:
        size = request.query.get("fontsize", "")
        page = _PAGE.read_text()
        scheme = "wss" if request.scheme == "https" else "ws"
        values = {
            "title": f"esim-bench {self.title}",
            "socket": f"{scheme}://{request.host}/ws",
            "size": size if size.isdecimal() and 6 <= int(size) <= 48 else "15",
        }
        for name, value in values.items():
            page = page.replace(
                "{" + name + "}", value.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
            )
        return web.Response(text=page, content_type="text/html")

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Give a page its process, for as long as the socket is open."""
        socket_ = web.WebSocketResponse(heartbeat=15, max_msg_size=1 << 20)
        if len(self._sessions) >= SESSIONS:
            raise web.HTTPServiceUnavailable(text=f"{SESSIONS} pages are open: close one of them.\n")
        await socket_.prepare(request)
        session = Session(
            self._arguments,
            write_bytes=socket_.send_bytes,
            write_str=socket_.send_str,
            close=socket_.close,
            download_manager=self.download_manager,
        )
        self._sessions.add(session)
        try:
            await session.start(_length(request, "width", 80, 500), _length(request, "height", 24, 300))
            await self._process_messages(socket_, session)
        except (ValueError, KeyError, IndexError, TypeError, AssertionError, ConnectionError):
            pass  # a page that speaks nonsense, or has gone
        finally:
            try:
                await session.stop()
            finally:
                self._sessions.discard(session)
                with suppress(Exception):
                    await socket_.close()
        return socket_

    async def on_shutdown(self, app: web.Application) -> None:
        """End all sessions."""
        await asyncio.gather(*(session.stop() for session in self._sessions), return_exceptions=True)

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM. Raises ConfigError when the address cannot be used."""
        runner = web.AppRunner(await self._make_app(), access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.host, self.port)
            try:
                await site.start()
            except OSError as exc:
                raise ConfigError(
                    "cannot listen", where=f"{self.host}:{self.port}", found=exc.strerror, hint="try --port 0"
                ) from None
            name, port = runner.addresses[0][:2]
            shown = f"[{name}]" if ":" in name else name
            self._ready(f"http://{shown}:{port}/" + (f"?token={self._token}" if self._token else ""))
            over = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, over.set)
            await over.wait()
        finally:
            await self.on_shutdown(web.Application())
            await runner.cleanup()


def serve(
    rack: Rack, *, demo: bool, rate: float | None, host: str, port: int, token: str | None, said: Any = sys.stderr
) -> None:
    """Serve the screen of a rack to browsers. Raises ConfigError."""
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(18)
    if token is not None and len(token) < 8:
        raise ConfigError("the token is too short", expected="8 characters or more", found=len(token))
    options = json.dumps({"rack": str(rack.path.resolve()), "demo": demo, "rate": rate})
    arguments = [sys.executable, "-m", "esim_bench.tui.start", options]

    def ready(address: str) -> None:
        said.write(f"The bench's screen is at {address}\nCtrl+C ends it.\n")
        said.flush()

    server = BenchServer(arguments, host=host, port=port, title=rack.name, token=token, ready=ready)
    asyncio.run(server.run())


def is_loopback(host: str, *, resolve: bool = True) -> bool:
    """Tell whether an address or a name is this machine's loopback."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    if not resolve:
        return False
    with suppress(OSError):
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
        return bool(found) and all(ipaddress.ip_address(address).is_loopback for address in found)
    return False


def _name(host: str) -> str:
    """Return the name of a Host header without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _length(request: web.Request, name: str, default: int, most: int) -> int:
    value = request.query.get(name, "")
    return max(20, min(int(value), most)) if value.isdecimal() and len(value) < 6 else default
