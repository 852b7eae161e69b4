"""Waits for an operator's answer, or for what he was asked to do to be seen, whichever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from esim_bench.errors import BenchError, DeviceTimeout, RigError
from esim_bench.rack.operator import Answer, Operator, Question
from esim_bench.scenario.results import Aborted, Skip

ASK_SECONDS: Final = 300.0
LOOK_SECONDS: Final = 0.5
"""Between two looks whether it is done."""
SEEN_SECONDS: Final = 15.0
"""How long something that the operator says is done may take until it is seen."""

Look = Callable[[], Awaitable[bool]]


async def question_answered(operator: Operator, question: Question, until: Look | None, seconds: float) -> str:
    """Ask, and wait; return how it ended, in words: "done", "done, and seen", "seen".

    Raises Skip, Aborted, DeviceTimeout after ``seconds``, RigError when the operator's "done" is not seen.
    """
    asking = asyncio.ensure_future(operator.ask(question))
    looking = asyncio.ensure_future(_look(until)) if until is not None else None
    try:
        waiting = {task for task in (asking, looking) if task is not None}
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return await _answered(asking.result(), question, looking)
        if looking is not None and looking.done():
            looking.result()
            return "seen"
    finally:
        for task in (asking, looking):
            if task is not None:
                task.cancel()
        await asyncio.gather(asking, *([looking] if looking is not None else []), return_exceptions=True)
    raise DeviceTimeout(
        "the operator gave no answer",
        expected=f"{question.text!r} within {seconds:g} s",
        found="nothing",
        hint="a run that nobody watches wants --unattended",
    )


async def _answered(answer: Answer | None, question: Question, looking: asyncio.Future[None] | None) -> str:
    match answer:
        case None:
            raise Skip("nobody answers", expected=question.text, found="the end of the input")
        case Answer.SKIP:
            raise Skip("skipped by the operator", expected=question.text)
        case Answer.ABORT:
            raise Aborted("ended by the operator", expected=question.text)
        case Answer.DONE:
            if looking is None:
                return "done"
    done, _ = await asyncio.wait({looking}, timeout=SEEN_SECONDS)
    if not done:
        raise RigError(
            "the operator says done, but nothing is seen of it",
            expected=question.text,
            found=f"no change within {SEEN_SECONDS:g} s",
            hint="the right slot, the right way round, pushed in all the way?",
        )
    looking.result()
    return "done, and seen"


async def _look(until: Look) -> None:
    while True:
        try:
            if await until():
                return
        except BenchError:
            pass  # what cannot be looked at just now is not seen
        await asyncio.sleep(LOOK_SECONDS)
