"""The power is cut while a job runs: the job ends there, the trace shows where, and nobody gives the power back."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from esim_bench.desk.api import DeskError, JournalOpened, PowerView, Progress, SlotTrouble, Source, Trouble
from esim_bench.events import ApduEvent, MarkEvent, PowerAction, PowerEvent
from esim_bench.trace import Reader


@pytest.fixture(scope="module")
def on(open_desk: Callable[..., Any]) -> Any:
    """Return a desk whose simulated time is slow enough to come in between."""
    return open_desk("sim-iot-3", rate=12.0)


async def _ended(job: Any) -> Trouble | None:
    try:
        await job
    except DeskError as exc:
        return exc.trouble
    return None


async def _cut_in_mid_download(on: Any, slot: str) -> tuple[Trouble | None, Trouble | None, PowerView]:
    before = len(on.notices)
    download = asyncio.create_task(_ended(on.desk.download(slot, Source(profile="operational-a"), enable=True)))
    await on.notice(Progress, lambda one: one.slot == slot and one.done >= 2, before)
    waiting = asyncio.create_task(_ended(on.desk.profiles(slot)))
    view = await on.desk.power_off(slot)
    return await download, await waiting, view


@pytest.mark.parametrize("slot", ["A1", "B1"])
def test_a_download_ends_in_its_middle(on: Any, slot: str) -> None:
    before = on(on.desk.profiles(slot))
    download, waiting, view = on(_cut_in_mid_download(on, slot))

    assert download is not None
    assert download.kind == "PowerCut"
    assert download.what == "the power was cut during: downloading a profile"
    assert "profiles and notifications" in download.hint
    assert waiting is not None
    assert waiting.what == "the slot was left without power"
    assert not view.powered
    assert view.proof

    path = next(one.path for one in on.notices if isinstance(one, JournalOpened) and one.slot == slot)
    with Reader(path) as journal:
        events = [record.event for record in journal]
    mark = next(at for at, one in enumerate(events) if isinstance(one, MarkEvent) and "power cut by hand" in one.text)
    off = next(
        at
        for at, one in enumerate(events)
        if isinstance(one, PowerEvent) and one.action is PowerAction.OFF and at > mark
    )
    last = [one for one in events[:off] if isinstance(one, ApduEvent)][-1]
    assert last.command[1] in (0xE2, 0xC0), "the last thing before the cut was a block of the profile"
    assert not [one for one in events[off:] if isinstance(one, ApduEvent)]

    assert on(on.desk.power_on(slot)).powered
    assert on(on.desk.profiles(slot)) == before, "what was not installed to its end is not there"


@pytest.mark.parametrize("slot", ["A1", "B1"])
def test_a_download_is_cut_after_the_segment_that_was_asked_for(on: Any, slot: str) -> None:
    on(on.desk.power_on(slot))
    before, waiting = on(on.desk.profiles(slot)), on(on.desk.notifications(slot))
    seen = len(on.notices)
    cut = on.trouble(on.desk.download(slot, Source(profile="operational-a"), cut_after=4))
    assert cut.kind == "PowerCut"
    assert [one.done for one in on.notices[seen:] if isinstance(one, Progress) and one.total == 8][-1] == 4
    assert on(on.desk.power_on(slot)).powered
    assert on(on.desk.profiles(slot)) == before
    assert [one.operation for one in on(on.desk.notifications(slot))[len(waiting) :]] == ["install"]


def test_the_wait_of_a_power_cycle_can_be_cut_short(on: Any) -> None:
    async def job() -> tuple[bool, Trouble | None, PowerView]:
        cycle = asyncio.create_task(_ended(on.desk.power_cycle("A1", 3000.0)))
        await asyncio.sleep(0.2)
        meanwhile = await on.desk.power("A1")
        view = await on.desk.power_off("A1")
        return meanwhile.powered, await cycle, view

    meanwhile, trouble, view = on(job())
    assert not meanwhile
    assert trouble is not None
    assert trouble.what == "the power was cut during: power cycle, 3000 s"
    assert not view.powered
    assert on(on.desk.power_on("A1")).powered


def test_a_slot_that_is_just_being_started(on: Any) -> None:
    async def job() -> Trouble | None:
        read = asyncio.create_task(_ended(on.desk.read("C1")))
        await asyncio.sleep(0.1)
        await on.desk.power_off("C1")
        return await read

    trouble = on(job())
    assert trouble is not None
    assert trouble.kind == "PowerCut"
    assert not on(on.desk.power("C1")).powered


def test_a_cut_that_there_are_too_few_segments_for_is_said(on: Any) -> None:
    on(on.desk.power_on("C1"))
    seen = len(on.notices)
    assert len(on(on.desk.download("C1", Source(profile="operational-a"), cut_after=99))) == 2
    (told,) = [one.trouble for one in on.notices[seen:] if isinstance(one, SlotTrouble) and one.trouble]
    assert told.what == "the power was not cut: the profile came in 8 segments"
