"""BPP security (SGP.22 2.5.3 and Annex G; SCP03t in its first editions): AES-128-CBC and an AES-CMAC chain over TLVs.

One :class:`Bsp` is one direction of one secure channel: the sender protects, the receiver unprotects, each in order.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from esim_bench.codec import tlv
from esim_bench.crypto.agreement import x963_kdf
from esim_bench.errors import CodecError, CryptoError

KEY_TYPE_AES: Final = 0x88
KEY_LENGTH: Final = 16
MAC_LENGTH: Final = 8
BLOCK: Final = 16

TAG_PROFILE_ELEMENTS: Final = 0x86
TAG_COMMAND: Final = 0x87
TAG_METADATA: Final = 0x88
ENCRYPTED_TAGS: Final = frozenset((TAG_PROFILE_ELEMENTS, TAG_COMMAND))
MAC_ONLY_TAGS: Final = frozenset((TAG_METADATA,))

MAX_SEGMENT: Final = 1020
"""Bytes of the largest protected TLV that a sender may make: four APDUs of 255. Receivers take larger ones."""
MAX_PLAIN_ENCRYPTED: Final = 1007
"""Plaintext bytes of a full 86 or 87: with one byte of padding 63 blocks, a header of 4 and a MAC of 8 bytes."""
MAX_PLAIN_MAC_ONLY: Final = 1008
"""Plaintext bytes of a full 88."""


class BspSecurityError(CryptoError):
    """A MAC that does not hold (ProfileInstallationResult reason 8)."""


class BspStructureError(CodecError):
    """A segment that is not a protected TLV, or whose padding is wrong (ProfileInstallationResult reason 7)."""


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """Initial MAC chaining value, S-ENC and S-MAC, 16 bytes each; in the order in which the KDF gives them."""

    mcv: bytes = field(repr=False)
    enc: bytes = field(repr=False)
    mac: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("mcv", "enc", "mac"):
            length = len(getattr(self, name))
            if length != KEY_LENGTH:
                raise CodecError(f"wrong length of session key {name}", expected=f"{KEY_LENGTH} bytes", found=length)


def session_keys(
    secret: bytes, host_id: bytes, eid: bytes, key_type: int = KEY_TYPE_AES, key_length: int = KEY_LENGTH
) -> SessionKeys:
    """Derive the session keys (SGP.22 Annex G).

    ``secret``: ShS, 32 bytes. ``host_id``: 1 to 16 bytes of the CRT. ``eid``: 16 bytes as in tag 5A.
    Raises CryptoError for a key type or length that is not AES-128, CodecError for ill-sized identifiers.
    """
    if key_type != KEY_TYPE_AES or key_length != KEY_LENGTH:
        raise CryptoError("unsupported key", expected="type 88, length 10 (hex)", found=f"{key_type:X}, {key_length:X}")
    if not 1 <= len(host_id) <= 16:
        raise CodecError("wrong length of the host id", expected="1 to 16 bytes", found=len(host_id))
    if len(eid) != 16:
        raise CodecError("wrong length of the EID", expected="16 bytes", found=len(eid))
    shared_info = bytes((key_type, key_length, len(host_id))) + host_id + bytes((len(eid),)) + eid
    out = x963_kdf(secret, shared_info, 3 * KEY_LENGTH)
    return SessionKeys(out[:16], out[16:32], out[32:48])


class Bsp:
    """The state of one direction: MAC chaining value and block counter.

    A failed call changes nothing; whoever owns the channel ends it then, as the standard demands.
    """

    def __init__(self, keys: SessionKeys) -> None:
        self.replace_keys(keys)

    def replace_keys(self, keys: SessionKeys) -> None:
        """Go on under other keys (ReplaceSessionKeys, SGP.22 5.5.4): the counter starts again."""
        # Making these objects costs as much as their work on a whole segment: they live as long as the keys.
        aes = algorithms.AES(keys.enc)
        self._encrypt = Cipher(aes, modes.CBC(bytes(BLOCK))).encryptor().update
        self._decrypt = Cipher(aes, modes.CBC(bytes(BLOCK))).decryptor().update
        self._block = Cipher(aes, modes.ECB()).encryptor().update
        self._last = bytes(BLOCK)
        self._cmac = CMAC(algorithms.AES(keys.mac))
        self._mcv = keys.mcv
        self._counter = 0

    @property
    def counter(self) -> int:
        """Return the number of segments so far under these keys."""
        return self._counter

    def protect(self, tag: int, plain: bytes) -> bytes:
        """Protect one plaintext: encrypt and MAC (86, 87) or MAC only (88). Returns the TLV."""
        _check_tag(tag, where=None)
        counter = self._counter + 1
        if tag in ENCRYPTED_TAGS:
            padded = plain + b"\x80" + bytes(-(len(plain) + 1) % BLOCK)
            # The ICV is AES(counter). An encryptor that goes on from its last block gives it for (last ^ counter).
            first = int.from_bytes(self._last, "big") ^ counter
            body = self._encrypt(first.to_bytes(BLOCK, "big") + padded)[BLOCK:]
            self._last = body[-BLOCK:]
        else:
            body = plain
        header = bytes((tag,)) + tlv.length_bytes(len(body) + MAC_LENGTH)
        mcv = self._chain(header, body)
        self._counter, self._mcv = counter, mcv
        return header + body + mcv[:MAC_LENGTH]

    def unprotect(self, data: bytes) -> bytes:
        """Verify the MAC of one received TLV, then decrypt it (86, 87). Returns the plaintext.

        Raises BspSecurityError for a MAC that does not hold, BspStructureError for anything that is not such a TLV.
        """
        place = f"segment {self._counter + 1}"
        try:
            segment = tlv.parse(data)
        except CodecError as exc:
            raise BspStructureError(exc.what, expected=exc.expected, found=exc.found, where=place) from exc
        _check_tag(segment.tag, place)
        body, mac = segment.value[:-MAC_LENGTH], segment.value[-MAC_LENGTH:]
        encrypted = segment.tag in ENCRYPTED_TAGS
        if len(mac) < MAC_LENGTH or (encrypted and (not body or len(body) % BLOCK)):
            raise BspStructureError(
                "wrong length of a protected TLV",
                where=place,
                expected=f"{'a multiple of 16' if encrypted else '0'} or more bytes and a MAC of {MAC_LENGTH}",
                found=f"{len(segment.value)} bytes",
            )
        mcv = self._chain(data[: segment.header_length], body)
        if not hmac.compare_digest(mcv[:MAC_LENGTH], mac):
            raise BspSecurityError(
                "the MAC does not hold", where=place, expected=mcv[:MAC_LENGTH].hex(), found=mac.hex()
            )
        plain = self._decrypted(body, place) if encrypted else body
        self._counter += 1
        self._mcv = mcv
        return plain

    def _chain(self, header: bytes, body: bytes) -> bytes:
        cmac = self._cmac.copy()
        cmac.update(self._mcv + header + body)
        return cmac.finalize()

    def _decrypted(self, body: bytes, place: str) -> bytes:
        icv = self._block((self._counter + 1).to_bytes(BLOCK, "big"))
        # A decryptor that goes on needs the ICV as the block before: its own plaintext is thrown away.
        padded = self._decrypt(icv + body)[BLOCK:]
        plain = padded.rstrip(b"\x00")
        if not plain.endswith(b"\x80") or len(padded) - len(plain) >= BLOCK:
            raise BspStructureError("wrong padding", where=place, expected="80 and up to 15 bytes 00")
        return plain[:-1]


def _check_tag(tag: int, where: str | None) -> None:
    if tag not in ENCRYPTED_TAGS and tag not in MAC_ONLY_TAGS:
        raise BspStructureError("not a protected TLV", where=where, expected="tag 86, 87 or 88", found=f"{tag:X}")


def split_plain(data: bytes, size: int = MAX_PLAIN_ENCRYPTED) -> list[bytes]:
    """Cut a byte stream into plaintexts of ``size`` bytes, the last one shorter."""
    return [data[start : start + size] for start in range(0, len(data), size)]
