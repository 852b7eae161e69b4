"""Power by hub ports: honest hubs, USB 3 pairs, chains, gangs, and the ones that say one thing and do another."""

import asyncio
import errno
import os
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.errors import ConfigError, DeviceTimeout, PowerError, ProtocolError, TransportError
from esim_bench.events import ListSink, NullSink
from esim_bench.ports import DiscoveringDriver, DriverContext, FormFactor, PowerDriver, PowerSwitch, Proof
from esim_bench.rack.power import Evidence, PowerTiming, ProvenPower
from esim_drivers import usb_device
from esim_drivers.sim.usb_backend import FakeDevice, FakeUsb
from esim_drivers.sim.usb_fakes import FakeHub, FakeSocket, bus_of, usb2_hub, usb3_hub
from esim_drivers.usb_hub import driver as module
from esim_drivers.usb_hub.driver import HubPort, UsbHubDriver

FAST = PowerTiming(off_s=0.0, on_s=0.0, proof_timeout_s=0.4, poll_s=0.01, again_s=0.05, settle_s=0.02)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(module, "BACK_SECONDS", 0.05)


def context() -> DriverContext:
    return DriverContext("A1", FormFactor.MFF2, NullSink(), random.Random(0), SystemRandomness())


def modem(path: str = "1-1.2") -> FakeDevice:
    return FakeDevice(path, 0x2C7C, 0x0125, product_name="EG25-G")


def switch(bus: FakeUsb, root: Path, **spec: Any) -> HubPort:
    return UsbHubDriver(bus, root).open_power({"location": "1-1", "port": 2, **spec}, context())


def run(job: Callable[[HubPort], Awaitable[None]], port: HubPort) -> None:
    async def main() -> None:
        try:
            await job(port)
        finally:
            await port.close()

    asyncio.run(main())


async def off_and_on(port: HubPort) -> None:
    await port.off()
    await port.on()


def test_one_port_goes_off_and_on_and_its_neighbours_stay(tmp_path: Path) -> None:
    socket, other = FakeSocket(modem()), FakeSocket(modem("1-1.3"))
    hub = usb2_hub("1-1", {2: socket, 3: other})
    bus = bus_of(hub)

    async def job(port: HubPort) -> None:
        assert isinstance(port, PowerSwitch)
        assert port.proofs == frozenset()
        await port.off()
        assert not socket.vbus
        assert "1-1.2" not in bus
        assert hub.status(2) == 0x0000
        await port.on()
        assert "1-1.2" in bus
        assert hub.status(2) == 0x0503

    run(job, switch(bus, tmp_path))
    assert other.vbus
    assert {entry[4] for entry in bus.log if entry[1] == 0x23} == {2}
    assert hub.open_handles == 0


def test_both_halves_of_a_usb3_hub_are_switched(tmp_path: Path) -> None:
    """The halves are found by their place and maker, for want of the kernel's word."""
    socket = FakeSocket(modem())
    halves = usb2_hub("1-1", {2: socket}), usb3_hub("2-1", {2: socket})
    bus = bus_of(*halves)

    async def job(port: HubPort) -> None:
        await port.off()
        assert not socket.vbus
        assert [half.powered[2] for half in halves] == [False, False]
        await port.on()
        assert socket.vbus

    run(job, switch(bus, tmp_path))


def test_one_half_alone_leaves_vbus_on(tmp_path: Path) -> None:
    socket = FakeSocket(modem())
    bus = bus_of(usb2_hub("1-1", {2: socket}), usb3_hub("2-1", {2: socket}))

    async def job(port: HubPort) -> None:
        await port.off()
        assert socket.vbus

    run(job, switch(bus, tmp_path, pair="none"))


def link_peer(root: Path, port: str, peer: str) -> None:
    folder = root / "bus/usb/devices" / f"{port.rpartition('-port')[0]}:1.0" / port
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peer").symlink_to(f"../../../usb2/2-4/2-4:1.0/{peer}")


def test_the_kernel_knows_the_other_half_better(tmp_path: Path) -> None:
    """Behind some boards the halves hang at different places and even different ports."""
    socket = FakeSocket(modem())
    halves = usb2_hub("1-1", {2: socket}), usb3_hub("2-4", {3: socket})
    link_peer(tmp_path, "1-1-port2", "2-4-port3")

    async def job(port: HubPort) -> None:
        await port.off()
        assert not socket.vbus

    run(job, switch(bus_of(*halves), tmp_path))


