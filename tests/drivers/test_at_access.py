"""The way to the card: said by the row of the module, or found out by trying; and the longest block that works."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench import clock, data
from esim_bench.codec.at_status import RegistrationState, SimStatus
from esim_bench.data import Dialect
from esim_bench.errors import (
    ApduRefusedError,
    CardStatusError,
    DeviceTimeout,
    NoAccessError,
    TransportError,
)
from esim_bench.events import AtEvent, ListSink, MarkEvent
from esim_bench.ports import Measurable, ModemLink
from esim_drivers.at import AtCard, AtModem
from esim_drivers.at.blocks import BlockLength
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.wire import Wire

CardClass = Callable[[], Any]
ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
STORE = bytes.fromhex("80E2910003BF3E00")
OPEN = bytes.fromhex("0070000001")
NAMES = data.module_names()
BLOCKED = [name for name in NAMES if data.module(name).expect.access == "none"]


class Rig:
    """A modem with a card, spoken to by the driver; ``row`` is what the driver believes of it."""

    def __init__(self, device: Dialect, card: Any, row: Dialect | None = None) -> None:
        self.sink = ListSink()
        self.card_in = card
        self.device = SimModem(device, card, rng=random.Random("7:B1"), imei="352906110000018")
        self.wire = Wire(self.device, lambda: None)
        self.modem = AtModem(self.wire.open, row or device, self.sink)
        self.card = AtCard(self.modem, self.sink)

    @property
    def sent(self) -> list[str]:
        return [e.line for e in self.sink.events if isinstance(e, AtEvent) and e.direction == ">"]

    @property
    def marks(self) -> list[str]:
        return [e.text for e in self.sink.events if isinstance(e, MarkEvent)]


def changed(name: str, **tables: dict[str, Any]) -> Dialect:
    row = data.module(name)
    made = {}
    for key, values in tables.items():
        table = getattr(row, key)
        made[key] = type(table).model_validate({**table.model_dump(), **values})
    return row.model_copy(update=made)


def unknown(name: str) -> Dialect:
    """Return what is known of a module before anybody tried: when it boots, and how its port is set."""
    row, generic = data.module(name), data.module("sim-generic")
    return generic.model_copy(
        update={"boot": row.boot, "at": row.at, "sim": generic.sim.model_copy(update={"access": "probe"})}
    )


Body = Callable[[Rig], Coroutine[Any, Any, None]]


def run(rig: Rig, body: Body, *, connect: bool = True) -> Rig:
    async def main() -> None:
        rig.wire.power_on()
        if connect:
            await rig.card.connect()
        await body(rig)

    clock.run_virtual(main())
    return rig


def go_on(command: bytes, response: bytes) -> bool:
    return True


async def reach_isd_r(card: AtCard) -> None:
    """Open the ISD-R by whatever way there is, speak to it, close it."""
    if card.capabilities.sessions:
        session = await card.open_session(ISD_R)
        (exchange,) = await card.exchange([STORE], go_on, session)
        await card.close_session(session)
    else:
        (opened,) = await card.exchange([OPEN], go_on)
        channel = opened.response[0]
        select = bytes((channel, 0xA4, 0x04, 0x00, 0x10)) + ISD_R
        *_, exchange = await card.exchange([select, bytes((0x80 | channel,)) + STORE[1:]], go_on)
        await card.exchange([bytes((0x00, 0x70, 0x80, channel))], go_on)
    assert exchange.response.hex() == "bf3e009000"


# ------------------------------------------------------------------------------------------------- known or found


@pytest.mark.parametrize("name", NAMES)
def test_a_module_that_nobody_knows_is_reached_if_any_way_leads_there(name: str, scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        row = data.module(name)
        if row.expect.access == "works":
            await reach_isd_r(rig.card)
            return
        with pytest.raises((NoAccessError, CardStatusError)) as caught:
            await reach_isd_r(rig.card)
        assert "AT+CCHO" in str(caught.value) or "opens no session" in str(caught.value)

    rig = run(Rig(data.module(name), scripted_card(), unknown(name)), body)
    assert not any(line.endswith("=?") for line in rig.sent)
    assert any(mark.startswith("access to the card by") for mark in rig.marks)
    assert set(rig.card_in.channels) == {0}


def test_what_was_found_is_not_looked_for_again(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        sent = len(rig.sent)
        await rig.card.connect()
        assert not any("+CCHO" in line for line in rig.sent[sent:])

    run(Rig(data.module("sim-generic"), scripted_card(), unknown("sim-generic")), body)


@pytest.mark.parametrize("name", BLOCKED)
def test_no_access_names_the_cause_of_the_row(name: str, scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        with pytest.raises(NoAccessError) as caught:
            await reach_isd_r(rig.card)
        assert caught.value.cause == data.module(name).expect.cause
        assert str(caught.value.cause) in str(caught.value)
        began = clock.now()
        with pytest.raises(NoAccessError):
            await reach_isd_r(rig.card)
        assert clock.now() - began < 10

    run(Rig(data.module(name), scripted_card()), body)


def test_other_applications_of_such_a_module_are_what_they_are(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        session = await rig.card.open_session(bytes.fromhex("A0000000871002FFFFFFFF8903020000"))
        await rig.card.close_session(session)
        with pytest.raises(CardStatusError):
            await rig.card.open_session(bytes.fromhex("A000000000"))

    run(Rig(data.module("telit-le910c4"), scripted_card()), body)


def test_a_module_that_gives_access_against_its_row_is_used_and_noted(scripted_card: CardClass) -> None:
    device = changed("telit-le910c4", sim={"blocked_aids": ()})
    rig = run(Rig(device, scripted_card(), data.module("telit-le910c4")), lambda rig: reach_isd_r(rig.card))
    assert any("gives access, though" in mark for mark in rig.marks)


# ------------------------------------------------------------------------------------------------- leftover channels


def test_sessions_that_others_left_open_are_closed_at_the_start(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        # Handles of the simulated module begin with 5.
        await rig.modem.wait_ready()
        assert (await rig.modem.command(f'AT+CCHO="{ISD_R.hex().upper()}"')).lines == ("+CCHO: 5",)
        await rig.card.connect()
        assert list(rig.card_in.channels) == [0]
        await reach_isd_r(rig.card)

    row = changed("sim-generic", sim={"handle": "counter", "close_at_start": [5]})
    run(Rig(row, scripted_card()), body, connect=False)


def test_channels_that_others_left_open_are_closed_when_there_is_none_left(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        for _ in range(3):
            await rig.card.exchange([OPEN], go_on)
        other = AtCard(rig.modem, rig.sink)
        await other.connect()
        await reach_isd_r(other)
        # What it opened itself it leaves alone.
        for _ in range(3):
            await other.exchange([OPEN], go_on)
        (refused,) = await other.exchange([OPEN], go_on)
        assert refused.sw == 0x6A81
        assert set(rig.card_in.channels) == {0, 1, 2, 3}

    run(Rig(data.module("dell-dw5821e"), scripted_card()), body)


# ------------------------------------------------------------------------------------------------- length of blocks


def block(size: int, *, last: bool = False) -> bytes:
    return bytes((0x80, 0xE2, 0x91 if last else 0x11, 0x00, size)) + bytes(size)


def test_a_block_that_is_refused_is_halved_and_remembered(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        session = await rig.card.open_session(ISD_R)
        assert rig.card.capabilities.max_data == 255
        for left in (127, 63):
            with pytest.raises(ApduRefusedError) as caught:
                await rig.card.exchange([block(rig.card.capabilities.max_data)], go_on, session)
            assert caught.value.command[1] == 0xE2
            assert rig.card.capabilities.max_data == left
        await rig.card.exchange([block(63)], go_on, session)
        await rig.card.connect()
        assert rig.card.capabilities.max_data == 63

    device = changed("sim-generic", at={"line_limit": 200})
    rig = run(Rig(device, scripted_card(), data.module("sim-generic")), body)
    assert rig.marks[-1] == "blocks of at most 63 bytes from now on, no longer 127"


def test_a_checksum_error_is_taken_for_a_block_too_long(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        session = await rig.card.open_session(ISD_R)
        (exchange,) = await rig.card.exchange([block(255)], go_on, session)
        assert exchange.sw == 0x6601
        assert rig.card.capabilities.max_data == 127

    run(Rig(changed("sim-generic", quirks={"checksum_above": 130}), scripted_card()), body)


def test_a_dead_session_is_no_matter_of_length(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        session = await rig.card.open_session(ISD_R)
        rig.device.sim._sessions.clear()
        with pytest.raises(ApduRefusedError):
            await rig.card.exchange([block(200)], go_on, session)
        with pytest.raises(ApduRefusedError):
            await rig.card.exchange([STORE], go_on, session)
        assert rig.card.capabilities.max_data == 255

    run(Rig(data.module("sim-generic"), scripted_card()), body)


@given(st.integers(32, 255), st.integers(16, 255))
def test_halving_ends_at_a_length_that_works_or_where_it_began(longest: int, works: int) -> None:
    blocks = BlockLength(longest, 32)
    for _ in range(10):
        length = blocks.longest
        if length <= works:
            blocks.passed(length)
            assert blocks.longest == length
            return
        blocks.refused(length)
        if blocks.longest >= length:
            break
    # Nothing from 32 bytes on gets through: then the length was not the reason.
    assert works < 32
    assert blocks.longest == longest


# ------------------------------------------------------------------------------------------------- states and switches


def test_states_are_typed_values(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        assert isinstance(rig.modem, Measurable)
        modem: ModemLink = rig.modem
        assert await modem.sim_state() is SimStatus.READY
        await asyncio.sleep(10)
        status = await modem.status()
        assert status.iccid is not None
        assert status.imei == "352906110000018"
        assert status.registration["eps"] in (RegistrationState.HOME, RegistrationState.ROAMING)
        assert status.registered
        assert status.signal.rssi_dbm is not None
        await modem.set_functionality(0)
        assert await modem.functionality() == 0
        assert await modem.sim_state() is SimStatus.OFF
        with pytest.raises(TransportError, match="AT\\+CFUN=9"):
            await modem.set_functionality(9)

    run(Rig(data.module("sim-generic"), scripted_card()), body)


@pytest.mark.parametrize("name", NAMES)
def test_a_sim_that_is_not_there_is_told_as_absent(name: str, scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        rig.wire.remove_card()
        await asyncio.sleep(3)
        assert await rig.modem.sim_state() is SimStatus.ABSENT

    run(Rig(data.module(name), scripted_card()), body)


def test_the_iccid_is_waited_for(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        before = await rig.modem.iccid()
        assert before is not None
        session = await rig.card.open_session(ISD_R)
        await rig.card.exchange([bytes.fromhex("80E2910003BF3100")], go_on, session)
        # The module goes on telling the old one until its SIM was reset.
        assert await rig.modem.iccid() == before
        began = clock.now()
        after = before[:-1] + str(int(before[-1]) + 1) if before[-1].isdigit() else before
        assert await rig.modem.wait_iccid(after, 0.0) == before
        assert await rig.modem.wait_iccid(before) == before
        assert clock.now() - began < 1

    run(Rig(data.module("sim-generic"), scripted_card()), body)


def test_a_module_that_tells_no_iccid_is_not_waited_for_long(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        began = clock.now()
        assert await rig.modem.wait_iccid("8988") is None
        assert clock.now() - began < 6

    row = changed("sim-generic", sim={"iccid_command": "AT+NOSUCH"})
    run(Rig(data.module("sim-generic"), scripted_card(), row), body)


def test_an_operator_configuration_is_put_aside_before_the_first_reset(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        await asyncio.sleep(20)
        assert not (await rig.modem.status()).registered
        await rig.card.reset()
        await asyncio.sleep(20)
        assert (await rig.modem.status()).registered
        await rig.card.reset()

    row = changed("quectel-ec20", quirks={"last_block_error": 0.0})
    rig = run(Rig(row, scripted_card()), body)
    assert rig.sent.count('AT+QMBNCFG="Select","ROW_Generic_3GPP"') == 1


def test_a_port_that_vanishes_while_its_sim_is_reset_is_waited_for(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        await rig.card.reset()
        await reach_isd_r(rig.card)
        assert rig.modem.generation > 1

    run(Rig(data.module("quectel-eg916q"), scripted_card()), body)


def test_commands_have_limits_of_their_own(scripted_card: CardClass) -> None:
    row = changed("sim-generic", at={"limits": {"+COPS": 7.0}, "timeout_s": 3.0}, quirks={"ignored": 1.0})

    async def body(rig: Rig) -> None:
        await rig.modem.wait_ready()
        rig.device._quirks = row.quirks
        for line, seconds in (("AT+COPS?", 7.0), ("AT+CIMI", 3.0), ("AT+CFUN?", 30.0)):
            rig.modem._port._in_step = True  # type: ignore[union-attr]
            began = clock.now()
            with pytest.raises(DeviceTimeout):
                await rig.modem.command(line)
            assert clock.now() - began == pytest.approx(seconds)

    run(Rig(changed("sim-generic", at={"limits": {"+COPS": 7.0}, "timeout_s": 3.0}), scripted_card()), body)


# ------------------------------------------------------------------------------------------------- measuring


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_measured_as_what_it_is(name: str, scripted_card: CardClass) -> None:
    heard: list[str] = []
    found: dict[str, Any] = {}

    async def body(rig: Rig) -> None:
        found.update(await rig.modem.measure(heard.append))

    device = data.module(name)
    rig = run(Rig(device, scripted_card(), unknown(name)), body)
    row = Dialect.model_validate(found)
    assert (row.manufacturer, row.model) == (device.manufacturer, device.model)
    assert row.expect.access == device.expect.access
    assert row.at.test_commands == device.at.test_commands or device.sim.access == "none"
    assert row.sim.iccid_command == device.sim.iccid_command
    if device.expect.access == "works":
        assert row.sim.access == device.sim.access
        if device.sim.access == "ccho":
            assert (row.sim.handle, row.sim.bare_handle) == (device.sim.handle, device.sim.bare_handle)
            assert (row.sim.cchc, row.sim.csim_channels) == (device.sim.cchc, device.sim.csim_channels)
        if device.at.line_limit is not None:
            assert row.at.line_limit is not None
            assert device.at.line_limit - 10 < row.at.line_limit <= device.at.line_limit
        else:
            assert row.sim.max_data == 255
    assert list(rig.card_in.channels) == [0] or device.sim.cchc == "none"
    # The row that came out is one that the driver works with.
    if device.expect.access == "works":
        run(Rig(device, scripted_card(), row), lambda rig: reach_isd_r(rig.card))


@pytest.mark.parametrize("name", ["quectel-eg25", "sequans-gm02s", "sim-generic", "nordic-nrf9160", "sierra-mc7455"])
def test_a_boot_is_measured(name: str, scripted_card: CardClass) -> None:
    found: dict[str, Any] = {}

    async def body(rig: Rig) -> None:
        found.update(await rig.modem.measure(lambda text: None, reboot=True))
        await rig.card.connect()
        await reach_isd_r(rig.card)

    device = data.module(name)
    command = device.sim.reboot_command
    row = unknown(name)
    row = row.model_copy(update={"sim": row.sim.model_copy(update={"reboot_command": command})})
    run(Rig(device, scripted_card(), row), body)
    made = Dialect.model_validate(found)
    assert made.at.echo == device.at.echo
    assert made.at.errors == device.at.errors
    assert made.boot.cfun == device.boot.cfun
    assert {urc.line for urc in device.boot.urcs if urc.at_s < device.boot.ready_s + 4} <= {
        urc.line for urc in made.boot.urcs
    }
    assert made.boot.ready_s == pytest.approx(device.boot.ready_s, abs=device.boot.jitter_s + 3.0)
    assert "Not measured" not in made.source


def test_a_longest_block_is_found_between_the_usual_ones(scripted_card: CardClass) -> None:
    found: dict[str, Any] = {}

    async def body(rig: Rig) -> None:
        found.update(await rig.modem.measure(lambda text: None))

    run(Rig(changed("sim-generic", quirks={"checksum_above": 143}), scripted_card()), body)
    assert 138 < found["sim"]["max_data"] <= 143
    assert "line_limit" not in found["at"]


# ----------------------------------------------------------------------------------------- several SIMs, hot plug


@pytest.mark.parametrize("cfun", [0, 1])
def test_the_slots_sim_is_chosen_before_it_is_used(cfun: int, scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        await reach_isd_r(rig.card)
        chosen = rig.sent.count("AT%CSUS=1")
        await rig.card.connect()
        assert rig.sent.count("AT%CSUS=1") == chosen

    boot = {"cfun": cfun}
    run(
        Rig(
            changed("sim-generic", quirks={"select_sim": "AT%CSUS=1"}, boot=boot),
            scripted_card(),
            changed("sim-generic", sim={"select_command": "AT%CSUS=1"}, boot=boot),
        ),
        body,
    )


def test_a_sim_that_cannot_be_chosen_is_said(scripted_card: CardClass) -> None:
    async def nothing(rig: Rig) -> None:
        pass

    device = changed("sim-generic", quirks={"select_sim": "AT%CSUS=1"})
    row = changed("sim-generic", sim={"select_command": "AT%CSUS=2"})
    with pytest.raises(DeviceTimeout, match="to choose its SIM"):
        run(Rig(device, scripted_card(), row), nothing)


def test_a_card_that_goes_in_unnoticed_is_brought_up_by_cfun(scripted_card: CardClass) -> None:
    async def body(rig: Rig) -> None:
        rig.wire.remove_card()
        asyncio.get_running_loop().call_later(20.0, rig.wire.insert_card)
        await rig.card.connect()
        assert clock.now() < 90
        await reach_isd_r(rig.card)

    run(Rig(changed("sim-generic", quirks={"hot_plug": False}, sim={"hot_plug": False}), scripted_card()), body)
