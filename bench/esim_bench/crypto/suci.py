"""SUCI: the concealed identifier of a 5G subscription (3GPP TS 33.501 6.12 and annex C, TS 24.501 9.11.3.4).

The pure part: ECIES profiles A (X25519) and B (P-256), and how the identity is laid out.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from esim_bench.crypto.agreement import x963_kdf
from esim_bench.errors import CodecError, CryptoError

NULL_SCHEME, PROFILE_A, PROFILE_B = 0, 1, 2
PRIVATE_KEY: Final = 32
"""Bytes of an ephemeral private key of either profile."""
_MAC: Final = 8
_IMSI_SUCI: Final = 0x01
"""SUPI format IMSI, type of identity SUCI."""
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class HomeNetworkKey:
    """A home network public key: 32 bytes for profile A, 33 (compressed) or 65 for profile B."""

    identifier: int
    value: bytes


def conceal(scheme: int, plain: bytes, key: bytes, ephemeral: bytes) -> bytes:
    """Return the scheme output of profile A or B: ephemeral public key, cipher text, MAC (TS 33.501 C.3).

    ``ephemeral`` is 32 fresh random bytes. Raises CryptoError: not a key of the profile; CodecError: another profile.
    """
    try:
        if scheme == PROFILE_A:
            own_a = x25519.X25519PrivateKey.from_private_bytes(ephemeral)
            secret = own_a.exchange(x25519.X25519PublicKey.from_public_bytes(key))
            public = own_a.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        elif scheme == PROFILE_B:
            # Any 32 bytes make a private key of 1 to order - 1.
            number = int.from_bytes(ephemeral, "big") % (_P256_ORDER - 1) or 1
            own_b = ec.derive_private_key(number, ec.SECP256R1())
            secret = own_b.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key))
            public = own_b.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        else:
            raise CodecError("unknown protection scheme", expected="1 (profile A) or 2 (profile B)", found=scheme)
    except ValueError as exc:
        raise CryptoError("not a home network public key", expected=f"of scheme {scheme}", found=key.hex()) from exc
    keys = x963_kdf(secret, public, 64)
    encryptor = Cipher(algorithms.AES(keys[:16]), modes.CTR(keys[16:32])).encryptor()
    cipher = encryptor.update(plain) + encryptor.finalize()
    return public + cipher + hmac.digest(keys[32:], cipher, "sha256")[:_MAC]


def suci(imsi: str, mnc_length: int, routing_indicator: bytes, scheme: int, key_id: int, output: bytes) -> bytes:
    """Return the identity from octet 4 on: MCC, MNC, routing indicator (2 bytes BCD), scheme, key, scheme output."""
    mcc, mnc = imsi[:3], imsi[3 : 3 + mnc_length].ljust(3, "F")
    operator = bytes.fromhex(mcc[1] + mcc[0] + mnc[2] + mcc[2] + mnc[1] + mnc[0])
    return bytes((_IMSI_SUCI,)) + operator + routing_indicator + bytes((scheme, key_id)) + output


def msin_bcd(imsi: str, mnc_length: int) -> bytes:
    """Return the digits behind MCC and MNC, two in a byte, the first in the low half, filled with F."""
    msin = imsi[3 + mnc_length :]
    msin += "F" if len(msin) % 2 else ""
    return bytes.fromhex("".join(msin[at + 1] + msin[at] for at in range(0, len(msin), 2)))
