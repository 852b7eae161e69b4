"""What modems say of SIM, network and signal, in the forms that are about."""

import pytest

from esim_bench.codec import at, at_status
from esim_bench.codec.at_status import RegistrationState, Signal, SimStatus


@pytest.mark.parametrize(
    ("lines", "final", "state"),
    [
        (["+CPIN: READY"], "OK", SimStatus.READY),
        (['+CPIN: "READY"'], "OK", SimStatus.READY),
        (["+CPIN: SIM PIN"], "OK", SimStatus.PIN),
        (["+CPIN: SIM PUK"], "OK", SimStatus.PUK),
        (["+CPIN: NOT INSERTED"], "OK", SimStatus.ABSENT),
        (["+CPIN: NOT READY"], "OK", SimStatus.BUSY),
        ([], "+CME ERROR: 10", SimStatus.ABSENT),
        ([], "+CME ERROR: SIM not inserted", SimStatus.ABSENT),
        ([], "+CME ERROR: 14", SimStatus.BUSY),
        ([], "+CMS ERROR: 310", SimStatus.ABSENT),
        ([], "+CME ERROR: 13", SimStatus.FAILURE),
        ([], "ERROR", SimStatus.FAILURE),
    ],
)
def test_the_state_of_the_sim(lines: list[str], final: str, state: SimStatus) -> None:
    assert at_status.sim_status(lines, final) is state


@pytest.mark.parametrize(
    ("line", "iccid"),
    [
        ("+QCCID:  89010210524010196085", "89010210524010196085"),
        ("+ICCID: 8901260487759545390F", "8901260487759545390"),
        ("8988211000000000011", "8988211000000000011"),
        ('%XICCID: "8988211000000000011"', "8988211000000000011"),
        ("+CCID: 898821100000000001FF", "898821100000000001"),
        ("ERROR", None),
        ("352906110000018", None),
    ],
)
def test_an_iccid_in_any_makers_form(line: str, iccid: str | None) -> None:
    assert at_status.iccid([line]) == iccid


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (["+CEREG: 0,1"], RegistrationState.HOME),
        (['+CEREG: 2,5,"002F","0012BEEF",7'], RegistrationState.ROAMING),
        # Asked for and told at once: the answer has the mode first.
        (["+CEREG: 2", "+CEREG: 1,1"], RegistrationState.HOME),
        (['+CEREG: 1,"002F","0012BEEF",7'], RegistrationState.HOME),
        (["+CEREG: 0,77"], RegistrationState.UNKNOWN),
        (["+CREG: 0,1"], None),
        ([], None),
    ],
)
def test_registration(lines: list[str], state: RegistrationState | None) -> None:
    assert at_status.registration(lines, "+CEREG") is state


def test_signal_in_its_units() -> None:
    assert at_status.signal(["+CSQ: 20,99"], ["+CESQ: 99,99,255,255,22,56"]) == Signal(
        rssi_dbm=-73, rsrq_db=-9.0, rsrp_dbm=-85
    )
    assert at_status.signal(["+CSQ: 99,99"], []) == Signal()
    assert at_status.signal([], ["+CESQ: 63,0,96,49,255,255"]) == Signal(rssi_dbm=-48, ber=0, rscp_dbm=-25, ecno_db=0.0)
    assert at_status.signal(["+CSQ: x"], ['+CESQ: 1,"']) == Signal()


def test_numbers_and_words_of_errors() -> None:
    assert at.cms_code("+CMS ERROR: 310") == 310
    assert at.cms_code("+CMS ERROR: (U)SIM busy") == 314
    assert at.cms_code("+CME ERROR: 310") is None
    assert at.cme_code("+CME ERROR: Parameters error") == 50
    assert at.error_text("+CME ERROR: 13") == "SIM failure"
    assert at.error_text("+CMS ERROR: 500") == "unknown error"
    assert at.error_text("+CME ERROR: SIM failure") == ""
    assert at.error_text("ERROR") == ""


@pytest.mark.parametrize("line", ['+CGLA: 2,"9000"', '4,"9000"', "4,9000"])
def test_apdu_answers_that_count_bytes_or_have_no_name(line: str) -> None:
    assert at.apdu_answer([line], "+CGLA") == b"\x90\x00"
