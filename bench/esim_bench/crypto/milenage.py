"""Milenage, the example set of 3G authentication functions f1 to f5* (3GPP TS 35.206), over AES-128.

All functions are pure. Keys, OPc, RAND and the cipher's results are 16 bytes; SQN and AK 6; AMF 2; MAC-A, MAC-S, RES 8.
An operator may replace the rotations r1 to r5 and the constants c1 to c5 (TS 35.206 chapter 5.3): profile packages
carry them as ``rotationConstants`` and ``xoringConstants``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from esim_bench.errors import CodecError

BLOCK = 16
"""Bytes of K, OP, OPc, RAND, CK, IK and one constant."""

ROTATIONS = bytes.fromhex("4000204060")
"""r1 to r5 in bits (TS 35.206 4.1)."""

CONSTANTS = b"".join(number.to_bytes(BLOCK, "big") for number in (0, 1, 2, 4, 8))
"""c1 to c5, 16 bytes each (TS 35.206 4.1)."""


@dataclass(frozen=True, slots=True)
class Milenage:
    """The functions of one subscription. Raises CodecError when a part has the wrong size."""

    key: bytes = field(repr=False)
    opc: bytes = field(repr=False)
    rotations: bytes = ROTATIONS
    constants: bytes = CONSTANTS
    res_length: int = 8
    """Bytes of RES, 4 to 8: f2 may be cut (TS 33.102 6.3.7)."""

    def __post_init__(self) -> None:
        """Refuse what the functions are not defined for."""
        for name, part, size in (
            ("K", self.key, BLOCK),
            ("OPc", self.opc, BLOCK),
            ("rotation constants r1 to r5", self.rotations, 5),
            ("xoring constants c1 to c5", self.constants, 5 * BLOCK),
        ):
            if len(part) != size:
                raise CodecError(f"wrong length of Milenage {name}", expected=f"{size} bytes", found=len(part))
        if not 4 <= self.res_length <= 8:
            raise CodecError("wrong length of RES", expected="4 to 8 bytes", found=self.res_length)

    # ------------------------------------------------------------------------------------------------- functions

    def f1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Return MAC-A, the network authentication code."""
        return self._out1(rand, sqn, amf)[:8]

    def f1_star(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Return MAC-S, the resynchronisation authentication code."""
        return self._out1(rand, sqn, amf)[8:]

    def f2(self, rand: bytes) -> bytes:
        """Return RES, the response."""
        return self._out(rand, 2)[8 : 8 + self.res_length]

    def f3(self, rand: bytes) -> bytes:
        """Return CK, the cipher key."""
        return self._out(rand, 3)

    def f4(self, rand: bytes) -> bytes:
        """Return IK, the integrity key."""
        return self._out(rand, 4)

    def f5(self, rand: bytes) -> bytes:
        """Return AK, the anonymity key."""
        return self._out(rand, 2)[:6]

    def f5_star(self, rand: bytes) -> bytes:
        """Return AK of the resynchronisation."""
        return self._out(rand, 5)[:6]

    # ------------------------------------------------------------------------------------------------- inside

    def _temp(self, rand: bytes) -> bytes:
        if len(rand) != BLOCK:
            raise CodecError("wrong length of RAND", expected="16 bytes", found=len(rand))
        return _encrypt(self.key, _xor(rand, self.opc))

    def _out1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        in1 = (sqn + amf) * 2
        if len(sqn) != 6 or len(amf) != 2:
            raise CodecError("wrong length of SQN or AMF", expected="6 and 2 bytes", found=f"{len(sqn)} and {len(amf)}")
        turned = _rotate(_xor(in1, self.opc), self.rotations[0])
        mixed = _xor(_xor(self._temp(rand), turned), self.constants[:BLOCK])
        return _xor(_encrypt(self.key, mixed), self.opc)

    def _out(self, rand: bytes, number: int) -> bytes:
        turned = _rotate(_xor(self._temp(rand), self.opc), self.rotations[number - 1])
        mixed = _xor(turned, self.constants[(number - 1) * BLOCK : number * BLOCK])
        return _xor(_encrypt(self.key, mixed), self.opc)


def derive_opc(key: bytes, op: bytes) -> bytes:
    """Return OPc of a subscription from the operator's OP: OP xor E[OP]K (TS 35.206 4.1). Raises CodecError."""
    if len(key) != BLOCK or len(op) != BLOCK:
        raise CodecError("wrong length of K or OP", expected="16 bytes each", found=f"{len(key)} and {len(op)}")
    return _xor(op, _encrypt(key, op))


def _encrypt(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _rotate(block: bytes, bits: int) -> bytes:
    """Rotate cyclically towards the most significant bit."""
    bits %= 8 * BLOCK
    value = int.from_bytes(block, "big")
    mask = (1 << 8 * BLOCK) - 1
    return ((value << bits | value >> (8 * BLOCK - bits)) & mask).to_bytes(BLOCK, "big")
