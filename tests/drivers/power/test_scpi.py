"""Bench supplies by SCPI, over PyVISA's simulated instruments: switched, measured, ramped, browned out."""

import asyncio
import contextlib
import itertools
import random
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock
from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.errors import ConfigError, DeviceTimeout, PowerError, ProtocolError, TransportError
from esim_bench.events import ListSink, PowerEvent, SampleEvent
from esim_bench.ports import DriverContext, FormFactor, ObserverDriver, PowerDriver, Proof, Supply
from esim_bench.rack.power import PowerTiming, ProvenPower, evidence_of
from esim_drivers.scpi import visa
from esim_drivers.scpi.driver import ScpiDriver
from esim_drivers.scpi.supply import ScpiSupply, SupplySettings
from esim_drivers.sim.usb_backend import FakeDevice, FakeInterface, FakeUsb

YAML = Path(__file__).with_name("supply.yaml")
RESOURCE = "TCPIP::single::INSTR"
Job = Callable[[Any], Awaitable[None]]


def context(sink: ListSink | None = None) -> DriverContext:
    return DriverContext("A1", FormFactor.MFF2, sink or ListSink(), random.Random(0), SystemRandomness())


def table(resource: str = RESOURCE, **more: Any) -> dict[str, Any]:
    return {"resource": resource, "library": f"{YAML}@sim", **more}


def supply(**more: Any) -> ScpiSupply:
    return ScpiDriver().open_power(table(**more), context())


def run(one: ScpiSupply, job: Job) -> None:
    async def main() -> None:
        try:
            await one._do("TEST:CURR", "0.12")
            await job(one)
        finally:
            await one.close()

    asyncio.run(main())


def test_the_output_goes_on_with_voltage_and_limit_and_off() -> None:
    async def job(one: ScpiSupply) -> None:
        assert isinstance(one, Supply)
        await one.on()
        assert await one._ask("OUTP?") == "ON"
        assert (await one._ask("VOLT?"), await one._ask("CURR?")) == ("3.800", "2.000")
        assert await one.measure() == (0.12, 3.79)
        await one.off()
        assert await one._ask("OUTP?") == "OFF"

    run(supply(volts=3.8, amps=2.0), job)


def test_a_current_that_is_gone_is_a_proof_and_one_that_stays_is_none() -> None:
    timing = PowerTiming(off_s=0, on_s=0, proof_timeout_s=0.3, poll_s=0.01, again_s=0.1, settle_s=0.02)

    async def job(one: ScpiSupply) -> None:
        assert one.proofs == {Proof.CURRENT_BELOW}
        sink = ListSink()
        evidence = evidence_of(Proof.CURRENT_BELOW, one, None)  # type: ignore[arg-type]
        power = ProvenPower(one, sink, proof=Proof.CURRENT_BELOW, evidence=evidence, timing=timing)
        await power.on()
        with pytest.raises(PowerError, match="nothing proves that it is"):
            await power.off()
        asyncio.get_running_loop().call_later(0.1, lambda: tasks.append(asyncio.ensure_future(unload(one))))
        tasks: list[asyncio.Future[None]] = []
        await power.off()
        await asyncio.gather(*tasks)
        last = sink.events[-1]
        assert isinstance(last, PowerEvent)
        assert last.detail.startswith("the current is below that of a living device after")

    async def unload(one: ScpiSupply) -> None:
        await one._do("TEST:CURR", "0.0001")

    run(supply(volts=3.8), job)


def test_a_supply_without_a_meter_proves_nothing() -> None:
    async def job(one: ScpiSupply) -> None:
        assert one.proofs == frozenset()
        with pytest.raises(ConfigError, match="cannot prove"):
            await one.is_off(Proof.CURRENT_BELOW)

    run(supply(meter=False), job)


