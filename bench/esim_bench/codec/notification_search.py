"""What is looked for among notifications and package results: one search criterion (SGP.32 5.9.11, 2.11.1.2)."""

from __future__ import annotations

from dataclasses import dataclass

from esim_bench.codec import tlv
from esim_bench.codec.es10_results import EVENTS
from esim_bench.codec.sgp32 import flag_of, integer, named_bits, names_of, natural
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError


@dataclass(frozen=True, slots=True)
class Search:
    """At most one of: a sequence number, notification events, the package results. None of them: all notifications."""

    seq: int | None = None
    events: tuple[str, ...] | None = None
    """Of install, enable, disable, delete."""
    package_results: bool = False

    def encode(self) -> bytes:
        """Return 80, 81 or 82; nothing where all are looked for. Raises CodecError for more than one."""
        if (self.seq is not None) + (self.events is not None) + self.package_results > 1:
            raise CodecError("search criteria", expected="at most one", found=self)
        if self.seq is not None:
            return integer(0x80, self.seq)
        if self.events is not None:
            return named_bits(0x81, self.events, EVENTS, "profileManagementOperation")
        return tlv.encode(0x82, b"") if self.package_results else b""


def search_of(item: Tlv) -> Search:
    """Read an 80, 81 or 82. Raises CodecError."""
    match item.tag:
        case 0x80:
            return Search(seq=natural(item))
        case 0x81:
            return Search(events=names_of(item, EVENTS, "profileManagementOperation"))
        case 0x82:
            return Search(package_results=flag_of(item, "euiccPackageResults"))
    raise CodecError("search criterion", expected="80, 81 or 82", found=f"{item.tag:X}")
