"""The AT driver over a real descriptor: a pseudo terminal with a simulated modem at its other end."""

import asyncio
import os
import random
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock, data
from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.errors import ConfigError, InUseError, TransportError
from esim_bench.events import NullSink
from esim_bench.ports import DriverContext, FormFactor, ModemDriver
from esim_drivers.at.driver import driver
from esim_drivers.at.serial_link import SerialLink
from esim_drivers.sim.modem import SimModem
from esim_drivers.usbtree import check_port_name, resolve_port

ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
BOOT_S = 40.0


@pytest.fixture
def pty_pair() -> Iterator[tuple[int, str]]:
    """Return (master, path of the slave)."""
    master, slave = os.openpty()
    tty.setraw(master)
    os.set_blocking(master, False)
    path = os.ttyname(slave)
    os.close(slave)
    yield master, path
    os.close(master)


def context(module: str | None = "sim-generic") -> DriverContext:
    dialect = data.module(module) if module else None
    return DriverContext("B1", FormFactor.MFF2, NullSink(), random.Random(1), SystemRandomness(), dialect=dialect)


def test_a_modem_on_a_pseudo_terminal(pty_pair: tuple[int, str], scripted_card: Callable[[], Any]) -> None:
    master, path = pty_pair
    device = SimModem(data.module("sim-generic"), scripted_card(), rng=random.Random(1), imei="352906110000018")
    device.power_on(-BOOT_S)  # booted long ago
    device.feed(b"", 0.0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()

        def pump(incoming: bytes = b"") -> None:
            for _, piece in device.feed(incoming, loop.time() - began):
                os.write(master, piece)
            if device.deadline is not None:
                loop.call_at(began + device.deadline, pump)

        loop.add_reader(master, lambda: pump(os.read(master, 4096)))
        modem, card = driver.open_modem({"port": path}, context())
        await card.connect()
        assert (await modem.identity())["model"] == "Generic"
        session = await card.open_session(ISD_R)
        (exchange,) = await card.exchange([bytes.fromhex("80E2910003BF3E00")], lambda c, r: True, session)
        assert exchange.response.hex() == "bf3e009000"
        with pytest.raises(InUseError, match="held by"):
            SerialLink(path)
        loop.remove_reader(master)
        await modem.close()

    clock.run_real(asyncio.wait_for(main(), 30))


def test_a_port_that_vanishes_is_told() -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    os.close(slave)

    async def main() -> None:
        link = SerialLink(path)
        lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        link.set_receiver(lambda data: None, lost.set_result)
        os.close(master)
        assert isinstance(await asyncio.wait_for(lost, 5), TransportError)
        with pytest.raises(TransportError, match="closed"):
            link.write(b"AT\r")
        link.close()

    clock.run_real(main())


def test_a_port_that_is_not_there_or_no_port(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(TransportError, match="plugged in"):
            SerialLink(str(tmp_path / "ttyUSB0"))
        (tmp_path / "file").touch()
        with pytest.raises(TransportError, match="not a serial port"):
            SerialLink(str(tmp_path / "file"))

    clock.run_real(main())


def test_a_port_is_found_by_where_it_is_plugged_in(tmp_path: Path) -> None:
    (tmp_path / "1-1.3:1.2" / "ttyUSB7").mkdir(parents=True)
    (tmp_path / "1-1.3:1.4" / "tty" / "ttyACM0").mkdir(parents=True)
    (tmp_path / "1-1.3:1.5").mkdir()
    assert resolve_port("usb:1-1.3:1.2", devices=tmp_path) == "/dev/ttyUSB7"
    assert resolve_port("usb:1-1.3:1.4", devices=tmp_path) == "/dev/ttyACM0"
    assert resolve_port("/dev/ttyS0", devices=tmp_path) == "/dev/ttyS0"
    with pytest.raises(TransportError, match="no tty"):
        resolve_port("usb:1-1.3:1.5", devices=tmp_path)
    with pytest.raises(TransportError, match="no such USB interface"):
        resolve_port("usb:2-1:1.0", devices=tmp_path)


@pytest.mark.parametrize("name", ["ttyUSB0", "usb:1", "", None, 3])
def test_a_bare_index_is_no_name(name: object) -> None:
    with pytest.raises(ConfigError, match="where it is plugged in"):
        check_port_name(name)


def test_the_driver_checks_its_table() -> None:
    assert isinstance(driver, ModemDriver)
    with pytest.raises(ConfigError, match="expected one of port, baud"):
        driver.open_modem({"prot": "/dev/ttyUSB0"}, context())
    with pytest.raises(ConfigError, match="which module"):
        driver.open_modem({"port": "/dev/ttyUSB0"}, context(None))
    with pytest.raises(ConfigError, match="unusable speed"):
        driver.open_modem({"port": "/dev/ttyUSB0", "baud": "fast"}, context())