class Recorder:
    """An instrument that takes everything and remembers when."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, str]] = []
        self.answers = {"VOLT?": "3.8", "OUTP?": "1"}

    async def do(self, commands: list[str]) -> None:
        self.sent += [(clock.now(), command) for command in commands]

    async def ask(self, question: str, before: tuple[str, ...] = ()) -> str:
        return self.answers[question]


def recorded(**more: Any) -> tuple[ScpiSupply, Recorder]:
    recorder = Recorder()

    async def release() -> None:
        pass

    settings = SupplySettings.read(table(**more), "test")
    return ScpiSupply(settings, lambda: recorder, release), recorder  # type: ignore[arg-type,return-value]


def volts(recorder: Recorder) -> list[tuple[float, float]]:
    return [(round(at, 3), float(command.split()[1])) for at, command in recorder.sent if command.startswith("VOLT")]


def test_a_ramp_takes_its_time_in_small_steps() -> None:
    one, recorder = recorded(volts=3.8)
    clock.run_virtual(one.ramp(3.8, 0.0, 2.0))
    found = volts(recorder)
    assert (found[0], found[-1]) == ((0.0, 3.8), (2.0, 0.0))
    assert len(found) == 41
    steps = [before - after for (_, before), (_, after) in itertools.pairwise(found)]
    assert max(steps) <= 0.1
    assert min(steps) > 0


def test_power_by_ramps() -> None:
    one, recorder = recorded(volts=3.8, ramp_on_s=0.5, ramp_off_s=1.0)

    async def main() -> None:
        await one.on()
        assert clock.now() == pytest.approx(0.5)
        recorder.answers["OUTP?"] = "0"
        await one.off()
        assert clock.now() == pytest.approx(1.5)

    clock.run_virtual(main())
    commands = [command for _, command in recorder.sent]
    assert commands[:2] == ["VOLT 0", "OUTP ON"]
    assert commands[-2:] == ["VOLT 0", "OUTP OFF"]


def test_a_brown_out_restores_what_was() -> None:
    one, recorder = recorded(volts=3.8)
    clock.run_virtual(one.brown_out(2.6, 0.25))
    assert volts(recorder) == [(0.0, 2.6), (0.25, 3.8)]


def test_a_brown_out_that_is_cancelled_restores_too() -> None:
    one, recorder = recorded(volts=3.8)

    async def main() -> None:
        task = asyncio.create_task(one.brown_out(2.6, 100.0))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    clock.run_virtual(main())
    assert volts(recorder)[-1] == (1.0, 3.8)


def test_no_voltage_beyond_the_limit_of_the_slot() -> None:
    one, recorder = recorded(volts=3.8, max_volts=4.2)
    for job in (one.set_voltage(12.0), one.ramp(3.8, 5.0, 1.0), one.brown_out(-1.0, 1.0)):
        with pytest.raises(PowerError, match="beyond the limit"):
            clock.run_virtual(job)
    assert recorder.sent == []


@pytest.mark.parametrize(
    ("channels", "switched", "question"),
    [
        ("select", ["INST:NSEL 2", "OUTP ON"], (("INST:NSEL 2",), "MEAS:CURR?")),
        ("list", ["OUTP ON,(@2)"], ((), "MEAS:CURR? (@2)")),
        ("name", ["OUTP CH2,ON"], ((), "MEAS:CURR? CH2")),
    ],
)
def test_channels_are_named_in_the_supplys_own_way(channels: str, switched: list[str], question: Any) -> None:
    one, _ = recorded(channel=2, channels=channels)
    assert list(one.commands("OUTP", "ON")) == switched
    before, text = one.question("MEAS:CURR?")
    assert (tuple(before), text) == question


def test_an_output_that_does_not_switch_is_told() -> None:
    one, recorder = recorded()
    recorder.answers["OUTP?"] = "0"
    with pytest.raises(PowerError, match="does not switch: expected ON, found 0"):
        clock.run_virtual(one.on())


@pytest.mark.parametrize("answer", ["9.9E37", "nan", "over", ""])
def test_what_is_no_measurement(answer: str) -> None:
    one, recorder = recorded()
    recorder.answers["MEAS:CURR?"] = answer
    with pytest.raises(ProtocolError, match="not a measurement"):
        clock.run_virtual(one.measure_current())


def test_measurements_may_have_a_unit() -> None:
    one, recorder = recorded()
    recorder.answers["MEAS:CURR?"] = "+1.25E-2A"
    assert clock.run_virtual(one.measure_current()) == 0.0125


# ------------------------------------------------------------------------------------------------- what can go wrong


def test_refused_commands_are_told_and_the_queue_is_drained() -> None:
    async def job(one: ScpiSupply) -> None:
        with pytest.raises(PowerError, match=r"refuses a command: expected VOLT 38, found -113"):
            await one.set_voltage(38)
        await one.set_voltage(3.3)

    run(supply(), job)


def refused(resource: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visa, "ANSWER_MS", 50)

    async def main() -> None:
        one = supply(resource=resource)
        try:
            with pytest.raises(error, match=message):
                await one.on()
        finally:
            await one.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("resource", "error", "message"),
    [
        ("TCPIP::broken::INSTR", ProtocolError, "error queue has no end: found -310"),
        ("TCPIP::mute::INSTR", DeviceTimeout, "the supply does not answer"),
        ("nonsense::x", ConfigError, "not the name of an instrument"),
    ],
)
def test_instruments_that_are_none(
    resource: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(resource, error, message, monkeypatch)


class SocketSupply:
    """A supply on a TCP port of loopback, in threads: what it gives depends on its output."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.on = False
        self.mute = False
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                self.connections.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rw", newline="\n") as lines:
            for line in lines:
                answer = self._answer(line.strip())
                if answer is not None and not self.mute:
                    lines.write(answer + "\n")
                    lines.flush()

    def _answer(self, line: str) -> str | None:
        match line:
            case "*IDN?":
                return "BENCH,SOCKET,0,1"
            case "SYST:ERR?":
                return '0,"No error"'
            case "OUTP ON" | "OUTP OFF":
                self.on = line == "OUTP ON"
                return None
            case "OUTP?":
                return str(int(self.on))
            case "MEAS:CURR?":
                return "1.1E-1" if self.on else "2.0E-5"
        return None

    def drop(self) -> None:
        while self.connections:
            with contextlib.suppress(OSError):
                self.connections.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.drop()


