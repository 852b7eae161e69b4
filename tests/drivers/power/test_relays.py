"""Relay boards on USB and on serial ports, and multiplexers made of them: also the ones that stick, or say nothing."""

import asyncio
import contextlib
import errno
import os
import pty
import random
import tty
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.errors import ConfigError, DeviceTimeout, TransportError
from esim_bench.events import NullSink
from esim_bench.ports import DiscoveringDriver, DriverContext, FormFactor, PowerDriver, PowerSwitch
from esim_drivers.relay import board as relay_board
from esim_drivers.relay.hid import HidRelayDriver
from esim_drivers.relay.lcus import LcusDriver, command
from esim_drivers.relay.mux import MuxDriver
from esim_drivers.sim.usb_backend import FakeDevice, FakeUsb
from esim_drivers.sim.usb_fakes import FakeRelay, usb_relay

Job = Callable[[Any], Awaitable[None]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_board, "SETTLE_SECONDS", 0.001)


def context() -> DriverContext:
    return DriverContext("A1", FormFactor.FF4, NullSink(), random.Random(0), SystemRandomness())


def run(switch: PowerSwitch, job: Job | None = None) -> None:
    async def main() -> None:
        try:
            await (job or off_and_on)(switch)
        finally:
            await switch.close()

    asyncio.run(main())


async def off_and_on(switch: PowerSwitch) -> None:
    await switch.off()
    await switch.on()


def hid_switch(bus: FakeUsb, **spec: Any) -> PowerSwitch:
    return HidRelayDriver(bus).open_power({"channel": 1, **spec}, context())


def clone(path: str, **more: Any) -> FakeRelay:
    return FakeRelay(path, 0x5131, 0x2007, product_name="HIDRelay", kind="ucreate", **more)


# ----------------------------------------------------------------------------------------------------------- HID boards


def test_one_channel_of_a_board_named_by_its_serial() -> None:
    boards = [usb_relay("1-1.3", board_serial="AAAAA"), usb_relay("1-1.4", board_serial="BITFT")]

    async def job(switch: PowerSwitch) -> None:
        await switch.on()
        assert [board.coils for board in boards] == [{1: False, 2: False}, {1: True, 2: False}]
        await switch.off()
        assert boards[1].coils == {1: False, 2: False}

    run(hid_switch(FakeUsb(boards), serial="BITFT"), job)
    assert [board.open_handles for board in boards] == [0, 0]
    assert [board.detached for board in boards] == [set(), set()]


def test_power_through_the_contact_that_opens() -> None:
    board = usb_relay("1-1.3")

    async def job(switch: PowerSwitch) -> None:
        await switch.off()
        assert board.coils[2]
        await switch.on()
        assert not board.coils[2]

    run(hid_switch(FakeUsb([board]), channel=2, wiring="NC"), job)


def test_boards_without_a_serial_are_named_by_their_place() -> None:
    boards = [usb_relay("1-1.3", board_serial=""), usb_relay("1-1.4", board_serial="")]
    bus = FakeUsb(boards)
    with pytest.raises(
        TransportError, match=r"which relay board\?.*1-1.3 \(no serial\), 1-1.4 \(no serial\).*location"
    ):
        run(hid_switch(bus))
    with pytest.raises(TransportError, match="no such relay board"):
        run(hid_switch(bus, serial="BITFT"))

    async def job(switch: PowerSwitch) -> None:
        await switch.on()
        assert [board.coils[1] for board in boards] == [False, True]

    run(hid_switch(bus, location="1-1.4"), job)


@pytest.mark.parametrize(("vendor", "product"), [(0x5131, 0x2007), (0x0519, 0x2018)])
def test_clones_have_other_commands_and_tell_nothing(vendor: int, product: int) -> None:
    board = FakeRelay("1-1.4", vendor, product, product_name="HIDRelay", kind="ucreate")

    async def job(switch: PowerSwitch) -> None:
        await switch.on()
        assert board.coils == {1: False, 2: True}
        await switch.off()
        assert board.coils == {1: False, 2: False}

    run(hid_switch(FakeUsb([board]), channel=2), job)


def test_the_protocol_of_a_clone_can_be_said() -> None:
    board = FakeRelay("1-1.4", 0x0519, 0x2018, product_name="", kind="usbrelay")

    async def job(switch: PowerSwitch) -> None:
        await switch.on()
        assert board.coils[1]

    run(hid_switch(FakeUsb([board]), protocol="usbrelay"), job)


def test_a_relay_that_sticks_is_told_where_the_board_sees_it() -> None:
    board = usb_relay("1-1.4", sticky=frozenset({1}))

    async def job(switch: PowerSwitch) -> None:
        await switch.on()
        with pytest.raises(TransportError, match=r"a relay sticks: expected at rest, found energised \(welded"):
            await switch.off()

    run(hid_switch(FakeUsb([board])), job)


