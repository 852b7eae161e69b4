"""Activation codes (SGP.22 4.1): ``[LPA:]1$host$matchingId[$smdpOid[$1]]``.

The matching id is a secret of its order: no error and no text for people shows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from esim_bench.errors import CodecError

MAX_LENGTH = 255


@dataclass(frozen=True, slots=True)
class ActivationCode:
    """Where a profile waits, and under which name."""

    address: str
    """Host name of the SM-DP+, with ``:port`` where it is not 443."""
    matching_id: str = field(default="", repr=False)
    """Empty: the order is found by the EID."""
    smdp_oid: str | None = None
    """The OID that the SM-DP+'s certificate must carry."""
    confirmation_code_required: bool = False

    @classmethod
    def parse(cls, text: str) -> ActivationCode:
        """Read an activation code. Raises CodecError."""
        code = text.strip()
        if code[:4].upper() == "LPA:":
            code = code[4:]
        if len(code) > MAX_LENGTH:
            raise CodecError("activation code too long", expected=f"at most {MAX_LENGTH} characters", found=len(code))
        fields = code.split("$")
        if fields[0] != "1":
            raise CodecError("not an activation code", expected="LPA:1$HOST$MATCHINGID", found=_head(text))
        if not 3 <= len(fields) <= 5:
            raise CodecError("activation code", expected="3 to 5 fields separated by $", found=len(fields))
        address, matching_id = fields[1], fields[2]
        check_address(address, "SM-DP+ address in the activation code")
        if not re.fullmatch(r"[A-Za-z0-9-]*", matching_id):
            wrong = next(c for c in matching_id if not re.fullmatch(r"[A-Za-z0-9-]", c))
            raise CodecError("matching id in the activation code", expected="letters, digits and -", found=repr(wrong))
        oid = fields[3] if len(fields) > 3 else ""
        if oid and not re.fullmatch(r"[0-2](\.\d+)+", oid):
            # With a $ too many the matching id stands here: it is not shown.
            found = f"{len(oid)} other characters"
            raise CodecError("SM-DP+ OID in the activation code", expected="dotted numbers", found=found)
        flag = fields[4] if len(fields) > 4 else ""
        if flag not in ("", "1"):
            found = f"{len(flag)} other characters"
            raise CodecError("confirmation code flag in the activation code", expected="1 or nothing", found=found)
        return cls(address, matching_id, oid or None, flag == "1")

    @property
    def masked(self) -> str:
        """Return the text without the matching id, for reports and logs."""
        return str(replace(self, matching_id="***" if self.matching_id else ""))

    def __str__(self) -> str:
        """Return the text for people and QR codes, the matching id in it."""
        text = f"LPA:1${self.address}${self.matching_id}"
        if self.smdp_oid or self.confirmation_code_required:
            text += f"${self.smdp_oid or ''}"
        if self.confirmation_code_required:
            text += "$1"
        return text


def check_address(address: str, what: str) -> None:
    """Check an SM-DP+ address, ``host[:port]``. ``what`` names it in errors. Raises CodecError."""
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", address):
        raise CodecError(what, expected="a host name", found=repr(address))


def _head(text: str) -> str:
    """Return the begin of something that may hold a secret further on."""
    shown = text.strip()
    return repr(shown[:12] + "...") if len(shown) > 12 else repr(shown)
