"""A slot's way to the RSP servers: into an application of this process, or over HTTPS; chosen by host name."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx

from esim_bench import clock
from esim_bench.codec.eim_configuration import KeyData
from esim_bench.errors import BenchError, ConfigError, DeviceTimeout, RigError, TransportError
from esim_bench.events import EventSink, RspEvent
from esim_bench.ports import Bearer, HttpResponse
from esim_bench.rack.network import DEFAULT_NETWORK, Network, final, no_way, shown_url, tls_context
from esim_bench.rack.pinning import pinned_context
from esim_bench.servers.asgi import AsgiApp, call

DEFAULT_LATENCY = 0.08
"""Seconds of one request over an in-process bearer, there and back: a decent LTE link."""
DEFAULT_TIMEOUT = 60.0
IDLE: Final = 30.0
"""Seconds that a kept connection may lie idle; a profile switch in the middle of a procedure takes less."""
MAX_ANSWER = 8 * 1024 * 1024
"""Bytes of the longest answer that is taken."""
BACK_OFF: Final = 0.5
"""Seconds before the first repetition; each further one waits twice as long."""
REPEATABLE: Final = ("initiateAuthentication", "handleNotification")
"""Functions that may reach a server twice: the first leaves a session that expires, the second is known already."""
BUSY: Final = (502, 503, 504)
"""HTTP statuses of a server that may be there in a moment."""


_DROPPED: Final = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_CLIENTS = itertools.count(1)
"""Numbers by which applications tell the bearers of this process apart, as servers tell connections."""


class InProcessBearer:
    """Reaches applications of this process by host name. On the virtual loop its latency is virtual too.

    ``apps``: host name -> ASGI application; names compare without case, and without port unless the name has one.
    ``latency``: seconds of one request there and back; it does not depend on other slots.
    """

    def __init__(self, apps: Mapping[str, AsgiApp], sink: EventSink, *, latency: float = DEFAULT_LATENCY) -> None:
        self._apps = {name.lower(): app for name, app in apps.items()}
        self._sink = sink
        self._latency = latency
        self._client = next(_CLIENTS)

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        """POST to the application of the URL's host. Raises TransportError (no such host), DeviceTimeout."""
        record = _Record(self._sink, url, body)
        parts = _https(url, record)
        app = self._apps.get(parts.netloc.lower()) or self._apps.get(parts.hostname or "")
        if app is None:
            known = ", ".join(self._apps) or "no server at all"
            raise record.failed(TransportError("no server of this name", expected=known, found=parts.netloc))
        try:
            async with asyncio.timeout(timeout):
                # Nothing else happens meanwhile, mostly: then no coroutine is made to find that out.
                if not clock.leap(self._latency / 2):
                    await asyncio.sleep(self._latency / 2)
                answer = await call(app, "POST", url, headers, body, self._client)
                if not clock.leap(self._latency / 2):
                    await asyncio.sleep(self._latency / 2)
        except TimeoutError as exc:
            raise record.failed(_silent(parts.netloc, timeout)) from exc
        except BenchError as exc:
            raise record.failed(exc) from exc
        return record.answered(answer)

    async def hang_up(self) -> None:
        """Be another client to the applications from now on: a new connection."""
        self._client = next(_CLIENTS)


