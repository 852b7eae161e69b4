"""A slot's way to the RSP servers: into an application of this process, or over HTTPS; chosen by host name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx

from esim_bench import clock
from esim_bench.errors import BenchError, ConfigError, DeviceTimeout, TransportError
from esim_bench.events import EventSink, RspEvent
from esim_bench.ports import Bearer, HttpResponse
from esim_bench.servers.asgi import AsgiApp, call

DEFAULT_LATENCY = 0.08
"""Seconds of one request over an in-process bearer, there and back: a decent LTE link."""
DEFAULT_TIMEOUT = 60.0
MAX_ANSWER = 8 * 1024 * 1024
"""Bytes of the longest answer that is taken."""


class InProcessBearer:
    """Reaches applications of this process by host name. On the virtual loop its latency is virtual too.

    ``apps``: host name -> ASGI application; names compare without case, and without port unless the name has one.
    ``latency``: seconds of one request there and back; it does not depend on other slots.
    """

    def __init__(self, apps: Mapping[str, AsgiApp], sink: EventSink, *, latency: float = DEFAULT_LATENCY) -> None:
        self._apps = {name.lower(): app for name, app in apps.items()}
        self._sink = sink
        self._latency = latency

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
                await asyncio.sleep(self._latency / 2)
                answer = await call(app, "POST", url, headers, body)
                await asyncio.sleep(self._latency / 2)
        except TimeoutError as exc:
            raise record.failed(_too_late(parts, timeout)) from exc
        except BenchError as exc:
            raise record.failed(exc) from exc
        return record.answered(answer)


class HttpsBearer:
    """Reaches servers over HTTPS, as a device would: own trust roots, no redirects, no proxy of the environment.

    ``roots``: PEM file, or folder of hashed PEM files, that the servers' certificates are checked by; None: the usual
    public ones. Each request has a connection of its own, so that nothing is left open when the slot loses power.
    """

    def __init__(self, sink: EventSink, *, roots: Path | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._sink = sink
        self._roots = roots
        self._timeout = timeout
        self._context: ssl.SSLContext | None = None

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        """POST over HTTPS. Raises TransportError, DeviceTimeout; ConfigError for unusable roots."""
        record = _Record(self._sink, url, body)
        parts = _https(url, record)
        if clock.is_virtual():
            hint = "run this rack on the real clock, or use the SM-DP+ of this process"
            raise record.failed(ConfigError("no network in virtual time", found=parts.netloc, hint=hint))
        seconds = timeout if timeout is not None else self._timeout
        try:
            async with (
                asyncio.timeout(seconds),
                httpx.AsyncClient(
                    verify=self._tls(), follow_redirects=False, trust_env=False, timeout=httpx.Timeout(seconds)
                ) as client,
                client.stream("POST", url, headers=dict(headers), content=body) as response,
            ):
                answer = bytearray()
                async for chunk in response.aiter_bytes():
                    answer += chunk
                    if len(answer) > MAX_ANSWER:
                        raise TransportError(
                            "answer too long", expected=f"at most {MAX_ANSWER} bytes", where=parts.netloc
                        )
                names = {name.lower(): value for name, value in response.headers.items()}
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise record.failed(_too_late(parts, seconds)) from exc
        except httpx.HTTPError as exc:
            raise record.failed(_no_way(parts, exc, self._roots)) from exc
        except httpx.InvalidURL as exc:
            raise record.failed(ConfigError("not a URL", found=repr(url))) from exc
        except BenchError as exc:
            raise record.failed(exc) from exc
        return record.answered(HttpResponse(response.status_code, names, bytes(answer)))

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = tls_context(self._roots)
        return self._context


class RoutingBearer:
    """Chooses a bearer by the URL's host: ``routes`` by name (with or without port), ``default`` for the rest."""

    def __init__(self, routes: Mapping[str, Bearer], default: Bearer) -> None:
        self._routes = {name.lower(): bearer for name, bearer in routes.items()}
        self._default = default

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        """POST over the bearer of the URL's host; errors are that bearer's."""
        try:
            parts = urlsplit(url)
            chosen = self._routes.get(parts.netloc.lower()) or self._routes.get(parts.hostname or "")
        except ValueError:
            chosen = None
        return await (chosen or self._default).post(url, headers, body, timeout)


def tls_context(roots: Path | None) -> ssl.SSLContext:
    """Return a client's TLS settings. Raises ConfigError when the roots cannot be read."""
    if roots is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        if roots.is_dir():
            context = ssl.create_default_context(capath=str(roots))
        else:
            context = ssl.create_default_context(cafile=str(roots))
    except FileNotFoundError as exc:
        raise ConfigError("no such file of TLS roots", where=str(roots), hint="a PEM file, see --tls-roots") from exc
    except (ssl.SSLError, OSError) as exc:
        raise ConfigError("cannot read the TLS roots", where=str(roots), expected="certificates in PEM") from exc
    # Newer Pythons are stricter than any device in the field (and than the SGP.26 certificates).
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


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
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise record.failed(ConfigError("not a server's URL", expected="https://host[:port]/path", found=repr(url)))
    return parts


def _too_late(parts: SplitResult, seconds: float | None) -> DeviceTimeout:
    limit = f"an answer within {seconds:g} s" if seconds is not None else None
    return DeviceTimeout("the server did not answer in time", where=parts.netloc, expected=limit)


def _no_way(parts: SplitResult, exc: httpx.HTTPError, roots: Path | None) -> TransportError:
    """Say what broke: TLS, name, connection or protocol."""
    reason: BaseException | None = exc
    while reason is not None:
        if isinstance(reason, ssl.SSLCertVerificationError):
            hint = "name the server's root with --tls-roots" if roots is None else f"checked by {roots}"
            return TransportError(
                f"the server's certificate was refused: {reason.verify_message}", where=parts.netloc, hint=hint
            )
        reason = reason.__cause__ or reason.__context__
    text = str(exc) or type(exc).__name__
    return TransportError(f"no way to the server: {text}", where=parts.netloc, hint="is it running, is the name right?")
