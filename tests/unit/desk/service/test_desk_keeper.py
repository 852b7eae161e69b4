"""The desk in the test's own process: its order of jobs, what breaks under it, journals that cannot be written."""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from esim_bench import clock
from esim_bench.desk import keeper as keeping
from esim_bench.desk.api import Busy, DeskError, JournalOpened, SlotTrouble, Source, Trouble
from esim_bench.desk.local import LocalDesk
from esim_bench.desk.service import Service
from esim_bench.errors import ConfigError, InUseError
from esim_bench.rack.by_hand import lock_simulated
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import Slot
from esim_bench.trace import Reader

T = TypeVar("T")


class Local:
    """A desk, and what it told."""

    def __init__(self) -> None:
        self.notices: list[Any] = []
        self.desk: LocalDesk

    def troubles(self, slot: str = "A1") -> list[Trouble | None]:
        """Return what was told of a slot's troubles."""
        return [one.trouble for one in self.notices if isinstance(one, SlotTrouble) and one.slot == slot]


def _on_a_desk(test: Callable[[Local], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        made = Local()
        made.desk = LocalDesk(load_rack("sim-3"))
        made.desk.listen(made.notices.append)
        try:
            return await test(made)
        finally:
            await made.desk.close()

    return clock.run_paced(main(), 60.0)


@pytest.fixture
def local() -> Callable[..., Any]:
    """Return what runs a test's coroutine with a desk on a paced loop."""
    return _on_a_desk


async def _until(seen: Callable[[], object]) -> None:
    for _ in range(10_000):
        if seen():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it does not come")


async def _trouble(job: Coroutine[Any, Any, Any]) -> Trouble:
    with pytest.raises(DeskError) as caught:
        await job
    return caught.value.trouble


def test_jobs_of_a_slot_come_one_after_another_in_their_order(local: Any) -> None:
    async def test(on: Local) -> None:
        await asyncio.gather(
            on.desk.profiles("A1"), on.desk.download("A1", Source(profile="operational-a")), on.desk.notifications("A1")
        )
        said = [one.what for one in on.notices if isinstance(one, Busy)]
        expected = ["listing profiles", None, "downloading a profile", None, "listing notifications", None]
        assert said == expected

    local(test)


def test_a_card_that_is_pulled_is_told_of_before_anybody_asks(local: Any) -> None:
    async def test(on: Local) -> None:
        await on.desk.profiles("A1")
        slot = on.desk.keepers["A1"].slot
        assert slot is not None
        slot.hardware.extras["hand"].remove_card()
        await _until(on.troubles)
        (trouble,) = on.troubles()
        assert trouble is not None
        assert (trouble.what, trouble.where) == ("the card is gone", "A1")
        assert "put it back" in trouble.hint

        # The simulated card is put back by opening its slot anew.
        assert await on.desk.profiles("A1")
        assert on.troubles()[-1] is None

    local(test)


def test_a_card_that_is_pulled_in_a_job_ends_it(local: Any) -> None:
    async def test(on: Local) -> None:
        await on.desk.profiles("A1")
        keeper = on.desk.keepers["A1"]

        async def pulled(slot: Slot) -> None:
            slot.hardware.extras["hand"].remove_card()
            await slot.lpa.profiles()

        trouble = await _trouble(keeper.work("pulling", pulled))
        assert trouble.kind == "TransportError"
        assert on.troubles()[-1] == trouble
        assert await on.desk.profiles("A1")
        assert on.troubles()[-1] is None

    local(test)


def test_a_mistake_is_no_trouble_of_the_slot(local: Any) -> None:
    async def test(on: Local) -> None:
        async def mistaken(slot: Slot) -> None:
            raise ConfigError("not like this", expected="that", hint="try that")

        async def broken(slot: Slot) -> None:
            raise KeyError("oops")

        keeper = on.desk.keepers["A1"]
        trouble = await _trouble(keeper.work("a mistake", mistaken))
        assert (trouble.kind, trouble.sentence, trouble.hint) == (
            "ConfigError",
            "not like this: expected that",
            "try that",
        )
        crash = await _trouble(keeper.work("a crash", broken))
        assert (crash.kind, crash.what) == ("crash", "unexpected KeyError: 'oops'")
        assert on.troubles() == []
        assert await on.desk.profiles("A1")

    local(test)


@pytest.mark.parametrize("held", [False, True], ids=["let go", "held by its driver"])
def test_a_driver_s_task_that_dies_is_told_of_with_its_slot(held: bool) -> None:
    notices: list[Any] = []
    rack = load_rack("sim-3")
    nothing = open(os.devnull, "r+b")  # noqa: SIM115
    service = Service(rack, None, nothing, nothing)

    async def dies() -> None:
        raise RuntimeError("the driver's reader loop")

    async def job(slot: Slot) -> None:
        task = asyncio.create_task(dies(), name="reader loop")
        if held:
            slot.hardware.extras["task"] = task

    async def main() -> None:
        service.watch_tasks()
        desk = service.desk = LocalDesk(rack)
        desk.listen(notices.append)
        await desk.keepers["B1"].work("starting a driver", job)
        await _until(lambda: any(isinstance(one, SlotTrouble) for one in notices))
        assert await desk.profiles("B1")
        await desk.close()

    with nothing:
        clock.run_paced(main(), 60.0)
    first, last = [one for one in notices if isinstance(one, SlotTrouble)]
    assert first.slot == last.slot == "B1"
    assert first.trouble is not None
    assert first.trouble.what == "unexpected RuntimeError: the driver's reader loop"
    assert "opened anew" in first.trouble.hint
    assert last.trouble is None


def test_a_simulated_slot_that_a_command_holds_is_waited_for(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOCK_SECONDS", 0.3)

    async def test(on: Local) -> None:
        rack = load_rack("sim-3")
        held = lock_simulated(rack, rack.one("A1"), wait=0.0, note="a command")
        trouble = await _trouble(on.desk.profiles("A1"))
        assert trouble.kind == InUseError.__name__
        assert f"process {os.getpid()}" in trouble.found or str(os.getpid()) in trouble.found

        asyncio.get_running_loop().call_later(2.0, held.release)
        assert await on.desk.profiles("A1")

    local(test)


def test_an_idle_slot_is_released(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SIM_IDLE_SECONDS", 0.0)

    async def test(on: Local) -> None:
        await on.desk.profiles("A1")
        await _until(lambda: on.desk.keepers["A1"].slot is None)
        rack = load_rack("sim-3")
        lock_simulated(rack, rack.one("A1"), wait=0.0).release()

    local(test)


def test_a_full_disk_is_told_of_and_the_work_goes_on(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    full = False

    def limited(descriptor: int, data: bytes) -> int:
        if full and os.readlink(f"/proc/self/fd/{descriptor}").endswith(".pcapng"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", limited)

    async def test(on: Local) -> None:
        nonlocal full
        await on.desk.profiles("A1")
        full = True
        assert await on.desk.profiles("A1")
        (trouble,) = on.troubles()
        assert trouble is not None
        assert trouble.what == "cannot write the trace"
        assert trouble.found == "No space left on device"
        assert "make room" in trouble.hint
        assert await on.desk.profiles("A1"), "and again"

        full = False
        assert await on.desk.profiles("A1")
        assert on.troubles()[-1] is None
        paths = [Path(one.path) for one in on.notices if isinstance(one, JournalOpened)]
        assert next(path.name for path in paths) == "A1.pcapng"
        assert len(set(paths)) == len(paths) >= 2
        with Reader(paths[-1]) as journal:
            assert journal.apdus()

    local(test)


def test_what_is_done_is_kept_for_the_next_process(local: Any) -> None:
    async def first(on: Local) -> None:
        await on.desk.download("A1", Source(profile="operational-a"), enable=True)

    async def second(on: Local) -> list[str]:
        return [one.name for one in await on.desk.profiles("A1") if one.state == "enabled"]

    local(first)
    assert local(second) == ["Operational A"]
