"""Key agreement of the profile download: ECKA-EG with the X9.63 KDF (SGP.22 2.6.7.3, Annex G)."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF

from esim_bench.errors import CryptoError


def shared_secret(private: ec.EllipticCurvePrivateKey, public: ec.EllipticCurvePublicKey) -> bytes:
    """Return ShS: the X coordinate of the common point, 32 bytes. Raises CryptoError for keys of two curves."""
    if private.curve.name != public.curve.name:
        raise CryptoError("keys of different curves", expected=private.curve.name, found=public.curve.name)
    try:
        return private.exchange(ec.ECDH(), public)
    except ValueError as exc:
        raise CryptoError("the key agreement failed", expected="a valid point of the curve") from exc


def x963_kdf(secret: bytes, shared_info: bytes, length: int) -> bytes:
    """Derive ``length`` bytes by ANSI X9.63 with SHA-256."""
    return X963KDF(hashes.SHA256(), length, shared_info).derive(secret)
