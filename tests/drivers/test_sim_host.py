"""Simulated slots as the rack sees them: reader or modem, power, events, the same seed giving the same trace."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from esim_bench import clock, data
from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import ConfigError, TransportError
from esim_bench.events import ApduEvent, AtrEvent, ListSink, PowerEvent
from esim_bench.ports import DriverContext, FormFactor, SlotDriver, SlotHardware
from esim_bench.servers.pki import create_pki, make_eid
from esim_drivers.sim.host import KEYS, driver
from esim_drivers.sim.reader import BOOT_SECONDS, SimReader

CardClass = Callable[[], Any]
ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
GET_EID = bytes.fromhex("80E2910006BF3E035C015A")
SELECT_MF = bytes.fromhex("00A40004023F00")


def go_on(command: bytes, response: bytes) -> bytes | bool:
    return bytes((command[0] & 0x4F, 0xC0, 0, 0, response[-1])) if response[-2] == 0x61 else True


@pytest.fixture(scope="module")
def identity() -> EuiccIdentity:
    randomness = SeededRandomness("host")
    pki = create_pki(randomness, curve=Curve.P256, hosts=["smdp.example.com"], now_ns=clock.VIRTUAL_EPOCH_NS)
    return pki.issue_euicc(make_eid(1), randomness)


def open_slot(
    identity: EuiccIdentity,
    form_factor: str = "4FF",
    module: str | None = None,
    personality: str = "standard",
    state: bytes | None = None,
) -> tuple[SlotHardware, ListSink]:
    sink = ListSink()
    context = DriverContext(
        slot="X1",
        form_factor=FormFactor(form_factor),
        sink=sink,
        rng=random.Random("7:X1"),
        randomness=SeededRandomness("7:X1"),
        dialect=data.module(module) if module else None,
        identity=identity,
        state=state,
    )
    return driver.open_slot({"personality": personality, "profile": None, "rsp": ["sgp22"]}, context), sink


SLOTS = [("4FF", None, "4ff"), ("MFF2", "quectel-eg25", "mff2"), ("iSIM", "sequans-gm02s", "isim")]


async def read_eid(hardware: SlotHardware) -> bytes:
    card = hardware.card
    if card.capabilities.sessions:
        session = await card.open_session(ISD_R)
        done = await card.exchange([GET_EID + b"\0"], go_on, session)
    else:
        select = bytes.fromhex("01A4040010") + ISD_R
        store = b"\x81" + GET_EID[1:] + b"\0"
        done = await card.exchange([bytes.fromhex("0070000001"), select, store], go_on)
    return done[-1].data[-16:]


def test_the_driver_is_a_slot_driver() -> None:
    assert isinstance(driver, SlotDriver)


@pytest.mark.parametrize(("form_factor", "module", "personality"), SLOTS)
def test_each_form_factor_gives_its_eid_before_and_after_a_power_cycle(
    identity: EuiccIdentity, form_factor: str, module: str | None, personality: str
) -> None:
    async def main() -> None:
        hardware, sink = open_slot(identity, form_factor, module, personality)
        await hardware.power.on()
        await hardware.card.connect()
        assert await read_eid(hardware) == identity.eid
        await hardware.power.off()
        with pytest.raises(TransportError):
            await hardware.card.exchange([SELECT_MF], go_on)
        await asyncio.sleep(2)
        await hardware.power.on()
        await hardware.card.connect()
        assert await read_eid(hardware) == identity.eid
        assert await hardware.card.reset() == (b"" if module else hardware.extras["sim"].atr)
        assert await read_eid(hardware) == identity.eid
        await hardware.card.close()
        if hardware.modem:
            await hardware.modem.close()
        actions = [event.action.value for event in sink.events if isinstance(event, PowerEvent)]
        assert actions == (["on", "proof", "off", "proof", "on", "proof"] if module else ["on", "off", "proof", "on"])

    clock.run_virtual(main())


@pytest.mark.parametrize(("form_factor", "module", "personality"), SLOTS)
def test_one_seed_one_trace(identity: EuiccIdentity, form_factor: str, module: str | None, personality: str) -> None:
    async def trace() -> list[Any]:
        hardware, sink = open_slot(identity, form_factor, module, personality)
        await hardware.power.on()
        await hardware.card.connect()
        await read_eid(hardware)
        await hardware.power.off()
        return sink.events

    async def together() -> list[Any]:
        other = asyncio.create_task(trace())
        mine = await trace()
        await other
        return mine

    alone = clock.run_virtual(trace())
    assert alone == clock.run_virtual(trace())
    assert alone == clock.run_virtual(together())


def test_what_the_reader_can_do(identity: EuiccIdentity) -> None:
    capabilities = open_slot(identity, personality="4ff")[0].card.capabilities
    assert (capabilities.resets_card, capabilities.max_data, capabilities.removable) == (True, 255, True)
    assert open_slot(identity, "MFF2", personality="mff2")[0].card.capabilities.removable is False


def test_a_card_goes_on_from_its_snapshot(identity: EuiccIdentity) -> None:
    hardware, _ = open_slot(identity)
    assert hardware.snapshot is not None
    hardware.extras["sim"].nvm.put("test/key", b"kept")
    again, _ = open_slot(identity, state=hardware.snapshot())
    assert again.extras["sim"].nvm.get("test/key") == b"kept"


def test_a_slow_module_is_waited_for(identity: EuiccIdentity) -> None:
    async def main() -> None:
        hardware, _ = open_slot(identity, "iSIM", "sequans-gm02s", "isim")
        await hardware.power.on()
        assert hardware.modem is not None
        await hardware.modem.wait_ready()
        assert 18 < clock.now() < 40

    clock.run_virtual(main())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"personalty": "4ff"}, f"expected one of {', '.join(KEYS)}, found 'personalty'"),
        ({"personality": "nobody"}, "expected one of standard"),
        ({"rsp": "sgp22"}, "a list of sgp22"),
        ({"rsp": ["sgp99"]}, "a list of sgp22"),
    ],
)
def test_an_unusable_table_is_the_operators_mistake(
    identity: EuiccIdentity, spec: dict[str, Any], message: str
) -> None:
    context = DriverContext(
        "X1", FormFactor.FF4, ListSink(), random.Random(1), SeededRandomness("1"), identity=identity
    )
    with pytest.raises(ConfigError) as caught:
        driver.open_slot(spec, context)
    assert message in str(caught.value)


def test_a_simulated_card_needs_an_identity() -> None:
    context = DriverContext("X1", FormFactor.FF4, ListSink(), random.Random(1), SeededRandomness("1"))
    with pytest.raises(ConfigError, match="no identity"):
        driver.open_slot({}, context)


# ---------------------------------------------------------------------------------------------------------- reader


class ReaderSlot:
    def __init__(self, card: Any) -> None:
        self.sim = card
        self.sink = ListSink()
        self.reader = SimReader(card, self.sink, random.Random(1), removable=True)


def test_a_reader_takes_its_time_and_tells_the_atr(scripted_card: CardClass) -> None:
    async def main() -> None:
        slot = ReaderSlot(scripted_card())
        slot.reader.power_on()
        assert await slot.reader.connect() == b"\x3b\x00"
        assert clock.now() > BOOT_SECONDS
        await slot.reader.reset()
        assert [event.cold for event in slot.sink.events if isinstance(event, AtrEvent)] == [True, False]
        began = clock.now()
        (exchange,) = await slot.reader.exchange([SELECT_MF], go_on)
        assert exchange.duration_ns == pytest.approx((clock.now() - began) * 1e9, abs=2)
        assert 0.0108 <= clock.now() - began <= 0.0113
        (event,) = [event for event in slot.sink.events if isinstance(event, ApduEvent)]
        assert (event.command, event.response) == (SELECT_MF, b"\x90\x00")

    clock.run_virtual(main())


def test_power_cut_under_a_command_breaks_it_at_that_instant(scripted_card: CardClass) -> None:
    async def main() -> None:
        card = scripted_card()
        card.seconds = 1.0
        slot = ReaderSlot(card)
        slot.reader.power_on()
        await slot.reader.connect()
        began = clock.now()
        asyncio.get_running_loop().call_later(0.4, slot.reader.power_off)
        with pytest.raises(TransportError, match="lost its power"):
            await slot.reader.exchange([SELECT_MF], go_on)
        assert clock.now() - began == pytest.approx(0.4)
        assert not card.powered
        with pytest.raises(TransportError, match="no reader"):
            await slot.reader.connect()
        slot.reader.power_on()
        with pytest.raises(TransportError, match="not connected"):
            await slot.reader.exchange([SELECT_MF], go_on)
        await slot.reader.connect()
        await slot.reader.exchange([SELECT_MF], go_on)

    clock.run_virtual(main())


def test_a_card_that_dies_while_it_writes_needs_a_new_connection(scripted_card: CardClass) -> None:
    async def main() -> None:
        slot = ReaderSlot(scripted_card())
        slot.reader.power_on()
        await slot.reader.connect()
        slot.sim.dies_at = len(slot.sim.log)
        with pytest.raises(TransportError, match="while it wrote"):
            await slot.reader.exchange([SELECT_MF], go_on)
        with pytest.raises(TransportError, match="connect"):
            await slot.reader.exchange([SELECT_MF], go_on)
        await slot.reader.connect()
        await slot.reader.exchange([SELECT_MF], go_on)

    clock.run_virtual(main())
