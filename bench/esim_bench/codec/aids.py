"""Application identifiers of the parts of an eUICC (SGP.02 2.2.3)."""

from __future__ import annotations

from typing import Final

ISD_R_AID: Final = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
OTHER_ISD_R_AIDS: Final = tuple(
    bytes.fromhex(aid)
    for aid in (
        "A0000005591010FFFFFFFF8900050500",
        "A0000005591010000000008900000300",
        "A0000005591010FFFFFFFF8900000177",
        "A000000559104C696E6B736669656C64",
        "A06573746B6D65FFFF4953442D522030",
        "A06573746B6D65FFFF4953442D522031",
        "A06573746B6D65FFFFFFFF4953442D52",
    )
)
"""ISD-Rs of makes that do not keep to the standard's AID, as their LPAs know them."""
ECASD_AID: Final = bytes.fromhex("A0000005591010FFFFFFFF8900000200")
ISDP_AID_PREFIX: Final = bytes.fromhex("A0000005591010FFFFFFFF8900")
"""13 bytes; two variable bytes and 00 follow (first 0010 00)."""
