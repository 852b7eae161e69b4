"""``esim-bench serve eim``: the bench's eIM on sockets, ESipa for other people's IPAs and REST for lab automation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import re
import secrets
import socket
import ssl
import stat
import string
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from esim_bench.cli.common import JsonOption, note, print_json
from esim_bench.cli.serving import is_loopback, listen, log_to_stderr, tls_pair, tls_root_of
from esim_bench.codec.activation_code import check_address
from esim_bench.codec.eim_configuration import KeyData
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto.certificates import Certificate
from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.errors import CodecError, ConfigError
from esim_bench.events import NullSink
from esim_bench.rack.bearer import HttpsBearer
from esim_bench.rack.network import Network
from esim_bench.servers.asgi import AsgiApp, Receive, Scope, Send
from esim_bench.servers.pki import Pki, eim_tls_context, load_pki
from esim_bench.store.home import home

log = logging.getLogger(__name__)

HTTPS_PORT: Final = 443
PUBLIC: Final = "public"
API: Final = "/api/"
DELIVERY_SECONDS: Final = 20.0
"""Between looks for notifications whose server was away."""
LEAST_BITS: Final = 96
"""Of a token by which the eIM may be reached from elsewhere."""
_USUAL: Final = ("testeim1.example.com", "testeim2.example.com", "localhost")


class EsipaVersion(Enum):
    """Versions of SGP.32 that the eIM speaks."""

    V1_2 = "1.2"
    V1_0_1 = "1.0.1"


class Binding(Enum):
    """How ES9+ is spoken towards SM-DP+s."""

    JSON = "json"
    ASN1 = "asn1"


class TlsPin(Enum):
    """What devices are told to know this eIM's TLS by (trustedPublicKeyDataTls)."""

    CA = "ca"
    CERTIFICATE = "certificate"
    KEY = "key"
    NONE = "none"


