"""The TLS side of served endpoints."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from esim_bench.errors import ConfigError
from esim_bench.servers.pki.model import Pki, TlsKeyPair


def tls_context(pki: Pki) -> ssl.SSLContext:
    """Return the SM-DP+'s TLS context. Raises ConfigError for a certificate that TLS does not take (brainpool)."""
    return _context(pki.smdp_tls, "smdp/tls")


def eim_tls_context(pki: Pki) -> ssl.SSLContext:
    """Return the eIM's TLS context. Raises ConfigError, also for a PKI without an eIM."""
    if pki.eim_tls is None:
        raise ConfigError("no TLS certificate of an eIM in this PKI", where="eim/tls", hint="pki init makes one")
    return _context(pki.eim_tls, "eim/tls")


def _context(pair: TlsKeyPair, where: str) -> ssl.SSLContext:
    chain = b"".join(ssl.DER_cert_to_PEM_cert(der).encode() for der in (pair.certificate, *pair.intermediates))
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The ssl module reads certificates from files only; the folder is ours alone and gone at once.
    with tempfile.TemporaryDirectory(prefix="esim-bench-") as folder:
        path = Path(folder, "tls.pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(chain + key)
        try:
            context.load_cert_chain(path)
        except ssl.SSLError as exc:
            raise ConfigError(
                f"the TLS certificate cannot be used: {exc.reason or exc}",
                where=where,
                expected="a P-256 or RSA one",
            ) from exc
    return context
