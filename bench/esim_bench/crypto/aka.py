"""Authentication and key agreement around the functions f1 to f5* (3GPP TS 33.102 6.3 and annex C): tokens and keys.

What a network makes and a USIM judges: AUTN, and what a USIM makes and a network judges: AUTS. All functions are pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from esim_bench.errors import CodecError, CryptoError

IND_BITS: Final = 5
"""Low bits of SQN that are the index into the array of accepted sequence numbers (TS 33.102 C.3.2), here 32 of them."""
AMF_STAR: Final = b"\0\0"
"""The dummy AMF of a resynchronisation (TS 33.102 6.3.3)."""


class AkaFunctions(Protocol):
    """Milenage, TUAK or the USIM test algorithm with the key of one subscription."""

    def f1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Return MAC-A."""

    def f1_star(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Return MAC-S."""

    def f2(self, rand: bytes) -> bytes:
        """Return RES."""

    def f3(self, rand: bytes) -> bytes:
        """Return CK."""

    def f4(self, rand: bytes) -> bytes:
        """Return IK."""

    def f5(self, rand: bytes) -> bytes:
        """Return AK."""

    def f5_star(self, rand: bytes) -> bytes:
        """Return AK of the resynchronisation."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One authentication vector (TS 33.102 6.3.2)."""

    rand: bytes
    autn: bytes
    xres: bytes = field(repr=False)
    ck: bytes = field(repr=False)
    ik: bytes = field(repr=False)


def authentication_vector(functions: AkaFunctions, rand: bytes, sqn: bytes, amf: bytes = b"\x80\x00") -> Vector:
    """Make the vector of a RAND (16 bytes) and SQN (6 bytes); an AMF of 8000 says E-UTRAN (TS 33.102 annex H)."""
    mac = functions.f1(rand, sqn, amf)
    autn = xor(sqn, functions.f5(rand)) + amf + mac
    return Vector(rand, autn, functions.f2(rand), functions.f3(rand), functions.f4(rand))


def open_autn(functions: AkaFunctions, rand: bytes, autn: bytes) -> tuple[bytes, bytes]:
    """Return SQN and AMF of a network's AUTN. Raises CryptoError: its MAC is not right; CodecError: its length."""
    if len(autn) < 16:
        raise CodecError("wrong length of AUTN", expected="16 bytes", found=len(autn))
    sqn, amf, mac = xor(autn[:6], functions.f5(rand)), autn[6:8], autn[8:]
    if functions.f1(rand, sqn, amf) != mac:
        raise CryptoError("the MAC of AUTN is not right", hint="another K or OPc, or another algorithm")
    return sqn, amf


def make_auts(functions: AkaFunctions, rand: bytes, sqn_ms: bytes) -> bytes:
    """Return AUTS: the USIM's own SQN concealed, and MAC-S (TS 33.102 6.3.3)."""
    return xor(sqn_ms, functions.f5_star(rand)) + functions.f1_star(rand, sqn_ms, AMF_STAR)


def open_auts(functions: AkaFunctions, rand: bytes, auts: bytes) -> bytes:
    """Return the SQN of a USIM's AUTS (TS 33.102 6.3.5). Raises CryptoError: its MAC-S is not right; CodecError."""
    if len(auts) < 14:
        raise CodecError("wrong length of AUTS", expected="14 bytes", found=len(auts))
    sqn_ms = xor(auts[:6], functions.f5_star(rand))
    if functions.f1_star(rand, sqn_ms, AMF_STAR) != auts[6:]:
        raise CryptoError("the MAC of AUTS is not right", hint="another K or OPc, or another RAND")
    return sqn_ms


def gsm_sres(res: bytes) -> bytes:
    """Return SRES of a RES by c2 (TS 33.102 6.8.1.2): the exclusive or of its 4-byte words, up to 16 bytes."""
    padded = res[:16].ljust(16, b"\0")
    value = 0
    for at in range(0, 16, 4):
        value ^= int.from_bytes(padded[at : at + 4], "big")
    return value.to_bytes(4, "big")


def gsm_kc(ck: bytes, ik: bytes) -> bytes:
    """Return Kc by c3 (TS 33.102 6.8.1.2): the exclusive or of the halves of CK and IK, 16 bytes each."""
    return xor(xor(ck[:8], ck[8:16]), xor(ik[:8], ik[8:16]))


def xor(left: bytes, right: bytes) -> bytes:
    """Return the exclusive or of two values of the same length. Raises CodecError."""
    if len(left) != len(right):
        raise CodecError("exclusive or of two lengths", expected=f"{len(left)} bytes", found=len(right))
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
