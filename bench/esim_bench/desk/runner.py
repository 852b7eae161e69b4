"""A run in a process of its own, told what to do on stdin, telling how it goes on stdout: a JSON object a line.

First line in: ``{"rack": PATH, "key": KEY, "request": {...}}``; later ``{"slot": "A1", "answer": "done"}`` and
``{"abort": true}``. The end of stdin, SIGTERM and SIGINT are an abort as well: devices are left in their safe state.
Out come the notices of the desk that carry the run's key.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from esim_bench.desk import wire
from esim_bench.desk.api import RunBegan, RunEnded, RunQuestion, RunRequest, RunStep, Trouble
from esim_bench.desk.pipes import log, protocol_pipes
from esim_bench.errors import BenchError, ConfigError
from esim_bench.rack.by_hand import is_foreign
from esim_bench.rack.check import check
from esim_bench.rack.model import load_rack
from esim_bench.rack.operator import Answer, Question
from esim_bench.rack.source import ProfileSource
from esim_bench.scenario import engine, registry
from esim_bench.scenario.interrupted import settle
from esim_bench.scenario.results import RunResult


class AskingOperator:
    """The person before the screen: asked by a notice, answered by a line."""

    def __init__(self, key: str, tell: Callable[[Any], None]) -> None:
        self._key = key
        self._tell = tell
        self._waiting: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Future[Answer]]] = {}

    async def ask(self, question: Question) -> Answer | None:
        """Ask, and wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[question.slot] = loop, future
        self._tell(RunQuestion(key=self._key, slot=question.slot, text=question.text, action=question.action.value))
        try:
            return await future
        finally:
            self._waiting.pop(question.slot, None)
            self._tell(RunQuestion(key=self._key, slot=question.slot, text=None))

    def answer(self, slot: str, answer: Answer) -> None:
        """Take an answer, from whatever thread; what nobody waits for is passed over."""
        loop, future = self._waiting.get(slot, (None, None))
        if loop is not None and future is not None:
            loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(answer))


class Lines:
    """Listens to stdin in a thread of its own, because the run's loop may have no real time."""

    def __init__(self, lines: BinaryIO, operator: AskingOperator) -> None:
        self._lines = lines
        self._operator = operator
        self._aborted = False
        self._over = False
        threading.Thread(target=self._listen, name="stdin", daemon=True).start()

    def over(self) -> None:
        """Say that the run is over: nothing is aborted any more."""
        self._over = True

    def _listen(self) -> None:
        for raw in iter(self._lines.readline, b""):
            try:
                document = wire.parse(raw)
                if document.get("abort"):
                    self._abort()
                elif "answer" in document:
                    self._operator.answer(str(document.get("slot")), Answer(document["answer"]))
            except ValueError as exc:
                log(f"not understood: {exc}")
        self._abort()

    def _abort(self) -> None:
        # Once: a second SIGINT would break off what leaves the devices safe.
        if not self._aborted and not self._over:
            self._aborted = True
            os.kill(os.getpid(), signal.SIGINT)


def main() -> int:
    """Do one run. The exit code is 0 whatever came of it, if that could be told."""
    lines, out = protocol_pipes()
    lock = threading.Lock()

    def tell(notice: Any) -> None:
        with lock:
            try:
                out.write(wire.notice_line(notice))
                out.flush()
            except OSError:
                pass  # nobody listens any more; the end of stdin says so too

    try:
        first = wire.parse(lines.readline())
        key, request = str(first["key"]), RunRequest.model_validate(first["request"])
        rack = str(first["rack"])
    except (ValueError, KeyError) as exc:
        log(f"no run was asked for: {exc}")
        return 2
    operator = AskingOperator(key, tell)
    begun: list[str] = []

    def on_begin(run: str) -> None:
        begun.append(run)
        tell(RunBegan(key=key, run=run))

    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    listening = Lines(lines, operator)
    outcome, trouble = None, None
    try:
        result = _run(rack, key, request, operator, tell, on_begin)
        outcome = result.outcome.value if result.outcome is not None else None
        if result.trouble:
            trouble = Trouble(kind="RigError", what=result.trouble)
    except KeyboardInterrupt:
        outcome = "ABORTED" if begun else None
        trouble = None if begun else Trouble(kind="Aborted", what="the run was aborted before it began")
    except Exception as exc:
        trouble = Trouble.of(exc)
        if not isinstance(exc, BenchError | OSError):
            log(f"{key} failed", exc)
    listening.over()
    tell(RunEnded(key=key, run=begun[0] if begun else None, outcome=outcome, trouble=trouble))
    return 0


def _run(
    rack_path: str,
    key: str,
    request: RunRequest,
    operator: AskingOperator,
    tell: Callable[[Any], None],
    on_begin: Callable[[str], None],
) -> RunResult:
    settle()
    rack = load_rack(rack_path)
    chosen = registry.scenario(request.scenario)
    params = chosen.parse(request.params)
    if not request.slots:
        raise ConfigError("a run without slots", expected="at least one slot")
    if request.repeat < 1:
        raise ConfigError("how often to run", expected="at least once", found=request.repeat)
    slots = [rack.one(name) for name in dict.fromkeys(request.slots)]
    check(rack, slots)
    options = engine.RunOptions(
        seed=request.seed,
        repeat=request.repeat,
        rate=request.rate,
        real_time=isinstance(params, ProfileSource) and is_foreign(params),
        allow_destructive=request.allow_destructive,
        operator=operator,
        note=chosen.name,
        tell=log,
        on_begin=on_begin,
    )

    def on_step(slot: str, step: str, outcome: str | None) -> None:
        tell(RunStep(key=key, slot=slot, step=step, outcome=outcome))

    result, _folder = engine.run_scenario(rack, slots, chosen, params, options, on_step)
    return result


if __name__ == "__main__":
    sys.exit(main())
