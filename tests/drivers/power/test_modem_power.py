"""The modem switches itself: its SIM by AT+CFUN, the whole of it by its command, by PWRKEY, by RESET."""

import asyncio
import contextlib
import os
import pty
import random
import tty
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from esim_bench import clock, data
from esim_bench.crypto.randomness import SystemRandomness
from esim_bench.data import Dialect
from esim_bench.errors import ConfigError, DeviceTimeout, PowerError, TransportError
from esim_bench.events import ListSink, PowerEvent
from esim_bench.ports import DriverContext, FormFactor, PowersDown, PowerSwitch, Proof
from esim_bench.rack.power import BootLines, PowerTiming, ProvenPower, evidence_of, say_goodbye
from esim_drivers.at import AtModem
from esim_drivers.at.serial_link import SerialLink
from esim_drivers.modem_power.driver import ModemPower, driver
from esim_drivers.modem_power.lines import Pin, PortLines
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.wire import Wire

# On a UART: the port of a USB module goes with its power, and PWRKEY then needs a port of its own.
EG25 = data.module("quectel-eg25").model_copy(update={"quirks": data.Quirks()})
R5 = data.module("ublox-sara-r5")


class Rig:
    """A simulated modem on a wire in memory."""

    def __init__(self, card: Any, dialect: Dialect) -> None:
        self.dialect = dialect
        self.device = SimModem(dialect, card, rng=random.Random(1), imei="490154203237518")
        self.wire = Wire(self.device, lambda: None)
        self.sink = ListSink()
        self.modem = AtModem(self.wire.open, dialect, self.sink)

    def power(self, **spec: Any) -> ModemPower:
        context = DriverContext(
            *("A1", FormFactor.MFF2, self.sink, random.Random(0), SystemRandomness()),
            dialect=self.dialect,
            modem=self.modem,
        )
        return driver.open_power(spec, context)

    def proven(self, proof: Proof, **spec: Any) -> ProvenPower:
        switch = self.power(**spec)
        return ProvenPower(
            switch,
            self.sink,
            proof=proof,
            evidence=evidence_of(proof, switch, None),  # type: ignore[arg-type]
            boot=BootLines(self.modem, self.dialect) if proof is Proof.BOOT_URC else None,
            timing=PowerTiming(proof_timeout_s=30.0),
        )

    def lines(self) -> list[str]:
        return [event.line for event in self.sink.events if hasattr(event, "line")]


@pytest.fixture
def rig(scripted_card: Callable[[], Any]) -> Callable[[Dialect], Rig]:
    return lambda dialect: Rig(scripted_card(), dialect)


