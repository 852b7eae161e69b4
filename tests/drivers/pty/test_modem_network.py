"""A simulated modem's network and pins: registration, signal, operator configurations; PWRKEY and RESET."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Literal

import pytest

from esim_bench import clock, data
from esim_bench.errors import DeviceTimeout, TransportError
from esim_bench.events import NullSink
from esim_drivers.at import AtModem
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.wire import Wire

Run = Callable[..., None]


async def registration(rig: Any) -> str:
    return (await rig.modem.command("AT+CEREG?")).lines[0]


def test_registration_follows_the_sim_and_roams_for_a_foreign_imsi(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        assert (await rig.modem.command("AT+CEREG=1")).ok
        await asyncio.sleep(10)
        assert await registration(rig) == "+CEREG: 1,5"
        assert (await rig.modem.command("AT+CSQ")).lines[0].startswith("+CSQ: ")
        assert (await rig.modem.command("AT+CESQ")).lines[0].count(",") == 5
        assert (await rig.modem.command("AT+COPS?")).lines == ('+COPS: 0,2,"00101",7',)
        await rig.modem.command("AT+CFUN=4")
        assert await registration(rig) == "+CEREG: 1,0"
        assert (await rig.modem.command("AT+CSQ")).lines == ("+CSQ: 99,99",)
        await rig.modem.command("AT+CFUN=1")
        assert await registration(rig) == "+CEREG: 1,2"
        await asyncio.sleep(10)
        assert await registration(rig) == "+CEREG: 1,5"
        assert [line for line in rig.heard() if "CEREG" in line] == ["+CEREG: 0", "+CEREG: 5"]

    modem_rig(body, network={"register_s": 4.0})


def test_a_home_network(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        assert await registration(rig) == "+CEREG: 0,1"

    modem_rig(body, network={"plmn": "26202"})


def test_an_old_operators_configuration_keeps_the_modem_out_until_it_is_replaced(modem_rig: Run) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        await asyncio.sleep(5)
        assert await registration(rig) == "+CEREG: 0,2"
        assert "OpenMkt-Commercial-CMCC" in (await rig.modem.command('AT+QMBNCFG="List"')).lines[0]
        for line in ('AT+QMBNCFG="AutoSel",0', 'AT+QMBNCFG="Deactivate"', 'AT+QMBNCFG="Select","ROW_Generic_3GPP"'):
            assert (await rig.modem.command(line)).ok
        await asyncio.sleep(5)
        assert await registration(rig) == "+CEREG: 0,2"
        await rig.modem.command("AT+CFUN=1,1")
        await asyncio.sleep(1)
        await rig.card.connect()
        await asyncio.sleep(3)
        assert await registration(rig) == "+CEREG: 0,5"

    modem_rig(body, quirks={"mbn": "OpenMkt-Commercial-CMCC"}, network={"register_s": 2.0})


def test_dtr_and_rts_pull_power_key_and_reset(scripted_card: Callable[[], Any]) -> None:
    row = data.module("ublox-sara-r5")
    times = row.power
    assert times.on_pull_ms is not None
    assert times.off_pull_ms is not None
    assert times.reset_hold_ms is not None

    async def pull(modem: AtModem, line: Literal["dtr", "rts"], seconds: float) -> None:
        modem.set_line(line, True)
        await asyncio.sleep(seconds)
        modem.set_line(line, False)

    async def main() -> None:
        sim = SimModem(row, scripted_card(), rng=random.Random(1), imei="352906110000018")
        wire = Wire(sim, lambda: None)
        modem = AtModem(wire.open, row, NullSink())
        wire.power_on()
        with pytest.raises(TransportError, match="no control lines"):
            await pull(modem, "dtr", 1.0)
        wire.pins.update({"dtr": "power_key", "rts": "reset"})
        await modem.wait_ready()
        await pull(modem, "dtr", times.off_pull_ms / 2000)
        await asyncio.sleep(60)
        assert sim.running
        await pull(modem, "dtr", times.off_pull_ms / 1000)
        await asyncio.sleep(60)
        assert not sim.running
        with pytest.raises(DeviceTimeout):
            await modem.command("AT", 5.0)
        await pull(modem, "dtr", times.on_pull_ms / 1000)
        await modem.wait_ready()
        starts = sim.sim.terminal.iccid
        assert (await modem.command("AT+CFUN=4")).ok
        await pull(modem, "rts", times.reset_hold_ms / 1000)
        await modem.wait_ready()
        assert (await modem.command("AT+CFUN?")).lines == ("+CFUN: 1",)
        assert sim.sim.terminal.iccid == starts
        await modem.close()

    clock.run_virtual(main())
