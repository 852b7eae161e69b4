"""The answer to reset (ISO 7816-3 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor

from esim_bench.errors import CodecError


@dataclass(frozen=True, slots=True)
class Atr:
    """A parsed ATR: offered protocols in order (0, 1; 15 is global information), historical bytes."""

    raw: bytes
    protocols: tuple[int, ...]
    historical: bytes

    @property
    def default_protocol(self) -> int:
        """Return the first offered protocol."""
        return self.protocols[0]

    @classmethod
    def parse(cls, raw: bytes) -> Atr:
        """Parse an ATR. Raises CodecError: truncated, wrong TS, wrong TCK."""
        if len(raw) < 2:
            raise CodecError("truncated ATR", expected="at least 2 bytes", found=len(raw))
        if raw[0] not in (0x3B, 0x3F):
            raise CodecError("not an ATR", expected="TS 3B or 3F", found=f"{raw[0]:02X}")
        count, presence, offset = raw[1] & 0x0F, raw[1] >> 4, 2
        protocols: list[int] = []
        while presence:
            offset += (presence & 1) + (presence >> 1 & 1) + (presence >> 2 & 1)
            if not presence & 8:
                break
            if offset >= len(raw):
                raise CodecError("truncated ATR", expected="interface bytes", found=raw.hex().upper())
            protocol = raw[offset] & 0x0F
            if protocol not in protocols:
                protocols.append(protocol)
            presence = raw[offset] >> 4
            offset += 1
        check = any(protocol != 0 for protocol in protocols)
        if len(raw) != offset + count + check:
            raise CodecError("ATR of a wrong length", expected=f"{offset + count + check} bytes", found=len(raw))
        if check and reduce(xor, raw[1:]) != 0:
            raise CodecError(
                "wrong check byte in the ATR", expected="TCK that makes the XOR 0", found=raw.hex().upper()
            )
        real = tuple(protocol for protocol in protocols if protocol != 15)
        return cls(bytes(raw), real or (0,), bytes(raw[offset : offset + count]))


def build_atr(protocols: Sequence[int], historical: bytes) -> bytes:
    """Return an ATR (direct convention, TA1 96) that offers protocols (0, 1) in order; up to 15 historical bytes.

    Raises CodecError.
    """
    if len(historical) > 15:
        raise CodecError("too many historical bytes", expected="at most 15", found=len(historical))
    body = bytearray((len(historical),))
    body[0] |= 0x90  # TA1 and TD1
    body.append(0x96)
    for index, protocol in enumerate(protocols):
        more = index + 1 < len(protocols)
        body.append((0x80 if more else 0x00) | protocol)
    body += historical
    if any(protocol != 0 for protocol in protocols):
        body.append(reduce(xor, body))
    return bytes((0x3B,)) + bytes(body)
