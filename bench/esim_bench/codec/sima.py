"""What a eUICC says of the profile elements that it installed or refused: EUICCResponse (TCA profile package, 8.11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from esim_bench.codec import tlv
from esim_bench.errors import CodecError

PE_STATUS: Final[Mapping[int, str]] = {
    0: "ok",
    1: "pe-not-supported",
    2: "memory-failure",
    3: "bad-values",
    4: "not-enough-memory",
    5: "invalid-request-format",
    6: "invalid-parameter",
    7: "runtime-not-supported",
    8: "lib-not-supported",
    9: "template-not-supported",
    10: "feature-not-supported",
    11: "pin-code-missing",
    31: "unsupported-profile-version",
}
"""PEStatus.status. 6xxx and 9xxx are status words, from A000 on they are the maker's own."""

_LONGEST_INTEGER = 8


@dataclass(frozen=True, slots=True)
class PeStatus:
    """One PEStatus."""

    code: int
    identification: int | None = None
    """Of the profile element; None where the eUICC could not tell."""
    info: int | None = None
    offset: int | None = None
    """Position of what is at fault, bytes from the element's tag."""

    @property
    def name(self) -> str:
        """Return the status as text, e.g. "bad-values"."""
        return PE_STATUS.get(self.code, f"status {self.code:04X}")

    def __str__(self) -> str:
        """Say it for people: "bad-values at element 8, byte 12"."""
        where = f" at element {self.identification}" if self.identification is not None else ""
        return self.name + where + (f", byte {self.offset}" if self.offset is not None else "")


def pe_statuses(sima_response: bytes) -> list[PeStatus]:
    """Read a simaResponse: one or more EUICCResponses, the statuses in their order. Raises CodecError."""
    found: list[PeStatus] = []
    for response in tlv.iterate(sima_response, "of simaResponse"):
        if response.tag != 0x30:
            raise CodecError("malformed EUICCResponse", expected="30", found=f"{response.tag:X}")
        for entry in response.get(0xA0).children():
            values = {member.tag: _integer(member) for member in entry.children() if 0x80 <= member.tag <= 0x83}
            if 0x80 not in values:
                raise CodecError("malformed PEStatus", expected="a status", found=entry.raw.hex().upper())
            found.append(PeStatus(values[0x80], values.get(0x81), values.get(0x82), values.get(0x83)))
    return found


def _integer(member: tlv.Tlv) -> int:
    if not 1 <= len(member.value) <= _LONGEST_INTEGER:
        raise CodecError("INTEGER of a PEStatus", expected=f"1 to {_LONGEST_INTEGER} bytes", found=len(member.value))
    return int.from_bytes(member.value, "big", signed=True)
