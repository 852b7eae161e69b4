"""A loop whose time waits for its tasks: simulated devices do not time out because a machine is busy."""

import asyncio
import time

import pytest

from esim_bench import clock


def _work(seconds: float) -> None:
    time.sleep(seconds)


def test_time_runs_at_its_rate() -> None:
    async def main() -> tuple[float, float]:
        began, real = clock.now(), time.monotonic()
        for _ in range(10):
            await asyncio.sleep(0.5)
        return clock.now() - began, time.monotonic() - real

    passed, real = clock.run_paced(main(), 50.0)
    assert passed == pytest.approx(5.0, abs=0.2)
    assert 0.08 <= real < 2.0


def test_time_does_not_pass_while_a_task_works() -> None:
    async def works() -> None:
        for _ in range(20):
            _work(0.005)
            await asyncio.sleep(0)

    async def main() -> float:
        began = clock.now()
        async with asyncio.timeout(1.0):
            await works()
        return clock.now() - began

    # 0.1 s of work would be 10 s of the loop's time, and a timeout.
    assert clock.run_paced(main(), 100.0) < 1.0


def test_timers_fire_in_their_order_at_their_time() -> None:
    async def main() -> list[tuple[float, str]]:
        loop, fired, began = asyncio.get_running_loop(), list[tuple[float, str]](), clock.now()
        for delay, name in ((0.3, "b"), (0.1, "a"), (0.7, "c")):
            loop.call_later(delay, lambda name=name: fired.append((clock.now() - began, name)))
        _work(0.05)
        await asyncio.sleep(1.0)
        return fired

    fired = clock.run_paced(main(), 100.0)
    assert [name for _, name in fired] == ["a", "b", "c"]
    assert [at for at, _ in fired] == pytest.approx([0.1, 0.3, 0.7], abs=0.02)


def test_threads_and_descriptors_are_heard() -> None:
    async def main() -> tuple[int, float]:
        began = time.monotonic()
        return await asyncio.to_thread(lambda: 7), time.monotonic() - began

    result, real = clock.run_paced(main(), 1.0)
    assert result == 7
    assert real < 5.0


def test_the_rate_can_be_changed_and_stamps_never_go_back() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, clock.PacedLoop)
        assert clock.rate() == 200.0
        first = clock.wall_ns()
        await asyncio.sleep(10.0)
        assert clock.wall_ns() - first == pytest.approx(10e9, rel=0.1)
        ahead = clock.wall_ns()
        loop.catch_up()
        assert clock.wall_ns() >= ahead, "what is ahead of the system's clock stays there"
        loop.rate = 1.0
        _work(0.01)
        await asyncio.sleep(0.02)
        assert clock.wall_ns() > ahead

    clock.run_paced(main(), 200.0)


def test_stamps_go_on_from_the_system_s_clock() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, clock.PacedLoop)
        _work(0.3)  # more than is caught up with
        await asyncio.sleep(0.001)
        loop.catch_up()
        return abs(clock.wall_ns() - time.time_ns())

    assert clock.run_paced(main(), 0.1) < 50_000_000
