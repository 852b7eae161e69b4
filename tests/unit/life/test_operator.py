"""The person at the bench: asked at a terminal, skipped where nobody is, simulated where the slot is."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from esim_bench import clock
from esim_bench.cli.main import invoke
from esim_bench.errors import DeviceTimeout, RigError, TransportError
from esim_bench.rack.operator import Action, Answer, Operator, Question, TerminalOperator, operator_at_terminal
from esim_bench.scenario import asking, engine, hot_swap
from esim_bench.scenario.asking import question_answered
from esim_bench.scenario.context import Bench
from esim_bench.scenario.registry import Scenario
from esim_bench.scenario.results import Aborted, Outcome, RunResult, Skip
from esim_bench.trace import Reader

QUESTION = Question("A1", "take the 4FF out of A1", Action.REMOVE_CARD)


class Terminal:
    """A terminal of which we are the keyboard and the eyes."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.file = os.fdopen(theirs, "r+b", buffering=0)
        self.text = os.fdopen(os.dup(theirs), "w")

    def types(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def shows(self) -> str:
        os.set_blocking(self.ours, False)
        try:
            return os.read(self.ours, 65536).decode()
        except BlockingIOError:
            return ""
        finally:
            os.set_blocking(self.ours, True)

    def close(self) -> None:
        self.file.close()
        self.text.close()
        os.close(self.ours)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    one = Terminal()
    yield one
    one.close()


@pytest.fixture
def at_terminal(terminal: Terminal) -> TerminalOperator:
    return TerminalOperator(terminal.file, terminal.text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("\n", Answer.DONE), ("done\n", Answer.DONE), ("S\n", Answer.SKIP), ("what?\na\n", Answer.ABORT), ("\x04", None)],
)
def test_a_question_at_a_terminal(
    terminal: Terminal, at_terminal: TerminalOperator, typed: str, answer: Answer | None
) -> None:
    async def work() -> Answer | None:
        waiting = asyncio.create_task(at_terminal.ask(QUESTION))
        await asyncio.sleep(0)  # the loop is not blocked meanwhile
        for part in typed.splitlines(keepends=True):
            await asyncio.sleep(0.02)
            terminal.types(part)
        return await asyncio.wait_for(waiting, 5)

    assert clock.run_real(work()) is answer
    shown = terminal.shows()
    assert "A1: take the 4FF out of A1" in shown
    assert ("Enter, s or a?" in shown) == ("what" in typed)


def test_two_slots_ask_one_after_the_other(terminal: Terminal, at_terminal: TerminalOperator) -> None:
    async def work() -> list[Answer | None]:
        both = [asyncio.create_task(at_terminal.ask(Question(name, "now"))) for name in ("A1", "A2")]
        await asyncio.sleep(0.02)
        assert "A2" not in terminal.shows()
        terminal.types("\n")
        await both[0]
        await asyncio.sleep(0.02)
        assert "A2: now" in terminal.shows()
        terminal.types("s\n")
        return [await one for one in both]

    assert clock.run_real(work()) == [Answer.DONE, Answer.SKIP]


