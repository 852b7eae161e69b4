"""TUAK, the second example set of 3G authentication functions f1 to f5* (3GPP TS 35.231), over Keccak-f[1600].

All functions are pure. K is 16 or 32 bytes, TOPc 32, RAND 16, SQN and AK 6, AMF 2; MAC 8, 16 or 32, RES 4, 8, 16 or 32,
CK and IK 16 or 32. Every value stands in Keccak's state with its last byte first (TS 35.231 6.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from esim_bench.errors import CodecError

_NAME = b"TUAK1.0"
_STATE = 200
_LANE = (1 << 64) - 1
_RES, _CK, _IK, _AK = 0, 32, 64, 96
_LENGTHS = {4: 0x00, 8: 0x08, 16: 0x10, 32: 0x20}
"""Bits 2 to 4 of INSTANCE by the length of MAC or RES."""


@dataclass(frozen=True, slots=True)
class Tuak:
    """The functions of one subscription. Raises CodecError when a part has the wrong size."""

    key: bytes = field(repr=False)
    topc: bytes = field(repr=False)
    mac_length: int = 8
    res_length: int = 8
    ck_length: int = 16
    ik_length: int = 16
    iterations: int = 1
    """Rounds of Keccak-f[1600] (numberOfKeccak of a profile package), 1 to 255."""

    def __post_init__(self) -> None:
        """Refuse what the functions are not defined for."""
        for name, size, allowed in (
            ("K", len(self.key), (16, 32)),
            ("TOPc", len(self.topc), (32,)),
            ("MAC", self.mac_length, (8, 16, 32)),
            ("RES", self.res_length, (4, 8, 16, 32)),
            ("CK", self.ck_length, (16, 32)),
            ("IK", self.ik_length, (16, 32)),
        ):
            if size not in allowed:
                raise CodecError(f"wrong length of TUAK {name}", expected=f"{allowed} bytes", found=size)
        if not 1 <= self.iterations <= 255:
            raise CodecError("wrong number of Keccak iterations", expected="1 to 255", found=self.iterations)

    # ------------------------------------------------------------------------------------------------- functions

    def f1(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Return MAC-A, the network authentication code."""
        return _take(self._run(_LENGTHS[self.mac_length], rand, sqn, amf), 0, self.mac_length)

    def f1_star(self, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
        """Return MAC-S, the resynchronisation authentication code."""
        return _take(self._run(0x80 | _LENGTHS[self.mac_length], rand, sqn, amf), 0, self.mac_length)

    def f2(self, rand: bytes) -> bytes:
        """Return RES, the response."""
        return _take(self._run(self._instance, rand), _RES, self.res_length)

    def f3(self, rand: bytes) -> bytes:
        """Return CK, the cipher key."""
        return _take(self._run(self._instance, rand), _CK, self.ck_length)

    def f4(self, rand: bytes) -> bytes:
        """Return IK, the integrity key."""
        return _take(self._run(self._instance, rand), _IK, self.ik_length)

    def f5(self, rand: bytes) -> bytes:
        """Return AK, the anonymity key."""
        return _take(self._run(self._instance, rand), _AK, 6)

    def f5_star(self, rand: bytes) -> bytes:
        """Return AK of the resynchronisation."""
        return _take(self._run(0xC0, rand), _AK, 6)

    # ------------------------------------------------------------------------------------------------- inside

    @property
    def _instance(self) -> int:
        """INSTANCE of f2 to f5, which come out of one permutation."""
        lengths = (0x04 if self.ck_length == 32 else 0) | (0x02 if self.ik_length == 32 else 0)
        return 0x40 | _LENGTHS[self.res_length] | lengths

    def _run(self, instance: int, rand: bytes, sqn: bytes = bytes(6), amf: bytes = bytes(2)) -> bytes:
        if (len(rand), len(sqn), len(amf)) != (16, 6, 2):
            raise CodecError(
                "wrong length of RAND, SQN or AMF",
                expected="16, 6 and 2 bytes",
                found=f"{len(rand)}, {len(sqn)} and {len(amf)}",
            )
        return _permute(_state(self.topc, instance, self.key, rand, sqn, amf), self.iterations)


def derive_topc(key: bytes, top: bytes, iterations: int = 1) -> bytes:
    """Return TOPc of a subscription from the operator's TOP (TS 35.231 6.2). Raises CodecError."""
    if len(key) not in (16, 32) or len(top) != 32:
        raise CodecError("wrong length of K or TOP", expected="16 or 32, and 32 bytes", found=f"{len(key)}, {len(top)}")
    return _take(_permute(_state(top, 0, key, bytes(16), bytes(6), bytes(2)), iterations), 0, 32)


def _state(first: bytes, instance: int, key: bytes, rand: bytes, sqn: bytes, amf: bytes) -> bytes:
    """Lay out INOUT (TS 35.231 6.1): 96 bytes of values, the padding of Keccak up to 1088 bits, the capacity."""
    instance |= 0x01 if len(key) == 32 else 0
    parts = (first, bytes((instance,)), _NAME, rand, amf, sqn, key)
    filled = b"".join(part[::-1] for part in parts).ljust(96, b"\0")
    return (filled + b"\x1f").ljust(135, b"\0") + b"\x80" + bytes(_STATE - 136)


def _take(state: bytes, at: int, length: int) -> bytes:
    return state[at : at + length][::-1]


def _permute(state: bytes, iterations: int) -> bytes:
    lanes = [int.from_bytes(state[at : at + 8], "little") for at in range(0, _STATE, 8)]
    for _ in range(iterations):
        _keccak_f(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes)


def _keccak_f(a: list[int]) -> None:
    """Keccak-f[1600] in place (FIPS 202 3.3): lane (x, y) is ``a[x + 5 * y]``."""
    for constant in _ROUND_CONSTANTS:
        column = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        mixed = [column[(x - 1) % 5] ^ _left(column[(x + 1) % 5], 1) for x in range(5)]
        b = [0] * 25
        for index in range(25):
            b[_PI[index]] = _left(a[index] ^ mixed[index % 5], _RHO[index])
        for y in range(0, 25, 5):
            for x in range(5):
                a[y + x] = b[y + x] ^ (~b[y + (x + 1) % 5] & b[y + (x + 2) % 5])
        a[0] ^= constant


def _left(lane: int, bits: int) -> int:
    return (lane << bits | lane >> (64 - bits)) & _LANE if bits else lane


def _rho_and_pi() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return by lane how far it is rotated and where it goes (FIPS 202 3.2.2, 3.2.3)."""
    rho = [0] * 25
    x, y = 1, 0
    for step in range(24):
        rho[x + 5 * y] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    pi = [y + 5 * ((2 * x + 3 * y) % 5) for y in range(5) for x in range(5)]
    return tuple(rho), tuple(pi)


def _round_constants() -> tuple[int, ...]:
    """Return the constants of the 24 rounds, which a shift register gives (FIPS 202 3.2.5)."""
    constants, register = [], 1
    for _ in range(24):
        value = 0
        for j in range(7):
            if register & 1:
                value |= 1 << ((1 << j) - 1)
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        constants.append(value)
    return tuple(constants)


_RHO, _PI = _rho_and_pi()
_ROUND_CONSTANTS = _round_constants()