def test_two_likely_halves_are_a_question_for_the_operator(tmp_path: Path) -> None:
    socket = FakeSocket(modem())
    bus = bus_of(usb2_hub("1-1", {2: socket}), usb3_hub("2-1", {2: socket}), usb3_hub("4-1", {}))
    with pytest.raises(ConfigError, match=r"which is the other half.*2-1, 4-1"):
        run(off_and_on, switch(bus, tmp_path))
    run(off_and_on, switch(bus, tmp_path, pair="2-1"))


@pytest.mark.parametrize("half", [2, 3])
def test_the_port_that_feeds_the_next_hub_of_a_chain_is_never_switched(tmp_path: Path, half: int) -> None:
    socket = FakeSocket(modem("1-1.3"))
    inner = usb2_hub("1-1.2", {}) if half == 2 else usb3_hub("2-1.2", {})
    bus = bus_of(usb2_hub("1-1", {3: socket}), usb3_hub("2-1", {}), inner)
    with pytest.raises(ConfigError, match="a hub hangs at this port: it is never switched"):
        run(off_and_on, switch(bus, tmp_path))
    run(off_and_on, switch(bus, tmp_path, port=3))
    assert all(entry[4] == 3 for entry in bus.log if entry[1] == 0x23)


def test_a_gang_is_refused_unless_it_is_declared(tmp_path: Path) -> None:
    socket, neighbour = FakeSocket(modem()), FakeSocket(modem("1-1.3"))
    bus = bus_of(usb2_hub("1-1", {2: socket, 3: neighbour}, switching="ganged"))
    with pytest.raises(ConfigError, match=r"all its ports together.*ganged = true"):
        run(off_and_on, switch(bus, tmp_path))
    assert socket.vbus

    async def job(port: HubPort) -> None:
        await port.off()
        assert (socket.vbus, neighbour.vbus) == (False, False)
        await port.on()
        assert (socket.vbus, neighbour.vbus) == (True, True)

    run(job, switch(bus, tmp_path, ganged=True))


def test_a_hub_that_cannot_switch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not switch power"):
        run(off_and_on, switch(bus_of(usb2_hub("1-1", {2: FakeSocket(modem())}, switching="none")), tmp_path))


def test_the_request_is_repeated_while_the_port_says_it_has_power(tmp_path: Path) -> None:
    socket = FakeSocket(modem())
    hub = usb2_hub("1-1", {2: socket}, repowers=2)

    async def job(port: HubPort) -> None:
        await port.off()
        assert not socket.vbus

    bus = bus_of(hub)
    run(job, switch(bus, tmp_path))
    assert len([entry for entry in bus.log if entry[1:3] == (0x23, 1)]) == 3


def test_a_port_that_stays_on_is_an_error(tmp_path: Path) -> None:
    bus = bus_of(usb2_hub("1-1", {2: FakeSocket(modem())}, repowers=1000))
    with pytest.raises(TransportError, match=r"the hub keeps the port on.*found 0503"):
        run(off_and_on, switch(bus, tmp_path))


def test_a_hub_that_lies_is_found_out_by_the_proof(tmp_path: Path) -> None:
    socket = FakeSocket(modem(), lies=True)
    hub = usb2_hub("1-1", {2: socket})
    bus = bus_of(hub)

    async def gone() -> bool:
        return "1-1.2" not in bus

    async def job(port: HubPort) -> None:
        power = ProvenPower(
            port, ListSink(), proof=Proof.USB_GONE, evidence=Evidence(Proof.USB_GONE, gone, "gone"), timing=FAST
        )
        with pytest.raises(PowerError, match="nothing proves that it is"):
            await power.off()
        assert hub.status(2) == 0x0000
        socket.lies = False
        await power.off()

    run(job, switch(bus, tmp_path))


def test_a_port_that_does_not_see_its_device_again_gets_another_cycle(tmp_path: Path) -> None:
    """Port status 0100 instead of 0503: powered, and blind."""
    socket = FakeSocket(modem(), blind=1)
    bus = bus_of(usb2_hub("1-1", {2: socket}))
    run(off_and_on, switch(bus, tmp_path))
    assert "1-1.2" in bus