def test_nobody_is_there_without_a_terminal_in_ci_or_when_told_so(
    monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> None:
    assert operator_at_terminal() is None
    monkeypatch.setattr(sys, "stdin", terminal.text)
    monkeypatch.setattr(sys, "stderr", terminal.text)
    assert operator_at_terminal(environ=lambda name: None) is not None
    assert operator_at_terminal(environ=lambda name: "true") is None
    assert operator_at_terminal(unattended=True, environ=lambda name: None) is None


# -------------------------------------------------------------------------------------------------------- waiting


class Says:
    """An operator with one answer, after a while."""

    def __init__(self, answer: Answer | None, after: float = 1.0) -> None:
        self.answer, self.after = answer, after

    async def ask(self, question: Question) -> Answer | None:
        await asyncio.sleep(self.after)
        return self.answer


def ask(operator: Operator, until: asking.Look | None = None, seconds: float = 60.0) -> str:
    return clock.run_virtual(question_answered(operator, QUESTION, until, seconds))


def after(seconds: float) -> asking.Look:
    async def look() -> bool:
        if clock.now() < 1.0:
            raise TransportError("the reader is busy")
        return clock.now() >= seconds

    return look


def test_how_a_question_ends() -> None:
    assert ask(Says(Answer.DONE)) == "done"
    assert ask(Says(Answer.DONE), after(5.0)) == "done, and seen"
    assert ask(Says(Answer.DONE, 30.0), after(5.0)) == "seen"
    with pytest.raises(RigError, match="nothing is seen of it"):
        ask(Says(Answer.DONE), after(1e6))
    with pytest.raises(Skip, match="skipped by the operator"):
        ask(Says(Answer.SKIP))
    with pytest.raises(Skip, match="nobody answers"):
        ask(Says(None))
    with pytest.raises(Aborted):
        ask(Says(Answer.ABORT))
    with pytest.raises(DeviceTimeout, match="no answer"):
        ask(Says(Answer.DONE, 1e6), after(1e6))


# -------------------------------------------------------------------------------------------------------- scenarios


@pytest.fixture
def run(
    bench_rack: Any, scenario: Callable[[Callable[[Bench, Any], Awaitable[None]]], Scenario], no_parameters: BaseModel
) -> Callable[[Operator | None], RunResult]:
    async def steps(bench: Bench, params: Any) -> None:
        async with bench.step("hand"):
            await bench.ask("look at the lamp")

    def run_it(operator: Operator | None) -> RunResult:
        options = engine.RunOptions(operator=operator)
        return engine.run_scenario(bench_rack.rack, bench_rack.rack.slots[:1], scenario(steps), no_parameters, options)[
            0
        ]

    return run_it


@pytest.mark.parametrize(
    ("operator", "outcome", "detail"),
    [
        (Says(Answer.DONE, 0.0), Outcome.PASS, ""),
        (Says(Answer.SKIP, 0.0), Outcome.SKIPPED, "skipped by the operator"),
        (Says(Answer.ABORT, 0.0), Outcome.ABORTED, "ended by the operator"),
        (None, Outcome.SKIPPED, "this needs an operator: expected a person at a terminal, found nobody"),
    ],
)
def test_a_real_slot_asks_whoever_is_there(
    run: Callable[[Operator | None], RunResult], operator: Operator | None, outcome: Outcome, detail: str
) -> None:
    (slot,) = run(operator).slots
    assert (slot.outcome, slot.steps[0].outcome) == (outcome, outcome)
    assert detail in slot.steps[0].detail
    assert slot.trace is not None
    marks = [getattr(record.event, "text", "") for record in Reader(slot.trace)]
    assert ("operator asked: look at the lamp" in marks) == (operator is not None)
    assert ("operator: done" in marks) == (outcome is Outcome.PASS)


def test_hot_swap_on_a_simulated_rack(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "hot_swap", "--json"]) == 0
    slots = json.loads(capsys.readouterr().out)["slots"]
    assert [slot["outcome"] for slot in slots] == ["PASS", "SKIPPED", "SKIPPED"]
    steps = {step["name"]: step["detail"] for step in slots[0]["steps"]}
    assert steps["card out"] == steps["card in"] == "seen"
    assert "found MFF2" in slots[1]["steps"][0]["detail"]


def test_hot_swap_of_another_card_fails(bench_rack: Any, no_parameters: BaseModel) -> None:
    """A hand that takes the card out of the fake reader, and puts the neighbour's in."""
    device = bench_rack.a1

    class Wrong:
        async def ask(self, question: Question) -> Answer | None:
            if question.action is Action.REMOVE_CARD:
                device.link.reader.remove_card()
            else:
                device.link.reader._card = bench_rack.a2.card
                device.link.reader.insert_card()
            return Answer.DONE

    swap = Scenario("hot_swap", "", "", hot_swap.Params, hot_swap.run)
    options = engine.RunOptions(operator=Wrong())
    params = hot_swap.Params(out_s=0.0)
    result, _ = engine.run_scenario(bench_rack.rack, bench_rack.rack.slots[:1], swap, params, options)
    (slot,) = result.slots
    assert slot.outcome is Outcome.FAIL
    assert slot.steps[-1].name == "verify"
    assert "EID" in slot.steps[-1].detail


@pytest.mark.parametrize("module", ["quectel-eg25", "ublox-sara-r5"])
def test_hot_swap_behind_a_simulated_module(tmp_path: Path, capsys: pytest.CaptureFixture[str], module: str) -> None:
    rack = tmp_path / "rack.toml"
    rack.write_text(
        '[rack]\nname = "x"\n[[slot]]\nname = "A1"\nform_factor = "4FF"\n'
        f'module = "{module}"\nsim = {{ personality = "4ff" }}\n'
    )
    code = invoke(["run", "hot_swap", "--rack", str(rack), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0, document["slots"][0]["steps"]
