"""The desk on real slots: their devices are locked while it has them, their secrets stay out of its journals."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from esim_bench import clock
from esim_bench.desk import keeper
from esim_bench.desk.api import DeskError, JournalOpened, SlotTrouble, Source, Trouble
from esim_bench.desk.local import LocalDesk
from esim_bench.desk.recorder import Recorder
from esim_bench.errors import InUseError
from esim_bench.events import ApduEvent, AtEvent
from esim_bench.rack.devices import devices
from esim_bench.rack.locks import take
from esim_bench.rack.model import Rack
from esim_bench.trace import Reader

T = TypeVar("T")
PIN = bytes.fromhex("0020000108 31323334FFFFFFFF".replace(" ", ""))


def _on(rack: Rack, test: Callable[[LocalDesk, list[Any]], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        desk, notices = LocalDesk(rack), list[Any]()
        desk.listen(notices.append)
        try:
            return await test(desk, notices)
        finally:
            await desk.close()

    return clock.run_real(main())


async def _trouble(job: Coroutine[Any, Any, Any]) -> Trouble:
    with pytest.raises(DeskError) as caught:
        await job
    return caught.value.trouble


def test_devices_are_locked_as_long_as_the_slot_is_open(bench_rack: Any) -> None:
    spec = bench_rack.rack.one("A1")

    async def test(desk: LocalDesk, notices: list[Any]) -> None:
        assert len((await desk.read("A1")).eid) == 32
        with pytest.raises(InUseError, match="the desk"):
            take(devices(spec), slot="A1")
        await desk.release("A1")
        take(devices(spec), slot="A1").release()
        assert bench_rack.a1.closed == 1

    _on(bench_rack.rack, test)


def test_a_slot_that_somebody_else_has_is_no_trouble_of_it(bench_rack: Any) -> None:
    held = take(devices(bench_rack.rack.one("A1")), slot="A1", note="the night's run")

    async def test(desk: LocalDesk, notices: list[Any]) -> None:
        trouble = await _trouble(desk.read("A1"))
        assert trouble.kind == "InUseError"
        assert "the night's run" in trouble.found
        assert trouble.hint
        assert (await desk.read("A2")).eid
        assert not [one for one in notices if isinstance(one, SlotTrouble)]

    _on(bench_rack.rack, test)
    held.release()


def test_secrets_do_not_reach_the_journal(bench_rack: Any, tmp_path: Any) -> None:
    async def test(desk: LocalDesk, notices: list[Any]) -> list[Any]:
        await desk.apdu("A1", PIN.hex())
        code = Source(profile="operational-a")
        await desk.download("A1", code, confirmation_code="geheim42")
        path = next(one.path for one in notices if isinstance(one, JournalOpened))
        assert b"geheim42" not in (tmp_path / path).read_bytes()
        with Reader(path) as journal:
            return [record.event for record in journal]

    events = _on(bench_rack.rack, test)
    verify = next(one for one in events if isinstance(one, ApduEvent) and one.command[1] == 0x20)
    assert verify.command[:5] == PIN[:5]
    assert b"1234" not in verify.command


def test_words_of_a_download_are_hidden_from_then_on(bench_rack: Any, tmp_path: Any) -> None:
    opened: list[Any] = []
    recorder = Recorder(bench_rack.rack.one("A1"), tmp_path / "A1.pcapng", opened.append, opened.append)
    recorder.begin()
    recorder.hide(["MATCHING-1"])
    recorder.emit(AtEvent(0, ">", "AT+SECRET=MATCHING-1"))
    recorder.close()

    assert opened == [tmp_path / "A1.pcapng"]
    assert b"MATCHING-1" not in opened[0].read_bytes()


def test_a_device_that_falls_silent_is_given_up_and_opened_anew(bench_rack: Any) -> None:
    async def test(desk: LocalDesk, notices: list[Any]) -> None:
        await desk.profiles("A1")
        bench_rack.a1.behaviour = "silent"
        trouble = await _trouble(desk.profiles("A1"))
        assert trouble.kind == "DeviceTimeout"
        # It was stuck: on the way to its safe state its power was cut and restored.
        assert bench_rack.a1.log.count("off") == 1
        assert bench_rack.a1.powered
        told = [one.trouble for one in notices if isinstance(one, SlotTrouble)]
        assert told == [trouble]

        assert await desk.profiles("A1") == []
        assert [one.trouble for one in notices if isinstance(one, SlotTrouble)][-1] is None

    _on(bench_rack.rack, test)


def test_a_cut_by_hand_lasts_over_the_release(bench_rack: Any) -> None:
    async def test(desk: LocalDesk, notices: list[Any]) -> None:
        await desk.profiles("A1")
        job = asyncio.create_task(_trouble(desk.power_cycle("A1", 60.0)))
        await asyncio.sleep(0.1)
        view = await desk.power_off("A1")
        assert (await job).kind == "PowerCut"
        assert (view.powered, view.how, view.minimum_off_s) == (False, "fake-power location 9-1 port 1", 0.01)
        await desk.release("A1")
        assert not bench_rack.a1.powered
        await _trouble(desk.profiles("A1"))
        assert not bench_rack.a1.powered
        assert (await desk.power_on("A1")).powered
        assert bench_rack.a1.powered

    _on(bench_rack.rack, test)


def test_a_switch_that_does_not_obey_is_told_of(bench_rack: Any) -> None:
    async def test(desk: LocalDesk, notices: list[Any]) -> None:
        await desk.profiles("A1")
        bench_rack.a1.switch_fails = True
        await desk.power_off("A1")
        trouble = await _trouble(desk.power_on("A1"))
        assert trouble.kind == "PowerError"
        assert "the relay sticks" in trouble.what
        assert [one.trouble for one in notices if isinstance(one, SlotTrouble)][-1] == trouble
        bench_rack.a1.switch_fails = False
        assert (await desk.power_on("A1")).powered

    _on(bench_rack.rack, test)


def test_where_nothing_switches_the_power_a_job_is_left_in_peace(bench_rack: Any) -> None:
    rack = bench_rack.rack
    rack.slots = tuple(slot.model_copy(update={"power": None}) for slot in rack.slots)

    async def test(desk: LocalDesk, notices: list[Any]) -> None:
        job = asyncio.create_task(desk.download("A1", Source(profile="operational-a")))
        await asyncio.sleep(0.1)
        for trouble in (await _trouble(desk.power_off("A1")), await _trouble(desk.power_cycle("A1", 1.0))):
            assert trouble.what == "this slot's power cannot be switched"
        assert [one.state for one in await job] == ["disabled"]
        view = await desk.power("A1")
        assert (view.powered, view.how) == (True, "none")
        assert (await desk.power_on("A1")).powered

    _on(rack, test)


def test_a_driver_that_is_deaf_to_everything_does_not_keep_the_slot(
    bench_rack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(keeper.Keeper._give_up, "__defaults__", (0.05,))

    async def test(desk: LocalDesk, notices: list[Any]) -> None:
        await desk.profiles("A1")
        bench_rack.a1.behaviour = "stone"
        job = asyncio.create_task(_trouble(desk.profiles("A1")))
        await asyncio.sleep(0.05)
        assert not (await desk.power_off("A1")).powered
        assert (await job).kind == "PowerCut"

        bench_rack.a1.behaviour = "good"
        assert (await desk.power_on("A1")).powered
        assert await desk.profiles("A1") == []

    _on(bench_rack.rack, test)
