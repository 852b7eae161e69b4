"""A simulated modem on a real pty: what the kernel's tty layer makes of it, and the AT driver's way through."""

import asyncio
import contextlib
import fcntl
import os
import termios
from collections.abc import Callable
from typing import Any

import pytest

from esim_bench.errors import TransportError
from esim_drivers.usbtree import resolve_port

ISD_R = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
READ = bytes.fromhex("80E2910003BF3E00")
SWITCH = bytes.fromhex("80E2910003BF3100")


def go_on(command: bytes, response: bytes) -> bool:
    return True


def test_the_driver_reaches_the_card_over_the_kernels_tty(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        assert (await rig.modem.identity())["imei"] == "352906110000018"
        assert await rig.read() == "bf3e009000"

    pty_rig(body)


def test_nothing_comes_late_to_a_port_that_was_closed_meanwhile(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        rig.host.power_on()
        rig.host.skip(60)  # a whole boot, with nobody at the port
        fd = os.open(rig.host.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            with pytest.raises(BlockingIOError):
                os.read(fd, 100)
        finally:
            os.close(fd)

    pty_rig(body, "quectel-eg25", booted=False)


def test_a_port_is_raw_and_free_again_after_a_user_that_left_it_otherwise(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        fd = os.open(rig.host.link, os.O_RDWR | os.O_NOCTTY)
        await rig.until(lambda: rig.host.opened)
        settings = termios.tcgetattr(fd)
        settings[3] |= termios.ECHO | termios.ICANON
        termios.tcsetattr(fd, termios.TCSANOW, settings)
        fcntl.ioctl(fd, termios.TIOCEXCL)
        os.close(fd)
        await rig.until(lambda: not rig.host.opened)
        fd = os.open(rig.host.link, os.O_RDWR | os.O_NOCTTY)
        assert not termios.tcgetattr(fd)[3] & (termios.ECHO | termios.ICANON)
        os.close(fd)
        await rig.card.connect()

    pty_rig(body)


def test_a_power_cut_hangs_up_and_the_link_vanishes(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        asyncio.get_running_loop().call_later(0.5, rig.host.power_off)

        async def use() -> None:
            while True:
                await rig.modem.command("AT+CSQ")

        with pytest.raises(TransportError):
            await use()
        assert not rig.host.link.is_symlink()
        with pytest.raises(TransportError, match="cannot open the serial port"):
            await rig.modem.command("AT")
        rig.host.power_on()
        rig.host.skip(30)
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"

    pty_rig(body)


def test_a_hang_up_in_the_middle_of_an_answer_ends_the_command_at_once(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        rig.device.seconds = 30.0  # the card works for long
        session_task = asyncio.create_task(rig.card.open_session(ISD_R))
        await asyncio.sleep(1)
        before = rig.host.node
        rig.host.hang_up()
        with pytest.raises(TransportError):
            await session_task
        assert rig.host.node not in (before, None)

    pty_rig(body)


def test_a_reset_modem_comes_back_under_a_new_name_behind_the_stable_ones(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        def name() -> str:
            return resolve_port("usb:1-1.3:1.2", devices=rig.bus.devices).removeprefix("/dev/")

        await rig.card.connect()
        node, tty = rig.host.node, name()
        assert os.readlink(rig.host.link) == node == os.readlink(rig.bus.dev / tty)
        await rig.card.reset()
        assert rig.host.node not in (node, None)
        assert os.readlink(rig.host.link) == rig.host.node == os.readlink(rig.bus.dev / name())
        assert name() != tty
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"

    pty_rig(body, sim={"reset": "reboot"}, quirks={"reenumerates": ["reboot"], "away_s": 3.0})


def test_a_refresh_can_take_the_port_with_it(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        node, resets = rig.host.node, rig.device.resets
        session = await rig.card.open_session(ISD_R)
        await rig.card.exchange([SWITCH], go_on, session)
        await rig.until(lambda: rig.host.node is None)
        with pytest.raises(TransportError):
            await rig.card.exchange([READ], go_on, session)
        assert rig.device.resets == resets + 1
        await rig.until(lambda: rig.host.node is not None)
        assert rig.host.node != node
        await rig.card.connect()
        assert await rig.iccid() == "20"
        assert await rig.read() == "bf3e009000"

    pty_rig(body, quirks={"reenumerates": ["refresh"], "away_s": 4.0})


def test_a_usb_modem_is_not_on_its_bus_before_it_is_up(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        rig.host.power_on()
        assert rig.host.node is None
        with pytest.raises(TransportError, match="no such USB interface"):
            resolve_port("usb:1-1.3:1.2", devices=rig.bus.devices)
        await rig.card.connect()
        assert rig.host.node is not None

    pty_rig(body, booted=False, quirks={"reenumerates": ["power"], "away_s": 2.0})


def test_a_modem_powered_down_in_order_says_so_before_it_leaves_the_bus(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        await rig.card.connect()
        dialect = rig.modem.dialect
        assert (await rig.modem.command(dialect.power.down_command)).ok
        await rig.until(lambda: rig.host.node is None)
        await rig.until(lambda: not rig.modem.usable)
        assert rig.heard()[-1] == dialect.power.down_urc == "POWERED DOWN"
        assert rig.host.powered
        assert not rig.sim.running
        assert not rig.device.powered
        rig.host.power_key(0.1)  # too short a pull
        assert not rig.sim.running
        rig.host.power_key(0.6)
        rig.host.skip(60)
        await rig.card.connect()

    power = {"down_command": "AT+QPOWD", "down_urc": "POWERED DOWN", "on_pull_ms": 500, "power_down_s": 60.0}
    pty_rig(body, "quectel-eg25", quirks={"reenumerates": ["reboot"]}, power=power)


def test_a_host_that_does_not_read_loses_lines_but_the_modem_lives(pty_rig: Callable[..., None]) -> None:
    async def body(rig: Any) -> None:
        fd = os.open(rig.host.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            await rig.until(lambda: rig.host.opened)
            for _ in range(4000):
                # What the modem does not take is not taken twice: flow control.
                try:
                    os.write(fd, b"AT+CGMM;+CGMI\rATI\r" * 4)
                except BlockingIOError:
                    await asyncio.sleep(0.05)
                if rig.host.lost:
                    break
                await asyncio.sleep(0.02)
            assert rig.host.lost
        finally:
            os.close(fd)
        await rig.until(lambda: not rig.host.opened)
        await rig.card.connect()
        assert await rig.read() == "bf3e009000"

    pty_rig(body, at={"answer_s": 0.0, "jitter_s": 0.0})


def test_a_host_that_floods_is_held_back_and_loses_nothing(pty_rig: Callable[..., None]) -> None:
    count, line = 800, b"AT" + b"E0" * 60 + b"\r"

    async def body(rig: Any) -> None:
        fd = os.open(rig.host.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            await rig.until(lambda: rig.host.opened)
            os.write(fd, b"ATE0\r")
            await asyncio.sleep(1)
            os.read(fd, 1000)
            left, answer, held, most = line * count, b"", False, 0
            while answer.count(b"OK") < count:
                if left:
                    with contextlib.suppress(BlockingIOError):
                        sent = os.write(fd, left)
                        held = held or sent < len(left)
                        left = left[sent:]
                most = max(most, rig.sim.unread)
                try:
                    answer += os.read(fd, 65536)
                except BlockingIOError:
                    await asyncio.sleep(0.02)
            assert held
            assert 4096 < most < 3 * 4096
            assert answer == b"\r\nOK\r\n" * count
        finally:
            os.close(fd)

    pty_rig(body, at={"answer_s": 0.002, "jitter_s": 0.0})
