"""The thread of a device whose library blocks."""

import asyncio
import threading
import time

import pytest

from esim_bench import clock
from esim_bench.errors import DeviceTimeout, TransportError
from esim_drivers.worker import Worker


def test_calls_run_in_order_on_one_thread_beside_the_loop():
    order = []

    def call(number):
        order.append((number, threading.current_thread().name))
        return number * 2

    async def main():
        worker = Worker("reader 1")
        results = await asyncio.gather(*(worker.run(call, number, timeout=5) for number in range(5)))
        worker.close()
        return results

    assert clock.run_real(main()) == [0, 2, 4, 6, 8]
    assert order == [(number, "worker reader 1") for number in range(5)]


def test_what_a_call_raises_is_raised_to_its_caller():
    def fail():
        raise KeyError("x")

    def stop():
        raise StopIteration

    async def main():
        worker = Worker("w")
        with pytest.raises(KeyError):
            await worker.run(fail, timeout=5)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await worker.run(stop, timeout=5)
        assert await worker.run(lambda: 1, timeout=5) == 1
        worker.close()

    clock.run_real(main())


def test_a_call_without_end_poisons_the_worker_and_its_late_result_is_nobodys():
    release, cleaned = threading.Event(), threading.Event()

    def hang():
        release.wait(10)
        return "late"

    async def main():
        worker = Worker("reader 1", cleanup=cleaned.set)
        with pytest.raises(DeviceTimeout, match=r"reader 1: no answer.*within 0.05 s.*anew"):
            await worker.run(hang, timeout=0.05)
        assert worker.poisoned
        with pytest.raises(TransportError, match="open the device anew"):
            await worker.run(lambda: 1, timeout=5)
        assert not cleaned.is_set()
        release.set()
        await asyncio.to_thread(cleaned.wait, 5)
        worker.close()

    clock.run_real(main())
    assert cleaned.is_set(), "what the call held is released when it ends after all"


def test_the_wait_for_an_earlier_call_counts():
    release = threading.Event()

    async def main():
        worker = Worker("w")
        first = asyncio.create_task(worker.run(release.wait, 10, timeout=10))
        await asyncio.sleep(0)
        with pytest.raises(DeviceTimeout):
            await worker.run(lambda: None, timeout=0.05)
        release.set()
        assert await first is True

    clock.run_real(main())


def test_a_call_that_shows_signs_of_life_may_take_longer():
    seen = time.monotonic()

    def long():
        nonlocal seen
        for _ in range(10):
            time.sleep(0.02)
            seen = time.monotonic()
        return "done"

    async def main():
        worker = Worker("w")
        result = await worker.run(long, timeout=0.1, last_seen=lambda: seen)
        with pytest.raises(DeviceTimeout):
            await worker.run(time.sleep, 0.4, timeout=0.1, last_seen=lambda: seen)
        return result

    assert clock.run_real(main()) == "done"


def test_a_cancelled_call_that_has_not_begun_never_does():
    release, ran = threading.Event(), []

    async def main():
        worker = Worker("w")
        first = asyncio.create_task(worker.run(release.wait, 10, timeout=10))
        second = asyncio.create_task(worker.run(ran.append, 1, timeout=10))
        await asyncio.sleep(0.02)
        second.cancel()
        await asyncio.sleep(0)
        release.set()
        await first
        await worker.run(ran.append, 2, timeout=10)
        worker.close()

    clock.run_real(main())
    assert ran == [2]


def test_a_loop_that_ended_before_its_call_does_no_harm():
    release, done = threading.Event(), threading.Event()

    async def main():
        worker = Worker("w", cleanup=done.set)
        task = asyncio.create_task(worker.run(release.wait, 10, timeout=10))
        await asyncio.sleep(0.02)
        task.cancel()
        worker.close()
        worker.close()

    clock.run_real(main())
    release.set()
    assert done.wait(5)