def test_a_device_that_never_comes_back_is_told(tmp_path: Path) -> None:
    bus = bus_of(usb2_hub("1-1", {2: FakeSocket(modem(), blind=9)}))
    with pytest.raises(TransportError, match=r"did not come back.*0503.*found port status 0100"):
        run(off_and_on, switch(bus, tmp_path))


def test_an_empty_port_need_not_come_back(tmp_path: Path) -> None:
    run(off_and_on, switch(bus_of(usb2_hub("1-1", {2: FakeSocket()})), tmp_path))


# ------------------------------------------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"location": "hub1"}, "location: not a place on a USB bus"),
        ({"port": 0}, "port: expected the number of a port"),
        ({"port": True}, "port"),
        ({"pair": "?"}, "pair"),
        ({"ganged": "yes"}, "ganged"),
        ({"way": "magic"}, "way"),
        ({"ports": 2}, "unknown key"),
    ],
)
def test_wrong_tables(tmp_path: Path, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        switch(FakeUsb(), tmp_path, **spec)


def test_no_such_hub_no_such_port_and_not_a_hub(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="no such hub"):
        run(off_and_on, switch(FakeUsb(), tmp_path))
    with pytest.raises(ConfigError, match="not a hub"):
        run(off_and_on, switch(FakeUsb([modem("1-1")]), tmp_path))
    with pytest.raises(ConfigError, match=r"no such port.*1 to 4.*found 9"):
        run(off_and_on, switch(bus_of(usb2_hub("1-1", {})), tmp_path, port=9))


@pytest.mark.parametrize(
    ("number", "message"), [(errno.EACCES, "no right to open.*hw/udev"), (errno.EBUSY, "held by another program")]
)
def test_a_hub_that_may_not_be_opened(tmp_path: Path, number: int, message: str) -> None:
    hub = usb2_hub("1-1", {2: FakeSocket(modem())})
    hub.denied = number
    with pytest.raises(TransportError, match=message):
        run(off_and_on, switch(bus_of(hub), tmp_path))


def test_a_hub_that_is_plugged_out_and_in_works_again(tmp_path: Path) -> None:
    hub = usb2_hub("1-1", {2: FakeSocket(modem())})
    bus = bus_of(hub)

    async def job(port: HubPort) -> None:
        await port.off()
        bus.unplug("1-1")
        with pytest.raises(TransportError):
            await port.on()
        bus.plug(hub)
        await port.on()

    run(job, switch(bus, tmp_path))


class StrangeHub(FakeHub):
    """A hub whose descriptor is none."""

    def control(self, request_type: int, request: int, value: int, index: int, data: bytes, length: int) -> bytes:
        return b"\x01"


def test_a_strange_hub(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="not a hub descriptor"):
        run(off_and_on, switch(bus_of(StrangeHub("1-1", 1, 1)), tmp_path))


def test_a_hub_that_hangs_is_given_up_and_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    class Hanging(FakeHub):
        stuck = True

        def control(self, request_type: int, request: int, value: int, index: int, data: bytes, length: int) -> bytes:
            if self.stuck:
                release.wait(10)
            return FakeHub.control(self, request_type, request, value, index, data, length)

    monkeypatch.setattr(usb_device, "CALL_SECONDS", 0.05)
    hub = Hanging("1-1", 1, 1, sockets={2: FakeSocket(modem())})
    port = switch(bus_of(hub), tmp_path)

    async def job(port: HubPort) -> None:
        with pytest.raises(DeviceTimeout):
            await port.off()
        hub.stuck = False
        monkeypatch.setattr(usb_device, "CALL_SECONDS", 5.0)
        await port.off()

    run(job, port)
    release.set()


def test_slots_on_one_hub_share_it(tmp_path: Path) -> None:
    hub = usb2_hub("1-1", {2: FakeSocket(modem()), 3: FakeSocket(modem("1-1.3"))})
    driver = UsbHubDriver(bus_of(hub), tmp_path)

    async def main() -> None:
        ports = [driver.open_power({"location": "1-1", "port": number}, context()) for number in (2, 3)]
        await asyncio.gather(*(port.off() for port in ports))
        assert hub.open_handles == 1
        await ports[0].close()
        assert hub.open_handles == 1
        await ports[1].on()
        await ports[1].close()
        assert hub.open_handles == 0
        assert (hub.powered[2], hub.powered[3]) == (False, True)

    asyncio.run(main())


# ----------------------------------------------------------------------------------------------- the kernel's switch


def kernel_port(root: Path, port: str) -> Path:
    folder = root / "bus/usb/devices" / f"{port.rpartition('-port')[0]}:1.0" / port
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "disable").write_text("0\n")
    return folder / "disable"


