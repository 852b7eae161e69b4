"""However work on a slot ends, the slot has power, nothing is open, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from esim_bench import clock
from esim_bench.cli import session
from esim_bench.errors import DeviceTimeout, InUseError, RigError
from esim_bench.events import ListSink, MarkEvent, NullSink
from esim_bench.rack import locks, reservations, safe_state
from esim_bench.rack.devices import devices
from esim_bench.rack.holder import Holder
from esim_bench.rack.opening import open_for_work
from esim_bench.rack.slot import Slot
from esim_bench.rack.world import World
from esim_bench.scenario import engine
from esim_bench.scenario.context import Bench
from esim_bench.scenario.registry import Scenario
from esim_bench.scenario.results import CheckFailed, Outcome, RunResult
from esim_bench.trace import Reader

MakeScenario = Callable[[Callable[[Bench, Any], Awaitable[None]]], Scenario]


@pytest.fixture
def run(bench_rack: Any, scenario: MakeScenario, no_parameters: BaseModel) -> Callable[..., RunResult]:
    def run_it(steps: Callable[[Bench, Any], Awaitable[None]], **options: Any) -> RunResult:
        chosen = engine.RunOptions(**options)
        return engine.run_scenario(bench_rack.rack, bench_rack.rack.slots, scenario(steps), no_parameters, chosen)[0]

    return run_it


def outcomes(result: RunResult) -> dict[str, Outcome]:
    return {slot.slot: slot.outcome for slot in result.slots}


def marks_of(result: RunResult, slot: str) -> list[str]:
    trace = next(one.trace for one in result.slots if one.slot == slot)
    assert trace is not None
    with Reader(trace) as reader:
        return [record.event.text for record in reader if isinstance(record.event, MarkEvent)]


async def start(bench: Bench, params: Any) -> None:
    async with bench.step("start"):
        await bench.slot.start()
    async with bench.step("read"):
        await bench.slot.lpa.eid()


def at_rest(device: Any) -> None:
    assert device.powered
    assert device.closed == 1
    assert device.log[-1] == "switch closed"
    assert safe_state.dark_slots() == []
    assert reservations.listing() == []


def test_after_a_good_end_the_channel_is_closed_and_the_locks_are_given_back(bench_rack: Any, run: Any) -> None:
    held: list[str] = []

    async def steps(bench: Bench, params: Any) -> None:
        await start(bench, params)
        held.extend(holder.device for _, holder in reservations.listing() if holder.slot == bench.slot.name)

    result = run(steps)
    assert outcomes(result) == {"A1": Outcome.PASS, "A2": Outcome.PASS}
    assert sorted(held) == ["usb:9-1 port 1", "usb:9-1 port 2", "usb:9-1.1", "usb:9-1.2"]
    for device in (bench_rack.a1, bench_rack.a2):
        at_rest(device)
        assert [text for text in device.log if text.startswith("00")] == ["0070000001", "00708001"]


def test_after_a_failure_in_the_dark_the_power_comes_back(bench_rack: Any, run: Any) -> None:
    async def steps(bench: Bench, params: Any) -> None:
        await start(bench, params)
        async with bench.step("cut"):
            await bench.slot.cut()
            assert len(safe_state.dark_slots()) >= 1
            raise CheckFailed("as it happens")

    result = run(steps)
    assert outcomes(result) == {"A1": Outcome.FAIL, "A2": Outcome.FAIL}
    at_rest(bench_rack.a1)
    assert "power restored" in marks_of(result, "A1")


@pytest.mark.parametrize("end", [RuntimeError("a defect of ours"), asyncio.CancelledError()])
def test_after_a_crash_or_an_interruption_too(bench_rack: Any, run: Any, end: BaseException) -> None:
    async def steps(bench: Bench, params: Any) -> None:
        await start(bench, params)
        await bench.slot.cut()
        raise end

    result = run(steps)
    assert outcomes(result)["A1"] in (Outcome.ERROR, Outcome.ABORTED)
    at_rest(bench_rack.a1)


def test_a_second_interruption_does_not_leave_the_slot_dark(bench_rack: Any) -> None:
    async def work() -> None:
        slot = await open_for_work(bench_rack.rack.slots[0], World(bench_rack.rack, "0"), NullSink())
        await slot.start()
        await slot.cut()
        closing = asyncio.create_task(slot.close())
        for _ in range(3):
            await asyncio.sleep(0)
            closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        at_rest(bench_rack.a1)

    clock.run_real(work())


def test_what_cannot_be_made_safe_is_told_and_hides_nothing(bench_rack: Any, run: Any) -> None:
    async def steps(bench: Bench, params: Any) -> None:
        await start(bench, params)
        async with bench.step("cut"):
            await bench.slot.cut()
            if bench.slot.name == "A1":
                bench_rack.a1.switch_fails = True
            raise CheckFailed("as it happens")

    result = run(steps)
    assert outcomes(result) == {"A1": Outcome.ERROR, "A2": Outcome.FAIL}
    *_, cut, closed = next(slot.steps for slot in result.slots if slot.slot == "A1")
    assert (cut.name, cut.outcome) == ("cut", Outcome.FAIL)
    assert (closed.name, closed.outcome) == ("close", Outcome.ERROR)
    assert "the power does not come back" in closed.detail
    assert "the relay sticks" in closed.detail
    # It is still on record, for the next start.
    assert [entry.slot.name for _, entry in safe_state.dark_slots()] == ["A1"]


def test_a_link_that_does_not_close_is_left_behind(bench_rack: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_state, "CLOSE_SECONDS", 0.1)
    bench_rack.a1.close_hangs = True
    began = time.monotonic()
    result = run(start)
    assert time.monotonic() - began < 5
    assert outcomes(result) == {"A1": Outcome.ERROR, "A2": Outcome.PASS}
    assert "the card's link does not close" in result.slots[0].steps[-1].detail
    assert bench_rack.a1.log[-1] == "switch closed"


# ---------------------------------------------------------------------------------------------------- stuck devices


def test_a_stuck_device_times_out_alone_is_power_cycled_and_works_when_opened_anew(bench_rack: Any, run: Any) -> None:
    async def steps(bench: Bench, params: Any) -> None:
        async with bench.step("start"):
            await bench.slot.start()
        if bench_rack.a1.opened == 1 and bench.slot.name == "A1":
            bench_rack.a1.behaviour = "silent"
        async with bench.step("read"):
            await bench.slot.lpa.eid()

    result = run(steps, repeat=2)
    assert [slot.outcome for slot in result.slots] == [Outcome.TIMEOUT, *[Outcome.PASS] * 3]
    assert bench_rack.a1.log.count("off") == 1
    assert bench_rack.a2.log.count("off") == 0
    assert "the device is stuck: its power is cut, and restored" in marks_of(result, "A1")
    assert bench_rack.a1.powered


def test_a_timeout_of_something_else_costs_the_device_no_power(bench_rack: Any, run: Any) -> None:
    async def steps(bench: Bench, params: Any) -> None:
        await start(bench, params)
        async with bench.step("server"):
            raise DeviceTimeout("the server did not answer in time")

    assert set(outcomes(run(steps)).values()) == {Outcome.TIMEOUT}
    assert "off" not in bench_rack.a1.log
    at_rest(bench_rack.a1)


def test_the_time_limit_of_a_slot_ends_a_driver_that_hears_nothing(
    bench_rack: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRACE_SECONDS", "PROBE_SECONDS"):
        monkeypatch.setattr(safe_state, name, 0.1)

    async def steps(bench: Bench, params: Any) -> None:
        async with bench.step("start"):
            await bench.slot.start()
        if bench.slot.name == "A1":
            bench_rack.a1.behaviour = "deaf"
        async with bench.step("read"):
            await bench.slot.lpa.eid()
        async with bench.step("as long as the other"):
            await asyncio.sleep(0.1)

    began = time.monotonic()
    result = run(steps, timeout=0.5)
    assert time.monotonic() - began < 5
    assert outcomes(result) == {"A1": Outcome.TIMEOUT, "A2": Outcome.PASS}
    assert "deaf" in bench_rack.a1.log
    assert "off" in bench_rack.a1.log
    assert bench_rack.a1.powered


def test_a_driver_that_hears_nothing_for_ever_keeps_nobody_from_ending(
    bench_rack: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRACE_SECONDS", "PROBE_SECONDS"):
        monkeypatch.setattr(safe_state, name, 0.1)
    monkeypatch.setattr(clock, "LEFTOVER_SECONDS", 0.1)

    async def steps(bench: Bench, params: Any) -> None:
        await start(bench, params)
        if bench.slot.name == "A1":
            bench_rack.a1.behaviour = "stone"
        async with bench.step("again"):
            await bench.slot.lpa.eid()

    began = time.monotonic()
    assert outcomes(run(steps, timeout=0.7)) == {"A1": Outcome.TIMEOUT, "A2": Outcome.PASS}
    assert time.monotonic() - began < 5


# ------------------------------------------------------------------------------------------------------ other people


def test_a_slot_that_somebody_holds_is_an_error_that_names_him_and_the_others_go_on(bench_rack: Any, run: Any) -> None:
    held = locks.take(devices(bench_rack.rack.slots[0]), slot="Z9", note="soak test")
    result = run(start)
    assert outcomes(result) == {"A1": Outcome.ERROR, "A2": Outcome.PASS}
    assert "as slot Z9: soak test" in result.slots[0].steps[0].detail
    assert bench_rack.a1.opened == 0
    held.release()


def test_who_is_kicked_stops_at_the_next_exchange_and_leaves_the_device_alone(bench_rack: Any, run: Any) -> None:
    async def steps(bench: Bench, params: Any) -> None:
        await start(bench, params)
        async with bench.step("cut"):
            await bench.slot.cut()
            if bench.slot.name == "A1":
                reservations.free(devices(bench.slot.spec), force=True)
            await bench.slot.start()

    result = run(steps)
    assert outcomes(result) == {"A1": Outcome.ERROR, "A2": Outcome.PASS}
    assert "was taken away" in result.slots[0].steps[-1].detail
    assert bench_rack.a1.closed == 1
    assert "somebody else has taken the slot: it is left as it is" in marks_of(result, "A1")


def test_a_stale_lock_is_taken_over_and_told_twice(bench_rack: Any, run: Any) -> None:
    (name, *_) = devices(bench_rack.rack.slots[0])
    holder = replace(Holder.here(name, note="soak test"), started=1)
    (locks.folder() / (locks.file_name(name) + locks.LOCK)).write_text(json.dumps(holder.document()))
    told: list[str] = []
    result = run(start, tell=told.append)
    assert outcomes(result) == {"A1": Outcome.PASS, "A2": Outcome.PASS}
    assert len(told) == 1
    assert told[0].startswith("a stale lock was taken over:")
    assert told[0] in marks_of(result, "A1")


# ------------------------------------------------------------------------------------------------- after a kill -9


def killed(bench_rack: Any, slot: int) -> Path:
    """Leave a slot as a process does that is killed while it is dark."""
    device = (bench_rack.a1, bench_rack.a2)[slot]
    device.powered = False
    path = safe_state.record(bench_rack.rack, bench_rack.rack.slots[slot], "r1")
    document = json.loads(path.read_text())
    document["holder"] |= {"pid": 2**22 + 1, "started": 1}
    path.write_text(json.dumps(document))
    return path


def test_the_next_start_powers_what_a_killed_process_left_dark(
    bench_rack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    killed(bench_rack, 0)
    killed(bench_rack, 1)

    async def job(slot: Slot) -> bool:
        return bool(bench_rack.a2.powered)

    assert session.on_slot(str(bench_rack.rack.path), "A1", job)
    said = capsys.readouterr().err
    for name in ("A1", "A2"):
        assert f"slot {name} of rack lab was left without power by " in said
    assert "run r1" in said
    assert "it has power again" in said
    assert bench_rack.a2.closed == 1
    assert safe_state.dark_slots() == []


def test_what_cannot_be_powered_again_is_told_and_stays_on_record(bench_rack: Any) -> None:
    path = killed(bench_rack, 1)
    bench_rack.a2.switch_fails = True
    told: list[str] = []

    async def work() -> None:
        sink = ListSink()
        slot = await open_for_work(bench_rack.rack.slots[0], World(bench_rack.rack, "0"), sink, tell=told.append)
        await slot.close()

    clock.run_real(work())
    assert "cannot be powered again" in told[0]
    assert path.exists()


def test_a_dark_slot_whose_process_lives_is_left_alone(bench_rack: Any) -> None:
    path = safe_state.record(bench_rack.rack, bench_rack.rack.slots[1], None)
    document = json.loads(path.read_text())
    document["holder"] |= {"pid": os.getppid(), "started": 0}
    path.write_text(json.dumps(document))
    bench_rack.a2.powered = False

    async def work() -> None:
        slot = await open_for_work(bench_rack.rack.slots[0], World(bench_rack.rack, "0"), NullSink())
        await slot.close()

    clock.run_real(work())
    assert not bench_rack.a2.powered
    assert path.exists()


def test_a_cut_that_cannot_be_noted_is_not_made(bench_rack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job(slot: Slot) -> None:
        monkeypatch.setenv("ESIM_BENCH_HOME", "/proc/nohome")
        await slot.cut()

    with pytest.raises(RigError, match="cannot note that the slot is cut"):
        session.on_slot(str(bench_rack.rack.path), "A1", job)
    assert bench_rack.a1.powered
    assert "off" not in bench_rack.a1.log


# ------------------------------------------------------------------------------------------------ commands by hand


def test_a_command_by_hand_ends_with_the_first_error_and_tells_the_others(
    bench_rack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async def job(slot: Slot) -> None:
        await slot.cut()
        bench_rack.a1.switch_fails = True
        raise CheckFailed("the first")

    with pytest.raises(CheckFailed, match="the first"):
        session.on_slot(str(bench_rack.rack.path), "A1", job)
    assert "the power does not come back" in capsys.readouterr().err


def test_what_the_operator_switched_off_stays_off(bench_rack: Any) -> None:
    async def job(slot: Slot) -> None:
        await slot.cut()
        slot.leave_dark()

    session.on_slot(str(bench_rack.rack.path), "A1", job)
    assert not bench_rack.a1.powered
    assert safe_state.dark_slots() == []


def test_commands_by_hand_are_alone_on_their_slot(bench_rack: Any) -> None:
    path = str(bench_rack.rack.path)

    async def job(slot: Slot) -> None:
        with pytest.raises(InUseError, match="as slot A1"):
            await open_for_work(bench_rack.rack.slots[0], World(bench_rack.rack, "0"), NullSink())

    session.on_slot(path, "A1", job)
    at_rest(bench_rack.a1)
