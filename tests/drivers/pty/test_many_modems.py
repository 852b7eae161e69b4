"""Sixty-four modems on ptys of one loop, all spoken to at once: nothing is lost, nothing goes to another one."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esim_bench import clock, data
from esim_bench.events import NullSink
from esim_drivers.at import AtCard, AtModem
from esim_drivers.at.serial_link import SerialLink
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.pty_host import PtyModem
from esim_drivers.sim.pty_watch import OpenWatch

MODEMS = 64
ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
SHORT = bytes.fromhex("80E2910004BF3E")


def test_sixty_four_modems_at_once(tmp_path: Path, scripted_card: Callable[[], Any]) -> None:
    names = ("sim-generic", "quectel-eg25", "fibocom-fm350-gl", "sierra-mc7455")

    async def use(number: int, folder: Path) -> None:
        modem = AtModem(lambda: SerialLink(str(folder / str(number))), data.module(names[number % 4]), NullSink())
        card = AtCard(modem, NullSink())
        await card.connect()
        session = await card.open_session(ISD_R)
        for turn in range(10):
            command = SHORT + bytes((number, turn))
            (exchange,) = await card.exchange([command], lambda c, r: True, session)
            assert exchange.response == command[5:] + b"\x90\x00"
        assert (await modem.identity())["imei"] == f"35290611{number:07d}"
        await modem.close()

    async def main() -> None:
        watch = OpenWatch()
        hosts = []
        for number in range(MODEMS):
            dialect = data.module(names[number % 4])
            imei = f"35290611{number:07d}"
            modem = SimModem(dialect, scripted_card(), rng=random.Random(number), imei=imei)
            hosts.append(PtyModem(modem, tmp_path / str(number), watch))
            hosts[-1].power_on()
            hosts[-1].skip(120)
        await asyncio.gather(*(use(number, tmp_path) for number in range(MODEMS)))
        assert sum(host.lost for host in hosts) == 0
        for host in hosts:
            host.close()
        watch.close()

    clock.run_scaled(main(), 5.0)
    assert not list(tmp_path.iterdir())
