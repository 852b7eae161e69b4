"""RSP signatures: ECDSA with SHA-256, plain r || s of 64 bytes (BSI TR-03111 5.2.1; SGP.22 2.6.7.2, tag 5F37)."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from esim_bench.crypto.keys import SCALAR_LENGTH
from esim_bench.errors import CryptoError

SIGNATURE_LENGTH: Final = 2 * SCALAR_LENGTH

_SHA256 = hashes.SHA256()
_VERIFY = ec.ECDSA(_SHA256)


def sign(key: ec.EllipticCurvePrivateKey, data: bytes, *, deterministic: bool) -> bytes:
    """Sign the bytes of ``data`` (hashed here): r || s, 64 bytes. ``deterministic``: nonce by RFC 6979."""
    scheme = ec.ECDSA(_SHA256, deterministic_signing=deterministic)
    r, s = decode_dss_signature(key.sign(data, scheme))
    return r.to_bytes(SCALAR_LENGTH, "big") + s.to_bytes(SCALAR_LENGTH, "big")


def verify(public: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    """Verify r || s over the bytes of ``data``. Raises CryptoError when it does not hold or is not 64 bytes."""
    if len(signature) != SIGNATURE_LENGTH:
        raise CryptoError("wrong signature length", expected=f"{SIGNATURE_LENGTH} bytes", found=len(signature))
    r = int.from_bytes(signature[:SCALAR_LENGTH], "big")
    s = int.from_bytes(signature[SCALAR_LENGTH:], "big")
    verify_der(public, encode_dss_signature(r, s), data)


def verify_der(public: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    """Verify a signature in the form of X.509, a SEQUENCE of r and s. Raises CryptoError when it does not hold."""
    try:
        public.verify(signature, data, _VERIFY)
    except InvalidSignature as exc:
        raise CryptoError(f"the signature does not hold over {len(data)} bytes of data") from exc