def eim(
    pki: Annotated[Path, typer.Option("--pki", metavar="DIR", help="Test PKI, made by: esim-bench pki init DIR")],
    db: Annotated[
        Path | None, typer.Option("--db", help="SQLite file of inventory, orders and results; default: memory.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8444,
    rest_port: Annotated[
        int | None,
        typer.Option("--rest-port", min=0, max=65535, help="Port of the REST API; default: the same port."),
    ] = None,
    rest_host: Annotated[
        str | None,
        typer.Option("--rest-host", help="Address that the REST API listens on; needs --rest-port. Default: --host."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", help="Bearer token of the REST API; other users of this machine can see it."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", help="File with the token; made, with a new one, where it is missing. Default: beside --db."
        ),
    ] = None,
    eim_id: Annotated[str | None, typer.Option("--eim-id", help="eimId; default: testeim1.example.com.")] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="HOST[:PORT] that devices are told; default: a name of its TLS certificate."),
    ] = None,
    version: Annotated[
        EsipaVersion, typer.Option("--version", help="Version of SGP.32 that is spoken and signed.")
    ] = EsipaVersion.V1_2,
    tls_pin: Annotated[
        TlsPin | None,
        typer.Option("--tls-pin", help="What devices know its TLS by. Default: the PKI's root, else the key."),
    ] = None,
    binding: Annotated[
        Binding, typer.Option("--binding", help="How ES9+ is spoken to SM-DP+s, in indirect downloads.")
    ] = Binding.JSON,
    smdp_root: Annotated[
        str | None,
        typer.Option(
            "--smdp-root",
            metavar="FILE|public",
            help="TLS roots of SM-DP+s (PEM), or the public ones. Default: the PKI's.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="TLS certificate and its chain (PEM), instead of the PKI's own.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Private key of --tls-cert (PEM).")] = None,
    json: JsonOption = False,
) -> None:
    """Serve an eIM (ESipa and a REST API over TLS) until Ctrl-C or SIGTERM."""
    if not pki.is_dir():
        hint = f"make one: esim-bench pki init {pki}"
        raise ConfigError("no PKI here", where=str(pki), expected="a folder", hint=hint)
    loaded = load_pki(pki, now_ns=time.time_ns())
    if tls_cert is not None or tls_key is not None:
        loaded = replace(loaded, eim_tls=tls_pair(tls_cert, tls_key))
    if rest_host is not None and rest_port is None:
        raise ConfigError("the REST API has no port of its own", where="--rest-host", expected="--rest-port as well")
    tls = eim_tls_context(loaded)
    reached = rest_host or host
    secret = the_token(token, token_file, db, foreign=not is_loopback(reached))
    ca = _ca_file(loaded, pki, tls_cert)
    roots = None if smdp_root == PUBLIC else Path(smdp_root) if smdp_root is not None else tls_root_of(pki)
    listeners = [listen(host, port)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(listeners[0]))
        if rest_port is not None:
            listeners.append(stack.enter_context(contextlib.closing(listen(reached, rest_port))))
        name = _name(loaded, host)
        shown = _with_port(name, listeners[0])
        started = Started(
            f"https://{shown}",
            f"https://{_with_port(_name(loaded, reached), listeners[-1])}/api/v1",
            str(ca),
            str(secret.file) if secret.file is not None else None,
            eim_id or _USUAL[0],
            version.value,
        )
        pin = _pin(loaded, tls_pin, ca == tls_root_of(pki))
        served = Served(secret, started, address or shown, pin, Network(binding=binding.value), roots, db)
        log_to_stderr()
        asyncio.run(_serve(loaded, served, listeners, tls, json))


@dataclass(frozen=True, slots=True)
class Token:
    """The REST API's token, and where it can be read."""

    text: str
    file: Path | None


@dataclass(frozen=True, slots=True)
class Started:
    """What a user of the server needs to know."""

    url: str
    rest: str
    ca: str
    token_file: str | None
    eim_id: str
    version: str


@dataclass(frozen=True, slots=True)
class Served:
    """How the eIM is to be."""

    token: Token
    started: Started
    address: str
    pin: KeyData | None
    network: Network
    roots: Path | None
    db: Path | None


async def _serve(pki: Pki, served: Served, listeners: Sequence[socket.socket], tls: ssl.SSLContext, json: bool) -> None:
    # The web framework and what belongs to it: nobody else is to wait for them.
    from esim_bench.servers.eim import Eim, EimCredentials, SqliteEimStore
    from esim_bench.servers.eim.http import BODY_SECONDS
    from esim_bench.servers.eim.relay import Relay
    from esim_bench.servers.eim.rest import rest_app
    from esim_bench.servers.serving import serve_all

    if pki.eim is None:
        raise ConfigError("no eIM in this PKI", where="eim/sign", expected="its key and certificate", hint="pki init")
    try:
        check_address(served.address, "address of the eIM")
    except CodecError as exc:
        raise ConfigError(exc.what, where="--address", expected=exc.expected, found=exc.found) from exc
    credentials = EimCredentials(served.started.eim_id, served.address, pki.eim.key, tls=served.pin)
    bearer = HttpsBearer(NullSink(), roots=served.roots, network=served.network)
    with (
        contextlib.closing(SqliteEimStore(served.db if served.db is not None else ":memory:")) as store,
        ThreadPoolExecutor(1, "eim") as worker,
    ):
        server = Eim(
            credentials,
            store,
            SystemRandomness(),
            time.time_ns,
            version=Version.from_text(served.started.version),
            relay=Relay(bearer, served.network.binding, device=store.find_device),
            trusted_cis=[pki.ci_key],
            bearer=bearer,
            executor=worker,
        )
        rest = rest_app(server, served.token.text, time.time_ns, body_seconds=BODY_SECONDS)

        async def deliver() -> None:
            while True:
                await asyncio.sleep(DELIVERY_SECONDS)
                try:
                    await server.deliver()
                except Exception:
                    # The next one may go better: a full disk, a store that another process holds.
                    log.exception("notifications were not delivered")

        if len(listeners) == 1:
            applications = [(_beside(server.app, rest), listeners[0])]
        else:
            applications = [(server.app, listeners[0]), (rest, listeners[1])]
        delivering = asyncio.create_task(deliver())
        try:
            await serve_all(applications, tls, lambda: announce(served.started, json))
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)


def _beside(esipa: AsgiApp, rest: AsgiApp) -> AsgiApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = rest if scope["type"] == "http" and str(scope["path"]).startswith(API) else esipa
        await chosen(scope, receive, send)

    return app


# -------------------------------------------------------------------------------------------------------------- token


def the_token(text: str | None, file: Path | None, db: Path | None, *, foreign: bool) -> Token:
    """Return the token that was given, or that of its file, which is made where it is missing.

    ``foreign``: the API can be reached from elsewhere. Raises ConfigError for a token that could be guessed then.
    """
    if text is not None and file is not None:
        raise ConfigError("two tokens", expected="--token or --token-file")
    if text is None:
        chosen = file or (db.with_name(db.name + ".token") if db is not None else home() / "eim.token")
        file, text = chosen, _kept(chosen)
    where = "--token" if file is None else str(file)
    if not re.fullmatch(r"[!-~]{1,1024}", text):
        raise ConfigError("not a token", where=where, expected="1 to 1024 visible ASCII characters, no blanks")
    if foreign and strength(text) < LEAST_BITS:
        raise ConfigError(
            "a token that can be guessed, for an API that can be reached from elsewhere",
            where=where,
            expected="a random one of 22 characters or more",
            hint="leave --token away and one is made, or listen on 127.0.0.1",
        )
    if file is not None and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        note(f"warning: other users may read {file} (chmod 600)")
    return Token(text, file.resolve() if file is not None else None)


def _kept(path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(made, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        with path.open(encoding="ascii") as file:
            return file.read(2048).strip()
    except OSError as exc:
        raise ConfigError(f"cannot use the token's file: {exc.strerror}", where=str(path)) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError("not a token", where=str(path), expected="ASCII") from exc


def strength(token: str) -> float:
    """Estimate a token's entropy from above, in bits: its length by its kinds of characters, and by how many differ."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation)
    alphabet = sum(len(kind) for kind in kinds if set(kind) & set(token))
    if set(token) <= set(string.hexdigits):
        alphabet = min(alphabet, 16)
    counts = [token.count(character) for character in sorted(set(token))]
    # Repetition gives nothing: what the frequencies of its own characters say is a bound as well, but for short texts,
    # where every character is another one.
    own = -sum(count * math.log2(count / len(token)) for count in counts)
    return min(len(token) * math.log2(max(alphabet, 1)), own * 1.25)


# -------------------------------------------------------------------------------------------------------------- names


def _with_port(name: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return name if port == HTTPS_PORT else f"{name}:{port}"


def _name(pki: Pki, host: str) -> str:
    """Return the name to hand out: on loopback one that resolves there, else one that somebody chose."""
    names = Certificate.load(pki.eim_tls.certificate).hosts if pki.eim_tls is not None else ()
    stated = [name for name in names if "*" not in name]
    if is_loopback(host) and "localhost" in stated:
        return "localhost"
    if host in stated:
        return host
    chosen = [name for name in stated if name not in _USUAL and not is_loopback(name)]
    found = [*chosen, *stated]
    if not found:
        raise ConfigError("the server has no name", expected="a DNS name in the TLS certificate")
    return f"[{found[0]}]" if ":" in found[0] else found[0]


def _ca_file(pki: Pki, folder: Path, tls_cert: Path | None) -> Path:
    """Return the file to check the server by: the PKI's TLS root, or the certificate where it is under another one."""
    if tls_cert is not None:
        return tls_cert.resolve()
    if pki.eim_tls is not None:
        chain = (pki.eim_tls.certificate, *pki.eim_tls.intermediates)
        last = x509.load_der_x509_certificate(chain[-1])
        try:
            last.verify_directly_issued_by(x509.load_der_x509_certificate(pki.tls_root))
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            own = sorted((folder / "eim" / "tls").glob("certificate.*"))
            return (own[0] if own else folder).resolve()
    return tls_root_of(folder)


def _pin(pki: Pki, wanted: TlsPin | None, under_root: bool) -> KeyData | None:
    """Return trustedPublicKeyDataTls."""
    pair = pki.eim_tls
    if pair is None or wanted is TlsPin.NONE:
        return None
    if wanted is TlsPin.CA or (wanted is None and under_root):
        return KeyData(pki.tls_root, certificate=True)
    if wanted is TlsPin.CERTIFICATE:
        return KeyData(pair.certificate, certificate=True)
    public = pair.key.public_key()
    return KeyData(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def announce(started: Started, wants_json: bool) -> None:
    """Say that the server listens, and how to reach it."""
    note(f"eIM {started.eim_id} at {started.url}, SGP.32 v{started.version}")
    note(f"REST API: {started.rest}")
    note(f"token: {started.token_file or 'as given'}")
    note(f"TLS root: {started.ca}")
    note("stop with Ctrl-C")
    if wants_json:
        members = ("url", "rest", "ca", "token_file", "eim_id", "version")
        print_json({name: getattr(started, name) for name in members})
        sys.stdout.flush()