def test_the_kernels_file_is_preferred_for_both_halves(tmp_path: Path) -> None:
    files = [kernel_port(tmp_path, "1-1-port2"), kernel_port(tmp_path, "2-1-port2")]
    link_peer(tmp_path, "1-1-port2", "2-1-port2")
    bus = bus_of(usb2_hub("1-1", {2: FakeSocket(modem())}))

    async def job(port: HubPort) -> None:
        await port.off()
        assert [file.read_text() for file in files] == ["1", "1"]
        await port.on()
        assert [file.read_text() for file in files] == ["0", "0"]

    run(job, switch(bus, tmp_path))
    assert bus.log == []


def test_the_kernels_file_is_no_use_for_a_gang(tmp_path: Path) -> None:
    file = kernel_port(tmp_path, "1-1-port2")
    socket = FakeSocket(modem())

    async def job(port: HubPort) -> None:
        await port.off()
        assert not socket.vbus

    run(job, switch(bus_of(usb2_hub("1-1", {2: socket}, switching="ganged")), tmp_path, ganged=True))
    assert file.read_text() == "0\n"


def test_the_kernels_file_does_not_switch_a_chain_either(tmp_path: Path) -> None:
    file = kernel_port(tmp_path, "1-1-port2")
    below = tmp_path / "bus/usb/devices/1-1.2"
    below.mkdir()
    (below / "bDeviceClass").write_text("09\n")
    with pytest.raises(ConfigError, match="a hub hangs at this port"):
        run(off_and_on, switch(FakeUsb(), tmp_path))
    assert file.read_text() == "0\n"


def test_without_the_file_or_the_right_the_hub_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"this kernel does not switch the port.*no such file"):
        run(off_and_on, switch(bus_of(usb2_hub("1-1", {})), tmp_path, way="sysfs"))
    kernel_port(tmp_path, "1-1-port2")

    def refuse(path: Path, off: bool) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("esim_drivers.usb_hub.sysfs.write_disable", refuse)
    socket = FakeSocket(modem())
    bus = bus_of(usb2_hub("1-1", {2: socket}))

    async def job(port: HubPort) -> None:
        await port.off()
        assert not socket.vbus

    run(job, switch(bus, tmp_path))
    with pytest.raises(TransportError, match="no right to switch the port"):
        run(off_and_on, switch(bus, tmp_path, way="sysfs"))


def test_a_root_hub_has_its_own_names(tmp_path: Path) -> None:
    folder = tmp_path / "bus/usb/devices/1-0:1.0/usb1-port2"
    folder.mkdir(parents=True)
    (folder / "disable").write_text("0")
    run(off_and_on, switch(FakeUsb(), tmp_path, location="usb1"))


# --------------------------------------------------------------------------------------------------------- discovery


def test_discovery_lists_hubs_and_switches_nothing(tmp_path: Path) -> None:
    denied = usb2_hub("1-3", {})
    denied.denied = errno.EACCES
    bus = bus_of(
        usb2_hub("1-1", {2: FakeSocket(modem())}),
        usb2_hub("1-2", {}, switching="ganged"),
        usb2_hub("1-4", {}, switching="none"),
        denied,
    )
    driver = UsbHubDriver(bus, tmp_path)
    assert isinstance(driver, DiscoveringDriver)
    assert isinstance(driver, PowerDriver)
    found = {one.usb: one for one in asyncio.run(driver.discover())}
    assert sorted(str(path) for path in found) == ["1-1", "1-2", "1-3"]
    assert dict(found["1-1"].table) == {"driver": "usb-hub", "location": "1-1", "port": 1}
    assert found["1-1"].details == {"usb": "2", "ports": "4", "switching": "each port alone", "used": "2"}
    assert "together" in str(found["1-2"].trouble)
    assert "no right" in str(found["1-3"].trouble)
    assert {entry[1] for entry in bus.log} == {0xA0}
