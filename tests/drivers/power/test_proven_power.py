"""A cut counts when its proof was seen; without it there is a PowerError, never silence."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock, data
from esim_bench.errors import DeviceTimeout, PowerError, TransportError
from esim_bench.events import ListSink, PowerEvent
from esim_bench.ports import Proof
from esim_bench.rack.power import BootLines, Evidence, PowerTiming, ProvenPower, boot_lines, evidence_of

Switch = Callable[..., Any]
TIMING = PowerTiming(off_s=2.0, on_s=0.5, proof_timeout_s=5.0)


def proven(device: Any, switch_of: Switch, sink: ListSink, **changes: Any) -> ProvenPower:
    async def gone() -> bool:
        return not device.powered

    evidence = Evidence(Proof.CARD_GONE, gone, "the reader sees no card")
    options = {"proof": Proof.CARD_GONE, "evidence": evidence, "timing": TIMING, **changes}
    return ProvenPower(switch_of(device), sink, **options)


def told(sink: ListSink) -> list[tuple[str, str]]:
    return [(event.action.value, event.detail) for event in sink.events if isinstance(event, PowerEvent)]


def test_a_cut_and_its_proof_are_told(device: Any, switch_of: Switch) -> None:
    sink = ListSink()

    async def main() -> None:
        power = proven(device, switch_of, sink)
        await power.off()
        assert not device.powered
        await power.on()
        assert device.powered
        assert power.trouble is None

    clock.run_virtual(main())
    assert [action for action, _ in told(sink)] == ["off", "proof", "on"]
    assert told(sink)[1][1] == "the reader sees no card after 0.0 s"


def test_a_cut_without_its_proof_is_an_error_that_stays(device: Any, switch_of: Switch) -> None:
    device.deaf_until = 1000
    sink = ListSink()

    async def main() -> None:
        power = proven(device, switch_of, sink)
        with pytest.raises(PowerError, match=r"nothing proves that it is.*the reader sees no card within 5 s"):
            await power.off()
        assert power.trouble is not None

    clock.run_virtual(main())
    assert [action for action, _ in told(sink)] == ["off"]


def test_the_switch_is_told_again_when_the_kernel_powers_the_port_again(device: Any, switch_of: Switch) -> None:
    device.deaf_until = 2
    sink = ListSink()

    async def main() -> None:
        power = proven(device, switch_of, sink)
        await power.off()
        cut = device.at[-1][1]
        await power.on()
        # The least time without power counts from the request that worked.
        assert device.at[-1][1] - cut >= TIMING.off_s

    clock.run_virtual(main())
    assert device.offs == 3
    assert "asked 3 times" in told(sink)[1][1]


def test_a_device_that_vanishes_for_a_moment_is_not_without_power(device: Any, switch_of: Switch) -> None:
    """A re-enumeration looks like a cut until the device is back."""
    device.deaf_until = 1000
    looks = 0

    async def flickering() -> bool:
        nonlocal looks
        looks += 1
        return looks % 4 in (2, 3)

    async def main() -> None:
        evidence = Evidence(Proof.USB_GONE, flickering, "USB device 1-1.3 is gone")
        power = proven(device, switch_of, ListSink(), proof=Proof.USB_GONE, evidence=evidence)
        with pytest.raises(PowerError, match="nothing proves"):
            await power.off()

    clock.run_virtual(main())


def test_what_looks_gone_before_the_cut_proves_nothing(device: Any, switch_of: Switch) -> None:
    device.powered = False

    async def main() -> None:
        power = proven(device, switch_of, ListSink())
        with pytest.raises(PowerError, match=r"the cut cannot be proven.*is it on and in its place"):
            await power.off()
        assert device.offs == 0

    clock.run_virtual(main())


def test_a_device_that_still_boots_is_waited_for_before_the_next_cut(device: Any, switch_of: Switch) -> None:
    """It enumerates some seconds after it has power; before that nothing could be seen going."""
    seen_from = 0.0

    async def gone() -> bool:
        return not device.powered or clock.now() < seen_from

    async def main() -> None:
        nonlocal seen_from
        power = proven(device, switch_of, ListSink(), evidence=Evidence(Proof.USB_GONE, gone, "gone"))
        await power.off()
        await power.on()
        seen_from = clock.now() + 3.0
        await power.off()
        assert device.at[-1][1] >= seen_from
        await power.on()
        seen_from = clock.now() + 1000.0
        with pytest.raises(PowerError, match="cannot be proven"):
            await power.off()

    clock.run_virtual(main())


def test_power_that_comes_back_by_itself_is_noticed(device: Any, switch_of: Switch) -> None:
    async def main() -> None:
        power = proven(device, switch_of, ListSink())
        await power.off()
        device.powered = True
        with pytest.raises(PowerError, match="came back by itself"):
            await power.on()
        assert device.ons == 1

    clock.run_virtual(main())


def test_least_times_are_kept(device: Any, switch_of: Switch) -> None:
    async def main() -> None:
        power = proven(device, switch_of, ListSink(), timing=PowerTiming(off_s=3.0, on_s=20.0))
        await power.off()
        await power.on()
        on = clock.now()
        assert on >= 3.0
        await power.off()
        assert device.at[-1][1] - on >= 20.0
        # A slot that is dark stays so, and is not cut again.
        await power.off()
        assert device.offs == 2

    clock.run_virtual(main())


@pytest.mark.parametrize("error", [TransportError("the hub vanished"), DeviceTimeout("the hub is silent")])
def test_a_switch_that_fails_is_the_rig_and_not_the_device(device: Any, switch_of: Switch, error: Exception) -> None:
    device.fails = error

    async def main() -> None:
        power = proven(device, switch_of, ListSink())
        with pytest.raises(PowerError, match=f"did not switch off: {error}"):
            await power.off()

    clock.run_virtual(main())


def test_a_look_that_fails_or_hangs_proves_nothing_and_ends(device: Any, switch_of: Switch) -> None:
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            return False
        if looks % 2:
            raise TransportError("pcscd is gone")
        await asyncio.sleep(1e6)
        return True

    async def main() -> None:
        power = proven(device, switch_of, ListSink(), evidence=Evidence(Proof.CARD_GONE, look, "no card"))
        with pytest.raises(PowerError, match="nothing proves"):
            await power.off()
        assert clock.now() < 60

    clock.run_virtual(main())


# --------------------------------------------------------------------------------------------------- which evidence


def test_usb_gone_looks_into_sysfs(tmp_path: Path, device: Any, switch_of: Switch) -> None:
    devices = tmp_path / "bus/usb/devices"
    (devices / "1-1.3").mkdir(parents=True)
    evidence = evidence_of(Proof.USB_GONE, switch_of(device), None, "1-1.3", tmp_path)  # type: ignore[arg-type]
    assert evidence is not None
    assert not asyncio.run(_look(evidence))
    (devices / "1-1.3").rmdir()
    assert asyncio.run(_look(evidence))


def test_without_a_list_of_devices_none_of_them_is_gone(tmp_path: Path, device: Any, switch_of: Switch) -> None:
    evidence = evidence_of(Proof.USB_GONE, switch_of(device), None, "1-1.3", tmp_path)  # type: ignore[arg-type]
    assert evidence is not None
    assert not asyncio.run(_look(evidence))


async def _look(evidence: Evidence) -> bool:
    return await evidence.gone()


def test_the_switch_itself_may_give_the_proof(device: Any, switch_of: Switch) -> None:
    switch = switch_of(device, frozenset({Proof.CURRENT_BELOW}))
    evidence = evidence_of(Proof.CURRENT_BELOW, switch, None)  # type: ignore[arg-type]
    assert evidence is not None
    assert not asyncio.run(_look(evidence))
    device.powered = False
    assert asyncio.run(_look(evidence))
    with pytest.raises(PowerError, match="nothing of this slot"):
        evidence_of(Proof.CARD_GONE, switch, None)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- boot lines


class Watch:
    """A modem's unsolicited lines."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[str], None]] = []
        self.open = True
        self.opened = 0

    def watch(self, on_line: Callable[[str], None]) -> Callable[[], None]:
        self.listeners.append(on_line)
        return lambda: self.listeners.remove(on_line)

    def listening(self) -> bool:
        self.opened += 1
        return self.open

    def say(self, line: str) -> None:
        for listener in self.listeners.copy():
            listener(line)


