"""The runs of the desk: a process each, which is told what to do and tells how it goes."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from esim_bench.desk import wire
from esim_bench.desk.api import DeskError, RunBegan, RunEnded, RunRequest, Trouble
from esim_bench.desk.keeper import Keeper
from esim_bench.rack.model import Rack

END_SECONDS: Final = 240.0
"""How long a run that is aborted may take to leave its devices safe, before its process is killed."""


@dataclass(slots=True)
class _Run:
    key: str
    scenario: str
    keepers: list[Keeper]
    process: asyncio.subprocess.Process
    began: asyncio.Future[Trouble | None]
    """Whether it began (None), or why not."""
    run: str | None = None
    ended: bool = False
    task: asyncio.Task[None] | None = None


class Runs:
    """Starts, aborts and answers runs. ``tell``: hears their notices."""

    def __init__(self, rack: Rack, keepers: Mapping[str, Keeper], tell: Callable[[Any], None]) -> None:
        self._rack = rack
        self._keepers = keepers
        self._tell = tell
        self._runs: dict[str, _Run] = {}
        self._numbers = itertools.count(1)

    async def start(self, request: RunRequest) -> str:
        """Start a run on slots that are free; those that are open are released first. Raises DeskError."""
        unknown = [name for name in request.slots if name not in self._keepers]
        if unknown or not request.slots:
            raise DeskError(
                Trouble(
                    kind="ConfigError",
                    what="no slot of this name" if unknown else "a run without slots",
                    expected=f"one of {', '.join(self._keepers)}",
                    found=", ".join(unknown),
                )
            )
        key = f"run-{next(self._numbers)}"
        keepers = [self._keepers[name] for name in dict.fromkeys(request.slots)]
        for keeper in keepers:
            keeper.refuse_in_run()
        for keeper in keepers:
            keeper.in_run = f"{request.scenario}, which is just beginning"
        try:
            await asyncio.gather(*(keeper.release() for keeper in keepers))
            run = await self._spawn(key, request, keepers)
        except BaseException:
            for keeper in keepers:
                keeper.in_run = None
            raise
        trouble = await asyncio.shield(run.began)
        if trouble is not None:
            raise DeskError(trouble)
        return key

    async def _spawn(self, key: str, request: RunRequest, keepers: list[Keeper]) -> _Run:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "esim_bench.desk.runner"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=wire.LINE_LIMIT,
            )
        except OSError as exc:
            raise DeskError(Trouble.of(exc)) from exc
        run = _Run(key, request.scenario, keepers, process, asyncio.get_running_loop().create_future())
        self._runs[key] = run
        self._send(
            run,
            {"rack": str(self._rack.path.absolute()), "key": key, "request": request.model_dump(mode="json")},
        )
        run.task = asyncio.create_task(self._relay(run), name=key)
        return run

    def _send(self, run: _Run, document: Mapping[str, Any]) -> None:
        stdin = run.process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(wire.line(document))

    async def _relay(self, run: _Run) -> None:
        """Pass on what a run tells, until its process has ended."""
        assert run.process.stdout is not None
        end: RunEnded | None = None
        async for raw in run.process.stdout:
            try:
                notice = wire.NOTICE.validate_json(raw)
            except ValidationError:
                continue
            if isinstance(notice, RunEnded):
                end = notice
                break
            if isinstance(notice, RunBegan):
                run.run = notice.run
                for keeper in run.keepers:
                    # The run gives every slot its power, and leaves a simulated card of its own.
                    keeper.in_run, keeper.dark = f"{run.scenario}, run {notice.run}", False
                self._tell(notice)
                run.began.set_result(None)
            else:
                self._tell(notice)
        if run.process.stdin is not None:
            run.process.stdin.close()
        code = await run.process.wait()
        if end is None:
            end = RunEnded(key=run.key, run=run.run, outcome=None, trouble=_died(code))
        self._end(run, end)

    def _end(self, run: _Run, end: RunEnded) -> None:
        run.ended = True
        for keeper in run.keepers:
            keeper.in_run = None
        del self._runs[run.key]
        if run.began.done():
            self._tell(end)
        else:
            run.began.set_result(end.trouble or Trouble(kind="Aborted", what="the run ended before it began"))

    def _find(self, key: str) -> _Run:
        try:
            return self._runs[key]
        except KeyError:
            known = ", ".join(self._runs) or "none runs"
            raise DeskError(
                Trouble(kind="ConfigError", what="no such run is under way", expected=known, found=key)
            ) from None

    async def abort(self, key: str) -> None:
        """Have a run end; its end is told by a notice. Raises DeskError when there is none of this key."""
        self._send(self._find(key), {"abort": True})

    async def answer(self, key: str, slot: str, answer: str) -> None:
        """Answer a run's question. Raises DeskError when there is no such run."""
        self._send(self._find(key), {"slot": slot, "answer": answer})

    async def close(self) -> None:
        """Abort all runs, and wait until they have left their devices; never raises."""
        runs = list(self._runs.values())
        for run in runs:
            if run.process.stdin is not None:
                run.process.stdin.close()
        tasks = [run.task for run in runs if run.task is not None]
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=END_SECONDS)
        if left:
            for run in runs:
                if not run.ended:
                    run.process.kill()
            await asyncio.wait(left, timeout=END_SECONDS)


def _died(code: int) -> Trouble:
    return Trouble(
        kind="RigError",
        what="the run's process ended without a result",
        found=f"signal {-code}" if code < 0 else f"exit code {code}",
        hint="its traces are kept; the log folder in ESIM_BENCH_HOME may say more",
    )