def test_a_relay_that_sticks_unseen_is_left_to_the_proof() -> None:
    board = usb_relay("1-1.4", sticky=frozenset({1}), honest=False)

    async def job(switch: PowerSwitch) -> None:
        await switch.off()
        assert board.closed(1)
        assert switch.proofs == frozenset()

    run(hid_switch(FakeUsb([board])), job)


def test_a_board_that_vanishes_and_one_that_may_not_be_opened() -> None:
    board = usb_relay("1-1.4")
    bus = FakeUsb([board])

    async def job(switch: PowerSwitch) -> None:
        await switch.on()
        bus.unplug("1-1.4")
        with pytest.raises(TransportError, match="vanished"):
            await switch.off()
        with pytest.raises(TransportError, match="no such relay board"):
            await switch.off()
        bus.plug(board)
        await switch.off()

    run(hid_switch(bus), job)
    board.denied = errno.EACCES
    with pytest.raises(TransportError, match=r"no right to open.*hw/udev"):
        run(hid_switch(bus, location="1-1.4"))


def test_wrong_tables_and_wrong_channels() -> None:
    bus = FakeUsb([usb_relay("1-1.4")])
    for spec, message in (
        ({"channel": 0}, "channel"),
        ({"wiring": "maybe"}, "wiring"),
        ({"protocol": "x"}, "protocol"),
        ({"serial": ""}, "serial"),
        ({"location": "x"}, "location"),
        ({"relay": 1}, "unknown key"),
    ):
        with pytest.raises(ConfigError, match=message):
            hid_switch(bus, **spec)
    with pytest.raises(ConfigError, match=r"no such relay.*1 to 2.*found 3"):
        run(hid_switch(bus, channel=3))


def test_discovery_finds_boards_and_switches_none() -> None:
    denied = clone("1-1.6")
    bus = FakeUsb(
        [
            usb_relay("1-1.4"),
            usb_relay("1-1.5", board_serial="", channels=4),
            denied,
            FakeDevice("1-2", 0x16C0, 0x05DF, product_name="A hobbyist's joystick"),
        ]
    )
    driver = HidRelayDriver(bus)
    assert isinstance(driver, DiscoveringDriver)
    assert isinstance(driver, PowerDriver)
    found = asyncio.run(driver.discover())
    assert [dict(one.table) for one in found] == [
        {"driver": "relay-hid", "channel": 1, "serial": "BITFT"},
        {"driver": "relay-hid", "channel": 1, "location": "1-1.5"},
        {"driver": "relay-hid", "channel": 1, "location": "1-1.6"},
    ]
    assert found[1].details == {"protocol": "usbrelay", "channels": "4", "energised": "none"}
    assert not any(entry[1] == 0x20 for entry in bus.log)


# -------------------------------------------------------------------------------------------------------- serial boards


class Board:
    """What is at the other end of a serial port: it answers by a function."""

    def __init__(self, answer: Callable[[bytes], bytes] = lambda data: b"") -> None:
        self.fd, slave = pty.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave = slave
        self.heard = b""
        self.answer = answer
        self.more = asyncio.Event()

    def attach(self) -> None:
        asyncio.get_running_loop().add_reader(self.fd, self._readable)

    def _readable(self) -> None:
        data = os.read(self.fd, 4096)
        self.heard += data
        self.more.set()
        os.write(self.fd, self.answer(data))

    def close(self) -> None:
        for fd in (self.fd, self._slave):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def port() -> Iterator[Callable[..., Board]]:
    boards: list[Board] = []

    def make(*arguments: Any) -> Board:
        boards.append(Board(*arguments))
        return boards[-1]

    yield make
    for board in boards:
        board.close()


def test_the_lcus_command_ends_with_the_sum() -> None:
    assert command(1, True) == bytes.fromhex("A00101A2")
    assert command(2, False) == bytes.fromhex("A00200A2")


async def heard(board: Board, size: int) -> bytes:
    async with asyncio.timeout(2):
        while len(board.heard) < size:
            board.more.clear()
            await board.more.wait()
    return board.heard


def test_an_lcus_board_on_a_serial_port(port: Callable[..., Board]) -> None:
    board = port()

    async def job(switch: PowerSwitch) -> None:
        board.attach()
        await switch.off()
        await switch.on()
        assert await heard(board, 8) == command(3, False) + command(3, True)

    run(LcusDriver().open_power({"port": board.path, "channel": 3}, context()), job)


def test_an_lcus_board_that_tells_its_states_may_show_a_sticky_relay(port: Callable[..., Board]) -> None:
    board = port(lambda data: b"CH1: ON\r\nCH2: OFF\r\n" if data.endswith(b"\xff") else b"")

    async def job(switch: PowerSwitch) -> None:
        board.attach()
        await switch.on()
        with pytest.raises(TransportError, match="a relay sticks"):
            await switch.off()

    run(LcusDriver().open_power({"port": board.path, "channel": 1, "status": True}, context()), job)


