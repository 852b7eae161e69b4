"""What may not go out to the modem of a protected slot by hand."""

import pytest

from esim_bench.card.at_guard import check_at_line
from esim_bench.card.guard import Guard
from esim_bench.codec import at
from esim_bench.errors import ProtectedError

DELETE = bytes.fromhex("80E291000FBF330C5A0A98880000000000000011")
RESET = bytes.fromhex("80E2910007BF340482020780")
LIST = bytes.fromhex("80E2910003BF2D00")
PART = bytes.fromhex("80E2110001BF")
SECOND = bytes.fromhex("80E29101053304820207")


def cgla(apdu: bytes) -> str:
    return at.cgla_command("1", apdu)


@pytest.mark.parametrize(
    "line",
    [
        at.csim_command(DELETE),
        cgla(DELETE),
        cgla(RESET),
        cgla(RESET).lower(),
        f"AT+CMEE=1;{cgla(DELETE)[2:]}",
        f"AT +cgla = 1, {2 * len(DELETE)} , {DELETE.hex()}",
        f"ATE0{cgla(DELETE)[2:]}",
        cgla(DELETE).replace("+CGLA", "+CG LA"),
        cgla(PART),
        cgla(SECOND),
        'AT+CSIM=99,"80E2910003BF2D00"',
        "AT+CGLA=1,16,80E2",
        "A/",
        'AT+QESIM="delete_profile","8988"',
    ],
)
def test_what_destroys_or_may_hide_it_is_refused(line: str) -> None:
    with pytest.raises(ProtectedError):
        check_at_line(line, Guard(True))
    check_at_line(line, Guard(False))


@pytest.mark.parametrize(
    "line",
    [
        "AT",
        "AT+CSQ",
        "AT+CSIM=?",
        "AT+CGLA=?",
        cgla(LIST),
        at.csim_command(bytes.fromhex("00A40004022FE2")),
        'AT+CMGS="112;113"',
        'AT+QESIM="eid"',
    ],
)
def test_what_reads_is_not(line: str) -> None:
    check_at_line(line, Guard(True))