def test_boot_lines_prove_the_cut_when_the_power_is_back(device: Any, switch_of: Switch) -> None:
    sink, watch = ListSink(), Watch()

    def powered(on: bool) -> None:
        if on:
            loop = asyncio.get_running_loop()
            loop.call_later(1.0, watch.say, "+QIND: SMS DONE")
            loop.call_later(10.0, watch.say, "RDY")

    async def main() -> None:
        device.on_power = powered
        boot = BootLines(watch, data.module("quectel-eg25"))
        timing = PowerTiming(proof_timeout_s=20)
        power = proven(device, switch_of, sink, proof=Proof.BOOT_URC, evidence=None, boot=boot, timing=timing)
        await power.off()
        assert told(sink)[-1][0] == "off"
        await power.on()
        assert watch.listeners == []

    clock.run_virtual(main())
    assert told(sink)[-1] == ("proof", "the module booted: RDY")


@pytest.mark.parametrize(("port_there", "found"), [(True, "no boot line"), (False, "no port to hear it on")])
def test_a_module_that_does_not_boot_was_not_off(device: Any, switch_of: Switch, port_there: bool, found: str) -> None:
    """A soldered module with its own supply: everything said "off", nothing was."""
    watch = Watch()
    watch.open = port_there

    async def main() -> None:
        boot = BootLines(watch, data.module("quectel-eg25"))
        power = proven(device, switch_of, ListSink(), proof=Proof.BOOT_URC, evidence=None, boot=boot)
        await power.off()
        with pytest.raises(PowerError, match=f"the module did not boot: expected .*RDY.*found {found}"):
            await power.on()
        assert power.trouble is not None

    clock.run_virtual(main())


def test_the_first_power_on_needs_no_boot_lines(device: Any, switch_of: Switch) -> None:
    async def main() -> None:
        boot = BootLines(Watch(), data.module("quectel-eg25"))
        power = proven(device, switch_of, ListSink(), proof=Proof.BOOT_URC, evidence=None, boot=boot)
        await power.on()
        assert clock.now() == 0

    clock.run_virtual(main())


def test_lines_that_a_restarted_sim_brings_too_prove_no_boot() -> None:
    assert boot_lines(data.module("quectel-eg25")) == ("RDY", "+CFUN: 1")
