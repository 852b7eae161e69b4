"""The card behind a modem: the real AT driver over an in-memory port, against the simulated modem of every dialect."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from esim_bench import clock, data
from esim_bench.errors import CardStatusError, DeviceTimeout, ProtocolError, TransportError
from esim_bench.events import ApduEvent, AtEvent, ListSink
from esim_bench.ports import AtResponse
from esim_drivers.at import AtCard, AtModem
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.wire import Wire

CardClass = Callable[[], Any]
ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
STORE = bytes.fromhex("80E2910003BF3E00")
SWITCH = bytes.fromhex("80E2910003BF3100")
SESSIONS = [
    n for n in data.module_names() if data.module(n).sim.access == "ccho" and data.module(n).expect.access == "works"
]


class Slot:
    def __init__(self, module: str, card: Any) -> None:
        self.sink = ListSink()
        self.device = SimModem(data.module(module), card, rng=random.Random("7:B1"), imei="352906110000018")
        self.sim = card
        self.wire = Wire(self.device, lambda: None)
        self.modem = AtModem(self.wire.open, data.module(module), self.sink)
        self.card = AtCard(self.modem, self.sink)

    @property
    def at_lines(self) -> list[str]:
        return [f"{e.direction} {e.line}" for e in self.sink.events if isinstance(e, AtEvent)]


Body = Callable[[Slot], Coroutine[Any, Any, None]]


def go_on(command: bytes, response: bytes) -> bool:
    return True


def run(module: str, card: Any, body: Body) -> Slot:
    slot = Slot(module, card)

    async def main() -> None:
        slot.wire.power_on()
        await slot.card.connect()
        await body(slot)

    clock.run_virtual(main())
    return slot


@pytest.mark.parametrize("module", SESSIONS)
def test_every_session_dialect_reaches_the_isd_r(module: str, scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        session = await slot.card.open_session(ISD_R)
        (exchange,) = await slot.card.exchange([STORE], go_on, session)
        assert exchange.response.hex() == "bf3e009000"
        assert exchange.duration_ns > 0
        await slot.card.close_session(session)
        await slot.card.close_session(session)
        assert list(slot.sim.channels) == [0]

    slot = run(module, scripted_card(), body)
    assert [e.command for e in slot.sink.events if isinstance(e, ApduEvent)] == [STORE]


@pytest.mark.parametrize("module", ["sequans-gm02s", "dell-dw5821e"])
def test_every_csim_dialect_reaches_the_isd_r(module: str, scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        select = bytes.fromhex("01A4040010") + ISD_R
        done = await slot.card.exchange([bytes.fromhex("0070000001"), select, b"\x81" + STORE[1:]], go_on)
        assert [e.response.hex() for e in done] == ["019000", "9000", "bf3e009000"]

    slot = run(module, scripted_card(), body)
    assert slot.card.capabilities.raw_channels
    assert not slot.card.capabilities.sessions


def test_capabilities_follow_the_dialect(scripted_card: CardClass) -> None:
    eg25 = Slot("quectel-eg25", scripted_card()).card.capabilities
    assert (eg25.raw_channels, eg25.sessions, eg25.terminal, eg25.resets_card) == (False, True, True, True)
    gm02s = Slot("sequans-gm02s", scripted_card()).card.capabilities
    assert (gm02s.raw_channels, gm02s.sessions, gm02s.terminal) == (True, False, True)
    assert 200 < gm02s.max_data <= 240


def test_the_most_data_fits_the_line(scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        size = slot.card.capabilities.max_data
        command = bytes.fromhex("80F20000") + bytes((size,)) + bytes(size) + b"\x00"
        (exchange,) = await slot.card.exchange([command], go_on)
        assert exchange.sw == 0x9000
        with pytest.raises(TransportError, match=f"at most {size} bytes"):
            await slot.card.exchange([bytes.fromhex("80F20000FF") + bytes(255)], go_on)

    run("sequans-gm02s", scripted_card(), body)


def test_the_stop_rule_decides_what_follows(scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        session = await slot.card.open_session(ISD_R)
        more = iter([SWITCH[:5] + b"\xbf\x3f\x00", True, False])
        done = await slot.card.exchange([STORE, STORE, STORE], lambda c, r: next(more), session)
        assert [e.command[5:7].hex() for e in done] == ["bf3e", "bf3f", "bf3e"]

    run("sim-generic", scripted_card(), body)


def test_an_application_that_is_not_there_is_6a82_after_some_tries(scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        with pytest.raises(CardStatusError) as caught:
            await slot.card.open_session(bytes.fromhex("A000000000"))
        assert caught.value.sw == 0x6A82
        assert "+CME ERROR: 13" in str(caught.value)

    slot = run("quectel-eg25", scripted_card(), body)
    assert slot.at_lines.count('> AT+CCHO="A000000000"') == 10


@pytest.mark.parametrize("module", ["quectel-eg25", "sim-generic", "sierra-mc7455"])
def test_after_a_switch_sessions_are_dead_and_a_reset_brings_the_card_back(
    module: str, scripted_card: CardClass
) -> None:
    async def body(slot: Slot) -> None:
        session = await slot.card.open_session(ISD_R)
        (exchange,) = await slot.card.exchange([SWITCH], go_on, session)
        assert exchange.sw == 0x9000
        await asyncio.sleep(10)
        with pytest.raises(TransportError, match="modem refused the APDU 80E29100"):
            await slot.card.exchange([STORE], go_on, session)
        assert await slot.card.reset() == b""
        with pytest.raises(TransportError, match="the session is gone"):
            await slot.card.exchange([STORE], go_on, session)
        again = await slot.card.open_session(ISD_R)
        assert again != session
        await slot.card.exchange([STORE], go_on, again)

    run(module, scripted_card(), body)


@pytest.mark.parametrize("module", data.module_names())
def test_every_dialect_resets_its_card_right_after_a_switch(module: str, scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        resets = slot.sim.resets
        await slot.card.reset()
        assert slot.sim.resets == resets + 1
        assert slot.sim.powered
        assert (await slot.modem.command("AT+CPIN?")).lines == ("+CPIN: READY",)

    run(module, scripted_card(), body)


def test_a_reboot_is_waited_for(scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        began = clock.now()
        await slot.card.reset()
        assert clock.now() - began > 17

    slot = run("sequans-gm02s", scripted_card(), body)
    assert slot.at_lines.count("> AT^RESET") == 1


def test_opening_right_after_a_refresh_waits_until_the_sim_is_back(scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        session = await slot.card.open_session(ISD_R)
        await slot.card.exchange([SWITCH], go_on, session)
        await asyncio.sleep(0.8)
        assert (await slot.modem.command("AT+CPIN?")).final == "+CME ERROR: 14"
        await slot.card.open_session(ISD_R)

    run("quectel-eg25", scripted_card(), body)


def test_boot_lines_between_the_answers_do_no_harm(scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        session = await slot.card.open_session(ISD_R)
        for _ in range(400):
            await slot.card.exchange([STORE], go_on, session)

    slot = run("quectel-eg25", scripted_card(), body)
    lines = slot.at_lines
    last = next(number for number, line in enumerate(lines) if line == "! +QIND: PB DONE")
    assert any("AT+CGLA" in line for line in lines[:last])


def test_identity(scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        assert await slot.modem.identity() == {
            "manufacturer": "Quectel",
            "model": "EG25",
            "revision": "EG25GGBR07A08M2G",
            "imei": "352906110000018",
        }

    run("quectel-eg25", scripted_card(), body)


def test_power_lost_under_an_apdu_is_told_at_that_instant(scripted_card: CardClass) -> None:
    card = scripted_card()
    card.seconds = 0.2

    async def body(slot: Slot) -> None:
        session = await slot.card.open_session(ISD_R)
        began = clock.now()
        asyncio.get_running_loop().call_later(0.1, slot.wire.power_off)
        with pytest.raises(TransportError, match="lost its power"):
            await slot.card.exchange([STORE], go_on, session)
        assert clock.now() - began == pytest.approx(0.1)
        # Also after the power is back: nothing goes to a port that nobody waited for.
        slot.wire.power_on()
        with pytest.raises(TransportError, match="connect again"):
            await slot.card.exchange([STORE], go_on, session)
        await slot.card.close_session(session)
        await slot.card.connect()
        await slot.card.exchange([STORE], go_on, await slot.card.open_session(ISD_R))

    run("quectel-eg25", card, body)


def test_a_card_that_dies_while_it_writes_takes_the_modem_with_it(scripted_card: CardClass) -> None:
    async def body(slot: Slot) -> None:
        session = await slot.card.open_session(ISD_R)
        slot.sim.dies_at = len(slot.sim.log)
        with pytest.raises(TransportError, match="lost its power"):
            await slot.card.exchange([STORE], go_on, session)
        await slot.card.connect()
        await slot.card.exchange([STORE], go_on, await slot.card.open_session(ISD_R))

    run("quectel-eg25", scripted_card(), body)


def test_without_power_connecting_times_out_and_says_so(scripted_card: CardClass) -> None:
    slot = Slot("quectel-eg25", scripted_card())
    with pytest.raises(DeviceTimeout, match="power the slot on"):
        clock.run_virtual(slot.card.connect())


def test_a_card_was_never_connected(scripted_card: CardClass) -> None:
    slot = Slot("quectel-eg25", scripted_card())
    with pytest.raises(TransportError, match="not connected"):
        clock.run_virtual(slot.card.exchange([STORE], go_on))


class _StubModem(AtModem):
    """A modem that answers every command with the same lines."""

    def __init__(self, answer: AtResponse) -> None:
        super().__init__(lambda: None, data.module("sim-generic"), ListSink())  # type: ignore[arg-type, return-value]
        self.answer = answer

    @property
    def usable(self) -> bool:
        return True

    async def wait_ready(self, timeout: float | None = None) -> None:
        return

    async def command(self, line: str, timeout: float | None = None) -> AtResponse:
        return self.answer


@pytest.mark.parametrize("lines", [(), ("+CSIM: 6,9000",), ('+CSIM: 2,"90"',), ("9000",)])
def test_an_answer_without_sense_is_the_devices_fault(lines: tuple[str, ...]) -> None:
    async def main() -> None:
        card = AtCard(_StubModem(AtResponse(lines, "OK")), ListSink())
        await card.connect()
        await card.exchange([STORE], go_on)

    with pytest.raises(ProtocolError, match=r"AT\+CSIM"):
        clock.run_virtual(main())


def test_a_locked_sim_is_told_at_once(scripted_card: CardClass) -> None:
    card = scripted_card()
    execute = card._execute
    card._execute = lambda command: (b"", 0x6982) if command[1] == 0xB0 and card._file == "6F07" else execute(command)
    with pytest.raises(ProtocolError, match=r"wants a secret.*SIM PIN"):
        run("quectel-eg25", card, lambda slot: asyncio.sleep(0))
