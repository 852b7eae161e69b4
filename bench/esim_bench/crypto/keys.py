"""Elliptic curve keys on the two curves of RSP (SGP.22 2.6.7.1): NIST P-256 and brainpoolP256r1."""

from __future__ import annotations

import enum
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import CodecError, CryptoError

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey

POINT_LENGTH: Final = 65
"""Bytes of an uncompressed point: 04, X, Y."""
SCALAR_LENGTH: Final = 32
"""Bytes of a private scalar, of a coordinate, and of each half of a signature."""

# 64 bits more than the order: the bias of the reduction is then below 2^-64 (FIPS 186-5 A.2.1).
_SCALAR_DRAW: Final = SCALAR_LENGTH + 8

# A block ends at the next dashes, whatever they are: looking on for its own end would take forever on many beginnings.
_PEM_BLOCK = re.compile(
    rb"-----BEGIN (?P<label>[A-Z0-9 ]+)-----\s(?:(?!-----).)*-----END (?P=label)-----[ \t]*\r?\n?", re.DOTALL
)


class Curve(enum.Enum):
    """A curve that RSP allows; the value is its name on the command line."""

    P256 = "p256"
    BRAINPOOL = "brainpool"

    @property
    def implementation(self) -> ec.EllipticCurve:
        """Return the curve as ``cryptography`` knows it."""
        return _IMPLEMENTATIONS[self]

    @property
    def order(self) -> int:
        """Return the order of the base point."""
        return _ORDERS[self]


_IMPLEMENTATIONS: Final[dict[Curve, ec.EllipticCurve]] = {
    Curve.P256: ec.SECP256R1(),
    Curve.BRAINPOOL: ec.BrainpoolP256R1(),
}
_ORDERS: Final = {
    Curve.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Curve.BRAINPOOL: 0xA9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7,
}
_BY_NAME: Final = {implementation.name: curve for curve, implementation in _IMPLEMENTATIONS.items()}


def generate(curve: Curve, randomness: Randomness) -> PrivateKey:
    """Make a key pair; from seeded randomness always the same one."""
    scalar = int.from_bytes(randomness.bytes(_SCALAR_DRAW), "big") % (curve.order - 1) + 1
    return ec.derive_private_key(scalar, curve.implementation)


def curve_of(key: PrivateKey | PublicKey) -> Curve:
    """Return the curve of a key. Raises CryptoError for a curve that RSP does not use."""
    curve = _BY_NAME.get(key.curve.name)
    if curve is None:
        raise CryptoError("unsupported curve", expected=" or ".join(_BY_NAME), found=key.curve.name)
    return curve


def point(key: PublicKey | PrivateKey) -> bytes:
    """Return the public point as in tag 5F49: 04, X, Y, 65 bytes."""
    public = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def from_point(curve: Curve, data: bytes) -> PublicKey:
    """Read an uncompressed point of 65 bytes. Raises CodecError, also when it is not on the curve."""
    if len(data) != POINT_LENGTH or data[0] != 0x04:
        raise CodecError(
            "not an uncompressed point",
            expected=f"{POINT_LENGTH} bytes that start with 04",
            found=f"{len(data)} bytes" + (f" that start with {data[0]:02X}" if data else ""),
        )
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve.implementation, bytes(data))
    except ValueError as exc:
        raise CodecError("not a point of the curve", expected=f"a point of {curve.implementation.name}") from exc


def private_to_pem(key: PrivateKey) -> bytes:
    """Return a private key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_to_pem(key: PublicKey) -> bytes:
    """Return a public key as SubjectPublicKeyInfo PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_private(data: bytes, where: str | None = None) -> PrivateKey:
    """Read a private key: PEM or DER, PKCS #8 or SEC 1, unencrypted, also after an ``EC PARAMETERS`` block.

    ``where`` names the source in errors. Raises CodecError; CryptoError for a key that is not on one of our curves.
    """
    key = load_any_private(data, where)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CryptoError("not an elliptic curve key", where=where, found=type(key).__name__)
    try:
        curve_of(key)
    except CryptoError as exc:
        raise CryptoError(exc.what, where=where, expected=exc.expected, found=exc.found) from exc
    return key


def load_any_private(data: bytes, where: str | None = None) -> PrivateKeyTypes:
    """Read a private key of any kind that TLS may use, in the same forms. Raises CodecError."""
    pem = [match for match in _PEM_BLOCK.finditer(data) if match["label"].endswith(b"PRIVATE KEY")]
    try:
        if pem:
            return serialization.load_pem_private_key(pem[0][0], None)
        return serialization.load_der_private_key(data, None)
    except TypeError as exc:
        hint = "remove the passphrase: openssl pkey -in KEY -out PLAIN"
        raise CodecError("the private key is encrypted", where=where, hint=hint) from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise CodecError(
            "not a private key",
            where=where,
            expected="PEM or DER, PKCS #8 or SEC 1, a named curve",
            found=f"{len(data)} bytes" + (" with a damaged PEM block" if b"-----BEGIN" in data else ""),
        ) from exc
