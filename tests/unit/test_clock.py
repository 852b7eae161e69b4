"""Virtual time: sleeping is free, deadlocks and spinning are errors."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from esim_bench import clock
from esim_bench.errors import RigError


def test_a_night_of_waiting_takes_no_time() -> None:
    async def night() -> float:
        await asyncio.sleep(8 * 3600)
        return clock.now()

    assert clock.run_virtual(night()) == 8 * 3600


def test_stamps_start_at_the_virtual_epoch() -> None:
    async def stamps() -> list[int]:
        first = clock.wall_ns()
        await asyncio.sleep(0.25)
        return [first, clock.wall_ns()]

    assert clock.run_virtual(stamps()) == [clock.VIRTUAL_EPOCH_NS, clock.VIRTUAL_EPOCH_NS + 250_000_000]


def test_tasks_run_in_the_order_of_their_timers() -> None:
    order: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(name)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
                group.create_task(sleeper(name, seconds))

    clock.run_virtual(main())
    assert order == ["a", "b", "c"]


def test_timeouts_count_virtual_seconds() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(90):
                await asyncio.sleep(3600)
        return clock.now()

    assert clock.run_virtual(main()) == 90


def test_a_neighbours_timers_do_not_move_a_tasks_stamps() -> None:
    async def worker(step: float, stamps: list[int]) -> None:
        for _ in range(100):
            await asyncio.sleep(step)
            stamps.append(clock.wall_ns())

    async def main(neighbours: int) -> list[int]:
        stamps: list[int] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(worker(0.1, stamps))
            for number in range(neighbours):
                group.create_task(worker(0.1 + number * 1e-12, []))
        return stamps

    assert clock.run_virtual(main(0)) == clock.run_virtual(main(20))


def test_waiting_for_nothing_is_a_deadlock() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RigError, match="deadlock"):
        clock.run_virtual(main())


@pytest.mark.filterwarnings("ignore")  # the spinning task cannot be ended in an orderly way
def test_spinning_without_time_advancing_is_an_error() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - the mistake under test
            await asyncio.sleep(0)

    with pytest.raises(RigError, match="spins"):
        clock.run_virtual(main())


async def passing(seconds: float) -> None:
    if not clock.leap(seconds):
        await asyncio.sleep(seconds)


def test_a_leap_is_a_sleep_that_nobody_could_have_noticed() -> None:
    async def story(wait: Callable[[float], Awaitable[None]]) -> list[tuple[str, float]]:
        told: list[tuple[str, float]] = []

        async def device(name: str, *seconds: float) -> None:
            for pause in seconds:
                await wait(pause)
                told.append((name, clock.now()))

        async with asyncio.TaskGroup() as group:
            group.create_task(device("a", 1.0, 0.5, 0.0, 2.5))
            group.create_task(device("b", 1.5, 0.25, 0.1, 0.1, 7.0, 1.0))
        await device("alone", 1.0, 2.0)
        return told

    assert clock.run_virtual(story(passing)) == clock.run_virtual(story(asyncio.sleep))


def test_a_timeout_ends_leaps_too() -> None:
    async def forever() -> None:
        while True:
            await passing(3)

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(forever(), 10)
        return clock.now()

    assert clock.run_virtual(main()) == 10


def test_leaps_of_no_time_are_spinning() -> None:
    async def main() -> None:
        while True:
            await passing(0)

    with pytest.raises(RigError, match="spins"):
        clock.run_virtual(main())
