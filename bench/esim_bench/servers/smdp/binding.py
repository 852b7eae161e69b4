"""Profile protection and binding (SGP.22 2.5.3, 2.5.4): from a profile package to a bound one for one eUICC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.bpp import build
from esim_bench.crypto.agreement import shared_secret
from esim_bench.crypto.bsp import (
    KEY_LENGTH,
    KEY_TYPE_AES,
    MAX_PLAIN_ENCRYPTED,
    MAX_PLAIN_MAC_ONLY,
    TAG_COMMAND,
    TAG_METADATA,
    TAG_PROFILE_ELEMENTS,
    Bsp,
    SessionKeys,
    session_keys,
    split_plain,
)
from esim_bench.crypto.keys import PrivateKey, PublicKey, point

INSTALL_BOUND_PROFILE_PACKAGE: Final = 1
"""RemoteOpId (SGP.22 5.5.1)."""


@dataclass(frozen=True, slots=True)
class Protected:
    """A protected profile package (SGP.22 2.5.3): profile elements under random keys, the same for every eUICC."""

    keys: SessionKeys = field(repr=False)
    """Profile protection keys (PPK); they take over after the metadata (ReplaceSessionKeys)."""
    segments: bytes
    """The 86 TLVs, concatenated."""

    @classmethod
    def load(cls, data: bytes) -> Protected:
        """Read what ``dump`` wrote. Raises CodecError."""
        return cls(SessionKeys(data[:16], data[16:32], data[32:48]), data[48:])

    def dump(self) -> bytes:
        """Return keys and segments as one byte string."""
        return self.keys.mcv + self.keys.enc + self.keys.mac + self.segments


@dataclass(frozen=True, slots=True)
class Binding:
    """What a bound profile package is made of."""

    elements: bytes | Protected = field(repr=False)
    """The unprotected profile package (concatenated profile elements), or the package as it was protected before."""
    metadata: bytes
    """StoreMetadataRequest, BF25."""
    transaction_id: bytes
    host_id: bytes
    """1 to 16 bytes of the control reference template."""
    eid: bytes
    euicc_otpk: PublicKey
    smdp_otsk: PrivateKey = field(repr=False)


def bind(binding: Binding, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the BoundProfilePackage, BF36. ``sign``: r || s of SK.DPpb over the given bytes. Raises CryptoError."""
    secret = shared_secret(binding.smdp_otsk, binding.euicc_otpk)
    bsp = Bsp(session_keys(secret, binding.host_id, binding.eid))
    configure = [bsp.protect(TAG_COMMAND, configure_isdp())]
    metadata = [bsp.protect(TAG_METADATA, part) for part in split_plain(binding.metadata, MAX_PLAIN_MAC_ONLY)]
    initialise = initialise_secure_channel(binding, sign)
    if isinstance(binding.elements, Protected):
        replace_keys = [bsp.protect(TAG_COMMAND, replace_session_keys(binding.elements.keys))]
        return build(initialise, configure, metadata, [binding.elements.segments], replace_keys)
    return build(initialise, configure, metadata, protect(bsp, binding.elements))


def protect(bsp: Bsp, upp: bytes) -> list[bytes]:
    """Return profile elements as 86 TLVs of a secure channel."""
    return [bsp.protect(TAG_PROFILE_ELEMENTS, part) for part in split_plain(upp, MAX_PLAIN_ENCRYPTED)]


def protect_beforehand(upp: bytes, keys: SessionKeys) -> Protected:
    """Protect a profile package under random keys, before anybody knows for which eUICC (SGP.22 2.5.3)."""
    return Protected(keys, b"".join(protect(Bsp(keys), upp)))


def initialise_secure_channel(binding: Binding, sign: Callable[[bytes], bytes]) -> bytes:
    """Return ES8+.InitialiseSecureChannel, BF23 (SGP.22 5.5.1).

    The signature covers the members as they stand, without an outer tag, and the eUICC's one-time key after them, which
    is not sent back to it.
    """
    members = (
        tlv.encode(0x82, bytes((INSTALL_BOUND_PROFILE_PACKAGE,)))
        + tlv.encode(0x80, binding.transaction_id)
        + tlv.encode(
            0xA6,
            tlv.encode(0x80, bytes((KEY_TYPE_AES,))),
            tlv.encode(0x81, bytes((KEY_LENGTH,))),
            tlv.encode(0x84, binding.host_id),
        )
        + tlv.encode(0x5F49, point(binding.smdp_otsk))
    )
    signature = sign(members + tlv.encode(0x5F49, point(binding.euicc_otpk)))
    return tlv.encode(0xBF23, members, tlv.encode(0x5F37, signature))


def configure_isdp() -> bytes:
    """Return ES8+.ConfigureISDP, BF24 (SGP.22 5.5.2), without proprietary data."""
    return tlv.encode(0xBF24, b"")


def replace_session_keys(keys: SessionKeys) -> bytes:
    """Return ES8+.ReplaceSessionKeys, BF26 (SGP.22 5.5.4)."""
    return tlv.encode(0xBF26, tlv.encode(0x80, keys.mcv), tlv.encode(0x81, keys.enc), tlv.encode(0x82, keys.mac))
