"""The algorithm of test USIMs: authentication by XOR (3GPP TS 34.108 8.1.2). It protects nothing.

K, RAND, CK and IK are 16 bytes, SQN and AK 6, AMF 2, MAC 8, RES 4 to 16.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from esim_bench.errors import CodecError

AMF_RESYNCH: Final = b"\xff\xff"
"""The AMF with which a network makes a test USIM answer with a resynchronisation (TS 34.108 8.1.2.2)."""


@dataclass(frozen=True, slots=True)
class UsimTestAlgorithm:
    """The functions with one key. Raises CodecError when a part has the wrong size."""

    key: bytes = field(repr=False)
    res_length: int = 16

    def __post_init__(self) -> None:
        """Refuse what the functions are not defined for."""
        if len(self.key) != 16:
            raise CodecError("wrong length of K", expected="16 bytes", found=len(self.key))
        if not 4 <= self.res_length <= 16:
            raise CodecError("wrong length of RES", expected="4 to 16 bytes", found=self.res_length)

    def _xdout(self, rand: bytes) -> bytes:
        if len(rand) != 16:
            raise CodecError("wrong length of RAND", expected="16 bytes", found=len(rand))
        return bytes(k ^ r for k, r in zip(self.key, rand, strict=True))

    def f1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Return MAC: XDOUT xor CDOUT, which is SQN and AMF."""
        if len(sqn) != 6 or len(amf) != 2:
            raise CodecError("wrong length of SQN or AMF", expected="6 and 2 bytes", found=f"{len(sqn)} and {len(amf)}")
        return bytes(x ^ c for x, c in zip(self._xdout(rand)[:8], sqn + amf, strict=True))

    def f1_star(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Return MAC-S; the function is f1."""
        return self.f1(rand, sqn, amf)

    def f2(self, rand: bytes) -> bytes:
        """Return RES: the beginning of XDOUT."""
        return self._xdout(rand)[: self.res_length]

    def f3(self, rand: bytes) -> bytes:
        """Return CK: XDOUT from bit 8 on, cyclically."""
        xdout = self._xdout(rand)
        return xdout[1:] + xdout[:1]

    def f4(self, rand: bytes) -> bytes:
        """Return IK: XDOUT from bit 16 on, cyclically."""
        xdout = self._xdout(rand)
        return xdout[2:] + xdout[:2]

    def f5(self, rand: bytes) -> bytes:
        """Return AK: bits 24 to 71 of XDOUT."""
        return self._xdout(rand)[3:9]

    def f5_star(self, rand: bytes) -> bytes:
        """Return AK of the resynchronisation; the function is f5."""
        return self.f5(rand)
