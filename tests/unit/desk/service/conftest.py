"""A desk over its real pipe, one process for all tests of a module, on a loop that lives as long."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from esim_bench import data
from esim_bench.desk.api import DeskError, Trouble
from esim_bench.desk.client import RemoteDesk

T = TypeVar("T")
SECONDS = 60.0


class OnDesk:
    """A desk, its notices, and the loop that both live on."""

    def __init__(self, rack: Path, rate: float | None = None) -> None:
        self.notices: list[Any] = []
        self.rack = rack
        self._runner = asyncio.Runner()
        self.desk = self(self._made(rate))

    async def _made(self, rate: float | None) -> RemoteDesk:
        desk = RemoteDesk(self.rack, rate)
        desk.listen(self.notices.append)
        return desk

    def __call__(self, job: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop."""

        async def limited() -> T:
            async with asyncio.timeout(SECONDS):
                return await job

        return self._runner.run(limited())

    def trouble(self, job: Coroutine[Any, Any, Any]) -> Trouble:
        """Return the trouble that a call ends with."""
        with pytest.raises(DeskError) as caught:
            self(job)
        return caught.value.trouble

    async def notice(self, kind: type[T], wanted: Callable[[T], bool] = lambda notice: True, after: int = 0) -> T:
        """Wait for a notice; ``after``: how many there had been."""
        while True:
            for one in self.notices[after:]:
                if isinstance(one, kind) and wanted(one):
                    return one
            await asyncio.sleep(0.005)

    def close(self) -> None:
        """End it all."""
        self(self.desk.close())
        self._runner.close()


@pytest.fixture(scope="module")
def open_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., OnDesk]]:
    """Return what opens a desk: ``open_desk("sim-3", rate=None)``; all in one home, which outlives the single test."""
    opened: list[OnDesk] = []
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("desk")

        def make(rack: str | Path = "sim-3", rate: float | None = None) -> OnDesk:
            patch.setenv("ESIM_BENCH_HOME", str(folder / "home"))
            patch.setenv("ESIM_BENCH_LOCKS", str(folder / "locks"))
            on = OnDesk(data.rack_file(rack) if isinstance(rack, str) else rack, rate)
            # The process is there before a single test's own home is.
            on(on.desk.apdu_names())
            opened.append(on)
            return on

        yield make
        for on in opened:
            on.close()