class HttpsBearer:
    """Reaches servers over HTTPS, as a device would: own trust roots, no redirects; proxies as the network says.

    ``roots``: PEM file, or folder of PEM files, that the servers' certificates are checked by; None: the usual public
    ones. ``pin``: the one key or certificate that a server must have (trustedPublicKeyDataTls), in place of the roots.
    ``keep``: keep connections open for the next request, until ``hang_up``: some servers tie the state of a procedure
    to its connection. A request is repeated only where that is safe: the connection was not established, was one that
    the server dropped while it was kept, or the function may be called twice.
    """

    def __init__(
        self,
        sink: EventSink,
        *,
        roots: Path | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        network: Network = DEFAULT_NETWORK,
        pin: KeyData | None = None,
        keep: bool = False,
    ) -> None:
        self._sink = sink
        self._keep = keep
        self._kept: dict[str | None, httpx.AsyncClient] = {}
        """Clients with open connections, by their proxy."""
        self._used: set[str | None] = set()
        """Of these, those whose connections have served a request before."""
        self._roots = roots
        self._timeout = timeout
        self._network = network
        self._pin = pin
        self._context: ssl.SSLContext | None = None

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        """POST over HTTPS. Raises TransportError, DeviceTimeout; ConfigError for unusable roots or proxies."""
        record = _Record(self._sink, url, body)
        parts = _https(url, record)
        if clock.is_virtual():
            hint = "run this rack on the real clock, or use the SM-DP+ of this process"
            raise record.failed(ConfigError("no network in virtual time", found=parts.netloc, hint=hint))
        seconds = self._network.timeout or (timeout if timeout is not None else self._timeout)
        try:
            proxy = self._network.proxy_of(parts)
            tls = self._tls()
        except BenchError as exc:
            raise record.failed(exc) from exc
        request = _Request(url, parts, headers, body, seconds, proxy)
        ends = clock.now() + seconds
        for attempt in range(self._network.retries + 1):
            if attempt:
                await asyncio.sleep(min(BACK_OFF * 2 ** (attempt - 1), max(0.0, ends - clock.now())))
                record = _Record(self._sink, url, body)
            last = attempt == self._network.retries or clock.now() >= ends
            try:
                async with asyncio.timeout(max(0.001, ends - clock.now())):
                    answer = await self._send(request, tls)
            except (TimeoutError, httpx.TimeoutException) as exc:
                if isinstance(exc, httpx.ConnectTimeout) and not last:
                    record.failed(_too_late(request, exc, self._network.connect_timeout))
                    continue
                raise record.failed(_too_late(request, exc, self._network.connect_timeout)) from exc
            except httpx.HTTPError as exc:
                error = no_way(request.where, exc, self._roots, pinned=self._pin is not None)
                stale = isinstance(exc, _DROPPED) and request.proxy in self._used
                if stale:
                    # Most likely the server had closed it while it lay idle: once more, on a new one.
                    await self.hang_up()
                if last or not (stale or _safe_to_repeat(exc, request)):
                    raise record.failed(error) from exc
                record.failed(error)
                continue
            except httpx.InvalidURL as exc:
                raise record.failed(ConfigError("not a URL", found=repr(url))) from exc
            except BenchError as exc:
                raise record.failed(exc) from exc
            if answer.status in BUSY and request.repeatable and not last:
                record.answered(answer)
                continue
            return record.answered(answer)
        raise RigError("a request without an end", where=parts.netloc)

    async def _send(self, request: _Request, tls: ssl.SSLContext) -> HttpResponse:
        if not self._keep:
            async with self._client(request, tls) as client:
                return await self._answer(client, request)
        if request.proxy not in self._kept:
            self._kept[request.proxy] = self._client(request, tls)
        answer = await self._answer(self._kept[request.proxy], request)
        self._used.add(request.proxy)
        return answer

    def _client(self, request: _Request, tls: ssl.SSLContext) -> httpx.AsyncClient:
        try:
            return httpx.AsyncClient(
                verify=tls,
                follow_redirects=False,
                trust_env=False,
                proxy=request.proxy,
                limits=httpx.Limits(keepalive_expiry=IDLE),
            )
        except (ImportError, ValueError) as exc:
            raise ConfigError(
                "a proxy of this kind cannot be used", expected="http://HOST:PORT", found=shown_url(request.proxy or "")
            ) from exc

    async def _answer(self, client: httpx.AsyncClient, request: _Request) -> HttpResponse:
        times = httpx.Timeout(request.seconds, connect=min(request.seconds, self._network.connect_timeout))
        headers = dict(request.headers)
        # A device has no use for cookies: what a server sets on one connection is not sent on another.
        client.cookies.clear()
        async with client.stream(
            "POST", request.url, headers=headers, content=request.body, timeout=times
        ) as response:  # fmt: skip
            answer = bytearray()
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) > MAX_ANSWER:
                    raise TransportError("answer too long", expected=f"at most {MAX_ANSWER} bytes", where=request.where)
            names = {name.lower(): value for name, value in response.headers.items()}
            return HttpResponse(response.status_code, names, bytes(answer))

    async def hang_up(self) -> None:
        """Close what connections are kept, as when the device loses its network; never raises."""
        kept, self._kept = list(self._kept.values()), {}
        self._used.clear()
        for client in kept:
            with contextlib.suppress(OSError, httpx.HTTPError):
                await client.aclose()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = tls_context(self._roots) if self._pin is None else pinned_context(self._pin)
        return self._context


