"""What a slot's requests meet on their way to a server: proxies, time limits, TLS; and why a way was refused."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

import httpx

from esim_bench.errors import ConfigError, TransportError

ENVIRONMENT: Final = "environment"
NONE: Final = "none"
CONNECT_TIMEOUT: Final = 10.0
RETRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Network:
    """How servers outside this process are reached: the ``[network]`` table of the rack file."""

    proxy: str = ENVIRONMENT
    """"environment" (HTTPS_PROXY, ALL_PROXY, NO_PROXY in either case), "none", or the URL of a proxy."""
    connect_timeout: float = CONNECT_TIMEOUT
    """Seconds for one connection."""
    timeout: float | None = None
    """Seconds for one function with all its repetitions; None: as the function asks for."""
    retries: int = RETRIES
    """Repetitions, where they are safe."""
    binding: Literal["json", "asn1"] = "json"
    """How ES9+ is spoken (SGP.22 6.5, 6.6)."""

    def proxy_of(self, parts: SplitResult) -> str | None:
        """Return the URL of the proxy for a server, None for the straight way. Raises ConfigError."""
        if self.proxy == NONE:
            return None
        if self.proxy != ENVIRONMENT:
            return _proxy_url(self.proxy, "[network] proxy")
        proxies = getproxies_environment()
        if _is_bypassed(parts, proxies.get("no", "")):
            return None
        for kind in ("https", "all"):
            if proxies.get(kind):
                return _proxy_url(proxies[kind], f"{kind.upper()}_PROXY")
        return None


DEFAULT_NETWORK: Final = Network()


def _proxy_url(text: str, where: str) -> str:
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("not the URL of a proxy", where=where, expected="http://HOST:PORT", found=shown_url(text))
    return url


def _is_bypassed(parts: SplitResult, names: str) -> bool:
    """Tell whether NO_PROXY names a server: ``*``, a host, or a domain with all below it; with a port or without."""
    host = (parts.hostname or "").lower()
    own = (host, f"{host}:{parts.port or 443}")
    for name in (name.strip().lower().lstrip(".") for name in names.split(",")):
        if name == "*" or (name and any(one == name or one.endswith(f".{name}") for one in own)):
            return True
    return False


def shown_url(url: str) -> str:
    """Return a URL for people: no user, no password."""
    head, scheme, rest = url.partition("://") if "://" in url else ("", "", url)
    return f"{head}{scheme}{rest.rpartition('@')[2]}"


# -------------------------------------------------------------------------------------------------------------- TLS


def tls_context(roots: Path | None) -> ssl.SSLContext:
    """Return a client's TLS settings: by roots from a PEM file or a folder of PEM files, None: the public ones.

    Raises ConfigError when the roots cannot be read.
    """
    if roots is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        if roots.is_dir():
            context = _context_of_folder(roots)
        else:
            context = ssl.create_default_context(cafile=str(roots))
    except FileNotFoundError as exc:
        raise ConfigError("no such file of TLS roots", where=str(roots), hint="a PEM file, see --tls-roots") from exc
    except (ssl.SSLError, OSError) as exc:
        raise ConfigError("cannot read the TLS roots", where=str(roots), expected="certificates in PEM") from exc
    # Newer Pythons are stricter than any device in the field (and than the SGP.26 certificates).
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _context_of_folder(folder: Path) -> ssl.SSLContext:
    """Take hashed files as OpenSSL does, and all *.pem and *.crt of the folder besides."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".pem", ".crt") and path.is_file())
    # With a place of its own the context takes no public roots.
    context = ssl.create_default_context(capath=str(folder))
    for path in files:
        try:
            context.load_verify_locations(cafile=str(path))
        except ssl.SSLError as exc:
            raise ConfigError("cannot read a TLS root", where=str(path), expected="certificates in PEM") from exc
    if not files and not any(folder.glob("????????.[0-9]")):
        raise ConfigError("no TLS roots in the folder", where=str(folder), expected="files *.pem or *.crt")
    return context


_EXPIRED: Final = 10
_NOT_YET: Final = 9
_SELF_SIGNED: Final = 18
_SELF_SIGNED_IN_CHAIN: Final = 19
_ISSUER_UNKNOWN: Final = (2, 20, 21)
_OTHER_HOST: Final = (62, 64)
_REASONS: Final = {
    _EXPIRED: ("it has expired", "renew the server's certificate, or look at this machine's clock"),
    _NOT_YET: ("it is not valid yet", "look at this machine's clock"),
    _SELF_SIGNED: ("it is self-signed", "if it is the right one, name it itself with --tls-roots"),
    _SELF_SIGNED_IN_CHAIN: ("its chain ends in a root that is not trusted", "name that root with --tls-roots"),
    **dict.fromkeys(_ISSUER_UNKNOWN, ("its issuer is unknown", "name the server's root with --tls-roots")),
    **dict.fromkeys(_OTHER_HOST, ("it is for another host", "use the name that the certificate is for")),
}
"""X509_V_ERR_* of OpenSSL -> what is wrong with the certificate, and what to try."""


def no_way(where: str, exc: BaseException, roots: Path | None, *, pinned: bool = False) -> TransportError:
    """Say why a server could not be spoken to: certificate, TLS, name, proxy, connection or HTTP.

    ``pinned``: it was a pinned key or certificate that the server's was checked by, not roots.
    """
    causes = list(_causes(exc))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint: str | None
            what, hint = _REASONS.get(cause.verify_code, (cause.verify_message, "see --tls-roots"))
            if pinned:
                hint = "it was checked by the eIM's trustedPublicKeyDataTls"
            elif roots is not None and hint and "--tls-roots" in hint:
                hint = f"{hint}; it was checked by {roots}"
            return TransportError(f"the server's certificate was refused: {what}", where=where, hint=hint)
    for cause in causes:
        if isinstance(cause, ssl.SSLEOFError):
            return TransportError("the server closed the connection while TLS was agreed", where=where)
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or str(cause)).replace("_", " ").lower()
            hint = "does it speak TLS at this port?" if "version" in reason or "record" in reason else None
            return TransportError(f"TLS could not be agreed: {reason}", where=where, hint=hint)
        if isinstance(cause, socket.gaierror):
            return TransportError(f"no such host: {cause.strerror}", where=where, hint="is the name right?")
    text = str(exc) or type(exc).__name__
    match exc:
        case httpx.ProxyError():
            return TransportError(f"the proxy refused: {text}", where=where, hint="see HTTPS_PROXY and NO_PROXY")
        case httpx.RemoteProtocolError() if "without sending" in text and "complete" not in text:
            return TransportError("the server closed the connection without an answer", where=where)
        case httpx.RemoteProtocolError() if "complete" in text:
            return TransportError(f"the answer was cut short: {text}", where=where)
        case httpx.RemoteProtocolError() | httpx.DecodingError():
            return TransportError(f"what the server sent is not HTTP: {text}", where=where)
        case httpx.ReadError() | httpx.WriteError():
            return TransportError("the connection broke before the answer was there", where=where)
    return TransportError(f"no way to the server: {text}", where=where, hint="is it running, is the name right?")


def final(exc: BaseException) -> bool:
    """Tell whether a failed connection would fail again: a certificate, TLS, a name, a proxy's refusal."""
    return isinstance(exc, httpx.ProxyError | httpx.UnsupportedProtocol) or any(
        (isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError))
        or (isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN)
        for cause in _causes(exc)
    )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = exc
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
