"""An IoT eUICC steered by the bench's own eIM, from the desk; a modem and a card that are tampered with by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from esim_bench.desk.api import Source

BOOTSTRAP = "8988211000000000003"
ICCID_A = "8988211000000000011"


@pytest.fixture(scope="module")
def on(open_desk: Callable[..., Any]) -> Any:
    """Return a desk on the packaged rack of IoT eUICCs."""
    return open_desk("sim-iot-3")


def test_the_first_order_associates_the_eim(on: Any) -> None:
    assert on(on.desk.eims("A1")) == []
    assert on(on.desk.orders("A1")) == []

    orders = on(on.desk.order("A1", "list-profiles"))
    assert (orders[0].what, orders[0].state, orders[0].result) == ("listProfileInfo", "done", "ok")
    (eim,) = on(on.desk.eims("A1"))
    assert eim.eim_id == eim.fqdn == "testeim1.example.com"
    assert eim.token == 1
    assert {node.name: node.value for node in eim.details}["eimPublicKeyData"] == "certificate"


def test_a_profile_is_switched_and_deleted_by_orders(on: Any) -> None:
    on(on.desk.download("A1", Source(profile="operational-a")))
    done = on(on.desk.order("A1", "enable", ICCID_A))
    assert (f"enable {ICCID_A}", "done") in [(one.what, one.state) for one in done]
    assert [one.state for one in on(on.desk.profiles("A1"))] == ["disabled", "enabled"]
    on(on.desk.order("A1", "enable", BOOTSTRAP[-3:]))
    on(on.desk.order("A1", "delete", ICCID_A))
    assert [one.iccid for one in on(on.desk.profiles("A1"))] == [BOOTSTRAP]
    # What was ordered is kept in files: it is there after the slot was opened anew.
    count = len(on(on.desk.orders("A1")))
    on(on.desk.release("A1"))
    assert len(on(on.desk.orders("A1"))) == count >= 4


def test_what_is_no_order_is_a_mistake(on: Any) -> None:
    assert on.trouble(on.desk.order("A1", "explode")).expected == "one of enable, disable, delete, list-profiles"
    assert on.trouble(on.desk.order("A1", "enable", "123")).what == "no profile of this ICCID"
    assert on.trouble(on.desk.order("A1", "enable")).found == "nothing"


def test_what_sgp32_adds_is_told(on: Any) -> None:
    sections = {section.name: section for section in on(on.desk.info("A1")).sections}
    assert {node.name: node.value for node in sections["SGP.32"].children}["sgp32 versions"] == "1.2.0"


@pytest.mark.parametrize("line", ["AT+CFUN=1,1", "AT+CFUN=0"])
def test_a_card_that_a_modem_has_lost_by_hand_is_started_again(on: Any, line: str) -> None:
    assert on(on.desk.profiles("B1"))
    assert on(on.desk.at("B1", line)).ok
    if line.endswith("=0"):
        assert on(on.desk.at("B1", "AT+CFUN?")).meaning == ["minimum functionality"]
        assert on(on.desk.at("B1", "AT+CFUN=1")).ok
    assert on(on.desk.profiles("B1"))


@pytest.mark.parametrize("slot", ["A1", "B1"])
def test_commands_by_hand_do_not_get_in_the_way_of_the_others(on: Any, slot: str) -> None:
    for text in ("SELECT ISD-R", "MANAGE CHANNEL close 1", "MANAGE CHANNEL open", "SELECT 3F00"):
        on(on.desk.apdu(slot, text))
    assert on(on.desk.profiles(slot))
    assert on(on.desk.file(slot, "3F00/2FE2")).decoded[0].value == BOOTSTRAP
