"""What the commands of ``esim-bench serve`` share: listening, TLS files, the log."""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from esim_bench.errors import ConfigError
from esim_bench.servers.pki.model import TlsKeyPair


def tls_pair(certificate: Path | None, key: Path | None) -> TlsKeyPair:
    """Read the server's TLS certificate (its chain after it) and private key, both PEM. Raises ConfigError."""
    if certificate is None or key is None:
        raise ConfigError("a TLS certificate needs its key", expected="--tls-cert and --tls-key together")
    path = certificate
    try:
        chain = [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(path.read_bytes())]
        path = key
        loaded = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as exc:
        raise ConfigError(f"cannot read the file: {exc.strerror}", where=str(path)) from exc
    except (TypeError, ValueError, UnsupportedAlgorithm) as exc:
        what = "a certificate" if path is certificate else "a private key without a password"
        raise ConfigError("cannot be used for TLS", where=str(path), expected=f"{what} in PEM") from exc
    return TlsKeyPair(loaded, chain[0], tuple(chain[1:]))


def is_loopback(host: str) -> bool:
    """Tell whether a listening address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_root_of(pki: Path) -> Path:
    """Return the file of the TLS root in a PKI folder, for ``curl --cacert``."""
    return next(iter(sorted(pki.glob("tls-root.*"))), pki / "tls-root.pem").resolve()


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket. Raises ConfigError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as exc:
        reason = exc.strerror or exc
        hint = "choose another --port, or 0 for any free one"
        raise ConfigError(f"cannot listen: {reason}", where=f"{host}:{port}", hint=hint) from exc


def log_to_stderr() -> None:
    """Show one line per function on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("esim_bench.servers")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