def run(job: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await job()

    clock.run_virtual(main())


def test_cfun_takes_the_power_from_the_sim_alone(rig: Callable[[Dialect], Rig]) -> None:
    one = rig(EG25)

    async def job() -> None:
        one.wire.power_on()
        await one.modem.wait_ready()
        power = one.proven(Proof.CARD_GONE, method="cfun")
        assert isinstance(power.switch, PowerSwitch)
        await power.off()
        assert "AT+CFUN=0" in one.lines()
        await power.on()
        await one.modem.wait_ready()
        await one.modem.close()

    run(job)
    proofs = [
        event.detail for event in one.sink.events if isinstance(event, PowerEvent) and event.action.value == "proof"
    ]
    assert proofs[0].startswith("the card is without power")


def test_the_command_waits_for_the_last_line_and_the_least_time_awake(rig: Callable[[Dialect], Rig]) -> None:
    one = rig(EG25)

    async def job() -> None:
        one.wire.power_on()
        await one.modem.wait_ready()
        power = one.proven(Proof.BOOT_URC, method="command", pwrkey="dtr")
        one.wire.pins["dtr"] = "power_key"
        assert power.orderly
        await power.on()
        on = clock.now()
        await power.off()
        assert clock.now() - on >= EG25.power.minimum_awake_s
        assert one.lines()[-1] == "POWERED DOWN"
        await power.on()
        assert one.lines()[-1] == "RDY"
        await one.modem.close()

    run(job)
    assert [event.detail for event in one.sink.events if isinstance(event, PowerEvent)][-1] == "the module booted: RDY"


def test_pwrkey_is_pulled_as_long_as_the_module_wants(rig: Callable[[Dialect], Rig]) -> None:
    one = rig(EG25)
    held: list[tuple[str, float]] = []
    asserted = 0.0
    real = one.wire.set_line

    def set_line(line: str, on: bool) -> None:
        nonlocal asserted
        if on:
            asserted = clock.now()
        else:
            held.append((line, round(clock.now() - asserted, 3)))
        real(line, on)

    one.wire.set_line = set_line  # type: ignore[method-assign]
    one.wire.pins["rts"] = "power_key"

    async def job() -> None:
        one.wire.power_on()
        await one.modem.wait_ready()
        power = one.proven(Proof.BOOT_URC, method="pwrkey", pwrkey="rts")
        await power.off()
        assert one.lines()[-1] == "POWERED DOWN"
        await power.on()
        await one.modem.close()

    run(job)
    assert held == [("rts", 0.67), ("rts", 0.52)]


def test_a_pin_that_is_wired_to_nothing_is_noticed(rig: Callable[[Dialect], Rig]) -> None:
    one = rig(EG25)

    async def job() -> None:
        one.wire.power_on()
        await one.modem.wait_ready()
        power = one.proven(Proof.BOOT_URC, method="pwrkey", pwrkey="dtr")
        with pytest.raises(PowerError, match=r"did not switch off: .*no control lines"):
            await power.off()
        one.wire.pins["dtr"] = "reset"
        with pytest.raises(PowerError, match=r"does not say that it is down: expected POWERED DOWN within 60 s"):
            await power.off()
        await one.modem.close()

    run(job)


def test_reset_is_held_while_the_slot_is_dark(rig: Callable[[Dialect], Rig]) -> None:
    one = rig(R5)
    one.wire.pins["dtr"] = "reset"

    async def job() -> None:
        one.wire.power_on()
        await one.modem.wait_ready()
        power = one.power(method="reset", reset="dtr")
        assert not power.orderly
        await power.off()
        began = clock.now()
        await power.on()
        assert clock.now() - began == pytest.approx(R5.power.reset_hold_ms / 1000)  # type: ignore[operator]
        await one.modem.wait_ready()
        await one.modem.close()

    run(job)


def test_no_cut_before_the_module_said_that_it_is_down(rig: Callable[[Dialect], Rig]) -> None:
    """The orderly way, whatever switches the supply: first the module's own command."""
    one = rig(EG25)

    async def job() -> None:
        one.wire.power_on()
        await one.modem.wait_ready()
        assert isinstance(one.modem, PowersDown)
        began = clock.now()
        assert await say_goodbye(one.modem, one.sink, clock.now())
        assert clock.now() - began >= EG25.power.minimum_awake_s
        await one.modem.close()

    run(job)
    assert [event.detail for event in one.sink.events if isinstance(event, PowerEvent)] == [
        "the module says POWERED DOWN"
    ]


def test_a_module_that_does_not_say_goodbye_keeps_its_supply(rig: Callable[[Dialect], Rig]) -> None:
    mute = EG25.model_copy(update={"power": EG25.power.model_copy(update={"down_urc": "NORMAL POWER DOWN"})})
    one = rig(EG25)
    one.modem.dialect = mute

    async def job() -> None:
        one.wire.power_on()
        await one.modem.wait_ready()
        with pytest.raises(PowerError, match=r"no orderly power-down.*NORMAL POWER DOWN within 60 s.*--cold"):
            await say_goodbye(one.modem, one.sink, None)
        await one.modem.close()

    run(job)


def test_a_module_without_a_command_is_cut_as_it_is(rig: Callable[[Dialect], Rig]) -> None:
    one = rig(data.module("sim-generic"))

    async def job() -> None:
        assert not await say_goodbye(one.modem, one.sink, None)

    run(job)


@pytest.mark.parametrize(
    ("module", "spec", "message"),
    [
        ("quectel-eg25", {"method": "magic"}, "method"),
        ("quectel-eg25", {"method": "command"}, r"who switches it on\?"),
        ("quectel-eg25", {"method": "command", "autostart": 1}, "autostart"),
        ("quectel-eg25", {"method": "pwrkey"}, "pwrkey: expected the line"),
        ("quectel-eg25", {"method": "pwrkey", "pwrkey": "cts"}, "pwrkey"),
        ("quectel-eg25", {"method": "reset", "reset": "dtr"}, "reset_hold_ms of EG25"),
        ("quectel-eg25", {"method": "pwrkey", "pwrkey": "dtr", "inverted": "yes"}, "inverted"),
        ("quectel-eg25", {"method": "cfun", "line": "dtr"}, "unknown key"),
        ("sim-generic", {"method": "command", "autostart": True}, "down_command"),
    ],
)
def test_wrong_tables_of_modems(rig: Callable[[Dialect], Rig], module: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rig(data.module(module)).power(**spec)


def test_a_slot_without_a_modem_has_none_to_switch() -> None:
    context = DriverContext("A1", FormFactor.FF4, ListSink(), random.Random(0), SystemRandomness())
    with pytest.raises(ConfigError, match="no modem to switch"):
        driver.open_power({"method": "cfun"}, context)


# ---------------------------------------------------------------------------------------------- real ports have lines


@pytest.fixture
def pseudo_terminal() -> Iterator[str]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    for fd in (master, slave):
        with contextlib.suppress(OSError):
            os.close(fd)


def test_a_pty_has_no_control_lines_and_says_so(pseudo_terminal: str) -> None:
    async def main() -> None:
        lines = PortLines(pseudo_terminal)
        with pytest.raises(TransportError, match=r"cannot set DTR: Inappropriate ioctl.*a pty has none"):
            await Pin(lines, "dtr").pull(0.01)
        lines.close()

    asyncio.run(main())


def test_lines_are_set_by_ioctls(pseudo_terminal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    async def main() -> None:
        link = SerialLink(pseudo_terminal)
        monkeypatch.setattr(
            "esim_drivers.at.serial_link.fcntl.ioctl",
            lambda fd, request, value: calls.append((request, int.from_bytes(value, "little"))),
        )
        lines = PortLines(pseudo_terminal, lambda port: link)
        await Pin(lines, "dtr").pull(0.0)
        await Pin(lines, "rts", inverted=True).pull(0.0)
        lines.close()

    asyncio.run(main())
    tiocmbis, tiocmbic, dtr, rts = 0x5416, 0x5417, 0x002, 0x004
    assert calls == [(tiocmbis, dtr), (tiocmbic, dtr), (tiocmbic, rts), (tiocmbis, rts)]


def test_a_port_that_is_gone_is_a_device_error() -> None:
    async def main() -> None:
        with pytest.raises((TransportError, DeviceTimeout)):
            await Pin(PortLines("/dev/ttyNOTHERE"), "dtr").pull(0.0)

    asyncio.run(main())
