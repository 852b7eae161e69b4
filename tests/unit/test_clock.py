"""Virtual time: sleeping is free, deadlocks and spinning are errors."""

import asyncio

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