def test_an_lcus_board_that_tells_nothing_though_it_should(
    port: Callable[..., Board], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esim_drivers.relay.lcus.STATUS_SECONDS", 0.05)
    board = port()

    async def job(switch: PowerSwitch) -> None:
        board.attach()
        with pytest.raises(DeviceTimeout, match="does not tell its states"):
            await switch.on()

    run(LcusDriver().open_power({"port": board.path, "channel": 1, "status": True}, context()), job)


def test_two_slots_share_a_board_on_one_port(port: Callable[..., Board]) -> None:
    board = port()
    driver = LcusDriver()

    async def main() -> None:
        board.attach()
        switches = [driver.open_power({"port": board.path, "channel": n}, context()) for n in (1, 2)]
        await asyncio.gather(*(switch.off() for switch in switches))
        await switches[0].close()
        await switches[1].on()
        assert await heard(board, 12) == command(1, False) + command(2, False) + command(2, True)
        await switches[1].close()

    asyncio.run(main())


def test_a_port_that_is_not_there() -> None:
    with pytest.raises(TransportError, match="cannot open the serial port"):
        run(LcusDriver().open_power({"port": "/dev/ttyNOTHERE", "channel": 1}, context()))
    with pytest.raises(ConfigError, match="name of a serial port"):
        LcusDriver().open_power({"port": "COM3", "channel": 1}, context())


# --------------------------------------------------------------------------------------------------------- multiplexers


def mux(spec: dict[str, Any]) -> PowerSwitch:
    return MuxDriver().open_power(spec, context())


def test_a_multiplexer_by_commands_with_answers(port: Callable[..., Board]) -> None:
    lane = b"0"

    def answer(data: bytes) -> bytes:
        nonlocal lane
        if data.startswith(b"SEL?"):
            return lane + b"\r\n"
        lane = data[4:5]
        return b"OK\r\n"

    board = port(answer)
    table = {
        "port": board.path,
        "on": ["SEL 3\r"],
        "off": "SEL 0\r",
        "answer": "OK",
        "pause_s": 0,
        "query": "SEL?\r",
        "query_on": "^3",
        "query_off": "^0",
    }

    async def job(switch: PowerSwitch) -> None:
        board.attach()
        await switch.on()
        assert lane == b"3"
        await switch.off()
        assert lane == b"0"
        board.answer = lambda data: b"OK\r\n" if b"?" not in data else b"3\r\n"
        with pytest.raises(TransportError, match="did not switch"):
            await switch.off()
        board.answer = lambda data: b"ERR\r\n"
        with pytest.raises(DeviceTimeout, match=r"found b'ERR"):
            await switch.off()

    run(mux({**table, "answer_s": 0.2}), job)


def test_a_multiplexer_by_bytes_alone(port: Callable[..., Board]) -> None:
    board = port()

    async def job(switch: PowerSwitch) -> None:
        board.attach()
        await switch.on()
        await switch.off()
        assert await heard(board, 3) == bytes.fromhex("01F000")

    run(mux({"port": board.path, "on": ["hex:01", "hex:F0"], "off": ["hex:00"], "pause_s": 0.01}), job)


def test_a_multiplexer_of_relays_breaks_before_it_makes() -> None:
    board = usb_relay("1-1.4", channels=4)
    order: list[tuple[int, bool]] = []
    board.on_contact = lambda channel, closed: order.append((channel, closed))
    spec = {"relay": {"driver": "relay-hid", "serial": "BITFT"}, "channels": [1, 2, 3], "on": [1, 3], "off": [2]}
    switch = MuxDriver({"relay-hid": HidRelayDriver(FakeUsb([board]))}).open_power(spec, context())

    async def job(switch: PowerSwitch) -> None:
        await switch.off()
        assert board.coils == {1: False, 2: True, 3: False, 4: False}
        order.clear()
        await switch.on()
        assert board.coils == {1: True, 2: False, 3: True, 4: False}
        assert order[0] == (2, False)

    run(switch, job)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "name of a serial port"),
        ({"port": "/dev/ttyS0"}, "on: expected a command"),
        ({"port": "/dev/ttyS0", "on": "1", "off": "hex:0"}, "off: expected text"),
        ({"port": "/dev/ttyS0", "on": "1", "off": "0", "answer": "("}, "regular expression"),
        ({"port": "/dev/ttyS0", "on": "1", "off": "0", "query_on": "1"}, "need a query"),
        ({"port": "/dev/ttyS0", "on": "1", "off": "0", "pause_s": -1}, "pause_s"),
        ({"port": "/dev/ttyS0", "on": "1", "off": "0", "select": 1}, "unknown key"),
        ({"relay": {"driver": "usb-hub"}}, "relay: expected a table with driver"),
        ({"relay": {"driver": "relay-hid", "speed": 1}}, "unknown key"),
        ({"relay": {"driver": "relay-hid"}, "channels": [1]}, "on: expected numbers"),
        ({"relay": {"driver": "relay-hid"}, "channels": [1], "on": [2]}, "on: expected some of channels"),
        ({"relay": {"driver": "relay-hid"}, "channels": [1], "on": [1], "off": [1]}, "on and off are the same"),
    ],
)
def test_wrong_tables_of_multiplexers(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mux(spec)
