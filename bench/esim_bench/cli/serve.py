"""``esim-bench serve``: the bench's servers on sockets, for other people's devices and LPAs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from esim_bench.cli.common import JsonOption, app, note, print_json
from esim_bench.cli.serve_eim import eim
from esim_bench.cli.serve_rack import control, rack
from esim_bench.cli.serving import is_loopback, listen, log_to_stderr, tls_pair, tls_root_of
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip.build import BuiltProfile
from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.errors import ConfigError
from esim_bench.rack.world import SMDP_ADDRESS, factory_profile, packaged
from esim_bench.servers.pki import Pki, load_pki, tls_context
from esim_bench.servers.serving import serve
from esim_bench.servers.smdp import Smdp, SmdpCredentials, SqliteStore

HTTPS_PORT = 443

cli = app("The bench's servers on sockets.")


class Protection(Enum):
    """Under which keys profile elements go out."""

    SESSION = "session"
    """Session keys, agreed for each download."""
    PPK = "ppk"
    """Random profile protection keys, drawn once per package."""


cli.command("eim")(eim)
cli.command("rack")(rack)
cli.command("control")(control)


@cli.command("smdp")
def smdp(
    pki: Annotated[Path, typer.Option("--pki", metavar="DIR", help="Test PKI, made by: esim-bench pki init DIR")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8443,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            help="Host name of this SM-DP+, besides those of its TLS certificate; repeatable.",
        ),
    ] = None,
    package: Annotated[
        list[Path] | None, typer.Option("--package", help="Profile package to release; repeatable.")
    ] = None,
    profile: Annotated[
        list[str] | None, typer.Option("--profile", help="Profile of profiles/ to release; repeatable.")
    ] = None,
    matching_id: Annotated[
        list[str] | None,
        typer.Option("--matching-id", help="MatchingIDs in order, packages first, then profiles; else made up."),
    ] = None,
    confirmation_code: Annotated[
        str | None, typer.Option("--confirmation-code", help="Confirmation code that every download asks for.")
    ] = None,
    db: Annotated[Path | None, typer.Option("--db", help="SQLite file of orders and results; default: memory.")] = None,
    test_order: Annotated[
        bool, typer.Option("--test-order", help="Release to any number of eUICCs, again and again.")
    ] = False,
    session_timeout: Annotated[
        float, typer.Option("--session-timeout", min=0.1, help="Seconds that an RSP session lives between two steps.")
    ] = 600,
    eid: Annotated[
        str | None,
        typer.Option(
            "--eid", help="Only this eUICC may have the profiles; without a MatchingID it is found by its EID."
        ),
    ] = None,
    protect: Annotated[
        Protection,
        typer.Option("--protect", help="Keys of the profiles: of the session, or random ones drawn beforehand (PPK)."),
    ] = Protection.SESSION,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="TLS certificate and its chain (PEM), instead of the PKI's own.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Private key of --tls-cert (PEM).")] = None,
    json: JsonOption = False,
) -> None:
    """Serve an SM-DP+ (ES9+ over TLS) until Ctrl-C or SIGTERM."""
    if not pki.is_dir():
        raise ConfigError(
            "no PKI here", where=str(pki), expected="a folder", hint=f"make one: esim-bench pki init {pki}"
        )
    owner = eid_of(eid) if eid is not None else None
    loaded = load_pki(pki, now_ns=time.time_ns())
    if tls_cert is not None or tls_key is not None:
        loaded = replace(loaded, smdp_tls=tls_pair(tls_cert, tls_key))
    names = own_names(loaded, address or [], host)
    tls = tls_context(loaded)
    listener = listen(host, port)
    bound_port = listener.getsockname()[1]
    shown = names[0] if bound_port == HTTPS_PORT else f"{names[0]}:{bound_port}"
    with (
        contextlib.closing(listener),
        contextlib.closing(SqliteStore(db if db is not None else ":memory:")) as store,
        ThreadPoolExecutor(1, "smdp") as worker,
    ):
        server = Smdp(
            SmdpCredentials.from_pki(loaded),
            store,
            SystemRandomness(),
            names,
            time.time_ns,
            session_lifetime_ns=round(session_timeout * 1e9),
            random_keys=protect is Protection.PPK,
            executor=worker,
        )
        codes = []
        for item in collect(package or [], profile or [], matching_id or [], shown, by_eid=owner is not None):
            server.release(
                item.built.upp,
                item.built.metadata,
                item.matching_id,
                eid=owner,
                confirmation_code=confirmation_code,
                test_order=test_order,
            )
            code = ActivationCode(shown, item.matching_id, confirmation_code_required=confirmation_code is not None)
            codes.append(str(code))
        started = Started(f"https://{shown}", str(tls_cert.resolve() if tls_cert else tls_root_of(pki)), codes)
        log_to_stderr()
        asyncio.run(serve(server.app, listener, tls, lambda: announce(started, json)))


@dataclass(frozen=True, slots=True)
class Item:
    """A profile to release."""

    built: BuiltProfile
    matching_id: str


@dataclass(frozen=True, slots=True)
class Started:
    """What a user of the server needs to know."""

    url: str
    ca: str
    activation_codes: Sequence[str]


def collect(
    packages: Sequence[Path], profiles: Sequence[str], matching_ids: Sequence[str], address: str, *, by_eid: bool
) -> list[Item]:
    """Read all profiles and give each a MatchingID; ``by_eid``: those without one are default orders of an EID.

    Raises ConfigError, CodecError.
    """
    built = [_addressed(packaged(path), address) for path in packages]
    built += [_addressed(factory_profile(name), address) for name in profiles]
    if len(matching_ids) > len(built):
        raise ConfigError(
            "more MatchingIDs than profiles",
            expected=f"at most {len(built)}",
            found=len(matching_ids),
            hint="add --package",
        )
    twice = [name for number, name in enumerate(matching_ids) if name in matching_ids[:number]]
    if twice:
        raise ConfigError("a MatchingID comes twice", found=repr(twice[0]))
    items = []
    for number, profile in enumerate(built):
        if number < len(matching_ids):
            name = matching_ids[number]
        elif by_eid:
            name = ""
        else:
            name = "BENCH-" + hashlib.sha256(profile.upp + profile.metadata).hexdigest()[:16].upper()
        items.append(Item(profile, name))
    return items


def _addressed(built: BuiltProfile, address: str) -> BuiltProfile:
    """Have notifications that would go to the usual test address come to this server, so that its states follow."""
    metadata = Metadata.parse(built.metadata)
    notifications = tuple(
        (events, address if target == SMDP_ADDRESS else target) for events, target in metadata.notifications
    )
    return BuiltProfile(upp=built.upp, metadata=replace(metadata, notifications=notifications).encode())


def own_names(pki: Pki, addresses: Sequence[str], host: str) -> list[str]:
    """Return the server's own names, the one to hand out first: those given, then those of its TLS certificate.

    Raises ConfigError when there is none.
    """
    certificate = x509.load_der_x509_certificate(pki.smdp_tls.certificate)
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternative = x509.SubjectAlternativeName([])
    # A wildcard is no name that an LPA could be given.
    stated = [name for name in alternative.get_values_for_type(x509.DNSName) if "*" not in name]
    numbers = [str(address) for address in alternative.get_values_for_type(x509.IPAddress)]
    # On loopback a name that resolves there comes first; else one that somebody chose, before those of every test PKI.
    order = ("localhost",) if is_loopback(host) else ()
    usual = [name for name in (SMDP_ADDRESS, "localhost") if name in stated and name not in order]
    chosen = [name for name in stated if name not in usual]
    chosen.sort(key=lambda name: name not in order)
    names = list(dict.fromkeys((*addresses, *chosen, *usual, *numbers)))
    if not names or not all(name.strip() for name in names):
        raise ConfigError("the server has no name", expected="a DNS name in the TLS certificate, or --address NAME")
    return names


def eid_of(text: str) -> bytes:
    """Return an EID of 32 digits as 16 bytes. Raises ConfigError."""
    if not re.fullmatch(r"[0-9]{32}", text):
        raise ConfigError("not an EID", where="--eid", expected="32 digits", found=f"{len(text)} characters")
    return bytes.fromhex(text)


def announce(started: Started, wants_json: bool) -> None:
    """Say that the server listens, and how to reach it."""
    note(f"SM-DP+ at {started.url}")
    note(f"TLS root: {started.ca}")
    for code in started.activation_codes:
        note(f"activation code: {code}")
    if not started.activation_codes:
        note("no profile released: give --package FILE or --profile NAME")
    note("stop with Ctrl-C")
    if wants_json:
        print_json({"url": started.url, "ca": started.ca, "activation_codes": list(started.activation_codes)})
        sys.stdout.flush()
