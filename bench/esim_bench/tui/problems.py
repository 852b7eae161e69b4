"""What went wrong since the start, newest first, each with what to do next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from esim_bench.desk.api import Trouble
from esim_bench.tui import signs

KEPT: Final = 200


@dataclass(slots=True)
class Problem:
    """One trouble, when it came last, and how often."""

    trouble: Trouble
    at: float
    times: int = 1


class Problems:
    """The latest of them; the same one twice in a row is one that came twice."""

    def __init__(self) -> None:
        self._problems: deque[Problem] = deque(maxlen=KEPT)
        self.unseen = 0

    def __iter__(self) -> Iterator[Problem]:
        return reversed(self._problems)

    def __len__(self) -> int:
        return len(self._problems)

    def add(self, trouble: Trouble) -> bool:
        """Keep a trouble; tell whether it is another one than the latest."""
        self.unseen += 1
        if self._problems and self._problems[-1].trouble == trouble:
            self._problems[-1].times += 1
            self._problems[-1].at = time.time()
            return False
        self._problems.append(Problem(trouble, time.time()))
        return True


class ProblemList(ModalScreen[None]):
    """The list over a screen."""

    DEFAULT_CSS: ClassVar[str] = """
    ProblemList { align: center middle; background: $background 60%; }
    ProblemList > Vertical {
        width: 110; max-width: 96%; height: auto; max-height: 90%; background: $surface; border: round $error;
        padding: 0 1; border-title-style: bold;
    }
    ProblemList VerticalScroll { height: auto; max-height: 100%; }
    ProblemList .problem { width: 100%; height: auto; margin-bottom: 1; }
    ProblemList #hint { color: $text-muted; height: 1; text-align: center; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f6,q", "app.pop_screen", "Close")]

    def __init__(self, problems: Problems) -> None:
        super().__init__()
        self._problems = problems

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical() as box:
            box.border_title = "What went wrong"
            with VerticalScroll():
                for problem in self._problems:
                    yield Static(_content(problem), classes="problem", markup=False)
                if not len(self._problems):
                    yield Static("Nothing went wrong so far.", classes="problem")
            yield Static("Escape closes this list", id="hint")

    def on_mount(self) -> None:
        """Let the arrows scroll."""
        self.query_one(VerticalScroll).focus()


def _content(problem: Problem) -> Content:
    stamp = time.strftime("%H:%M:%S", time.localtime(problem.at))
    times = f"  ({problem.times} times)" if problem.times > 1 else ""
    parts: list[str | tuple[str, str]] = [
        (f"{stamp} ", "$foreground-muted"),
        (f"{signs.PROBLEM.sign} ", f"${signs.PROBLEM.colour}"),
        problem.trouble.sentence,
        (times, "$foreground-muted"),
    ]
    if problem.trouble.hint:
        parts += ["\n         ", ("what to do: ", "$text-accent"), problem.trouble.hint]
    return Content.assemble(*parts)