@pytest.fixture
def socket_supply() -> Iterator[SocketSupply]:
    one = SocketSupply()
    yield one
    one.close()


def over_socket(one: SocketSupply) -> ScpiSupply:
    return ScpiDriver().open_power({"resource": f"TCPIP::127.0.0.1::{one.port}::SOCKET"}, context())


def test_a_supply_on_a_socket_by_the_pure_python_library(socket_supply: SocketSupply) -> None:
    async def main() -> None:
        one = over_socket(socket_supply)
        await one.on()
        assert not await one.is_off(Proof.CURRENT_BELOW)
        await one.off()
        assert await one.is_off(Proof.CURRENT_BELOW)
        await one.close()

    asyncio.run(main())
    assert not socket_supply.on


def test_a_supply_that_falls_silent_or_drops_the_line_is_opened_anew(
    socket_supply: SocketSupply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visa, "ANSWER_MS", 100)

    async def main() -> None:
        one = over_socket(socket_supply)
        await one.on()
        socket_supply.mute = True
        with pytest.raises(DeviceTimeout, match="the supply does not answer"):
            await one.measure_current()
        socket_supply.mute = False
        assert await one.measure_current() == 0.11
        socket_supply.drop()
        with pytest.raises((TransportError, DeviceTimeout)):
            await one.measure_current()
        assert await one.measure_current() == 0.11
        await one.close()

    asyncio.run(main())


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the pure-Python library: a port of loopback where nobody listens."""

    async def main() -> None:
        one = ScpiDriver().open_power({"resource": "TCPIP::127.0.0.1::9::SOCKET"}, context())
        try:
            with pytest.raises((TransportError, DeviceTimeout, ConfigError)) as refused:
                await one.on()
            assert "127.0.0.1" in str(refused.value)
        finally:
            await one.close()

    monkeypatch.setattr(visa, "ANSWER_MS", 200)
    asyncio.run(main())


def test_a_library_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="PyVISA has no library"):
        visa.resource_manager("@nothere")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"resource": "COM3"}, "resource"),
        ({"channels": "list"}, "channels"),
        ({"channel": 1, "channels": "plain"}, "channels"),
        ({"channel": 0}, "channel"),
        ({"volts": "3.8"}, "volts"),
        ({"volts": 5, "max_volts": 4}, "at most max_volts"),
        ({"ramp_off_s": 1}, "a ramp needs volts"),
        ({"meter": 1}, "meter"),
        ({"voltage": 1}, "unknown key"),
    ],
)
def test_wrong_tables_of_supplies(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        supply(**spec)


# ------------------------------------------------------------------------------------------------ sharing, observing


def test_slots_and_observers_share_one_session() -> None:
    sink = ListSink()
    driver = ScpiDriver()
    assert isinstance(driver, PowerDriver)
    assert isinstance(driver, ObserverDriver)

    async def main() -> None:
        one = driver.open_power(table(), context())
        await one._do("TEST:CURR", "0.12")
        observer = driver.open_observer(table(every_s=0.01), context(sink))
        await observer.start()
        await one.on()
        instrument = one._instrument
        await asyncio.sleep(0.05)
        await one.close()
        await observer.stop()
        assert instrument is not None
        assert instrument.identity == ""

    asyncio.run(main())
    samples = [event for event in sink.events if isinstance(event, SampleEvent)]
    assert len(samples) > 1
    assert {(sample.amperes, sample.volts) for sample in samples} == {(0.12, 3.79)}


def test_discovery_finds_usb_instruments_and_asks_nothing() -> None:
    tmc = FakeInterface(0, interface_class=0xFE, subclass=0x03)
    bus = FakeUsb(
        [
            FakeDevice("1-2", 0x0957, 0x1807, product_name="E3640", serial="MY1", interfaces=(tmc,)),
            FakeDevice("1-3", 0x1234, 0x5678, product_name="other", interfaces=(FakeInterface(0),)),
        ]
    )
    found = asyncio.run(ScpiDriver(bus).discover())
    assert [dict(one.table) for one in found] == [{"driver": "scpi", "resource": "USB0::0x0957::0x1807::MY1::0::INSTR"}]