@dataclass(frozen=True, slots=True)
class _Request:
    """One request, however often it is tried."""

    url: str
    parts: SplitResult
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    proxy: str | None

    @property
    def where(self) -> str:
        """Return the server for people, with the proxy on the way, without its password."""
        return f"{self.parts.netloc} (by proxy {shown_url(self.proxy)})" if self.proxy else self.parts.netloc

    @property
    def repeatable(self) -> bool:
        """Tell whether a server that gets it twice does the same as with one."""
        return self.parts.path.rpartition("/")[2] in REPEATABLE


def _safe_to_repeat(exc: httpx.HTTPError, request: _Request) -> bool:
    if final(exc):
        return False
    if isinstance(exc, httpx.ConnectError):
        return True
    return request.repeatable and isinstance(exc, httpx.NetworkError | httpx.RemoteProtocolError)


class RoutingBearer:
    """Chooses a bearer by the URL's host: ``routes`` by name (with or without port), ``default`` for the rest."""

    def __init__(self, routes: Mapping[str, Bearer], default: Bearer) -> None:
        self._routes = {name.lower(): bearer for name, bearer in routes.items()}
        self._default = default

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        """POST over the bearer of the URL's host; errors are that bearer's."""
        parts = _parts(url)
        chosen = None
        if parts is not None:
            chosen = self._routes.get(parts.netloc.lower()) or self._routes.get(parts.hostname or "")
        return await (chosen or self._default).post(url, headers, body, timeout)

    async def hang_up(self) -> None:
        """Close what connections are kept; never raises."""
        for bearer in (*self._routes.values(), self._default):
            await bearer.hang_up()


class _Record:
    """Makes the RspEvent of one request, however it ends."""

    def __init__(self, sink: EventSink, url: str, body: bytes) -> None:
        self._sink = sink
        self._url = url
        self._body = body
        self._at_ns = clock.wall_ns()

    def answered(self, answer: HttpResponse) -> HttpResponse:
        self._emit(answer.body, str(answer.status))
        return answer

    def failed(self, error: BenchError) -> BenchError:
        self._emit(b"", f"{type(error).__name__}: {error}")
        return error

    def _emit(self, response: bytes, status: str) -> None:
        duration = clock.wall_ns() - self._at_ns
        self._sink.emit(RspEvent(self._at_ns, self._url, self._body, response, status, duration))


def _https(url: str, record: _Record) -> SplitResult:
    parts = _parts(url)
    if parts is None:
        raise record.failed(ConfigError("not a server's URL", expected="https://host[:port]/path", found=repr(url)))
    return parts


@lru_cache(maxsize=64)
def _parts(url: str) -> SplitResult | None:
    """Return the parts of an HTTPS URL, None for what is none."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    return parts if usable else None


def _too_late(request: _Request, exc: Exception, connect_timeout: float) -> DeviceTimeout:
    if isinstance(exc, httpx.ConnectTimeout):
        limit = f"a connection within {min(request.seconds, connect_timeout):g} s"
        return DeviceTimeout("the server cannot be reached in time", where=request.where, expected=limit)
    return _silent(request.where, request.seconds)


def _silent(where: str, seconds: float | None) -> DeviceTimeout:
    limit = f"an answer within {seconds:g} s" if seconds is not None else None
    return DeviceTimeout("the server did not answer in time", where=where, expected=limit)
