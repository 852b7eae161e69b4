"""What both consoles have in common: a line with a history and suggestions, and the answers above it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import Input, OptionList, Static

from esim_bench.tui.state import TuiState

KEPT: Final = 200
"""Lines of a history."""
SHOWN: Final = 5
"""Suggestions at a time."""


class History:
    """Lines that were sent, kept over restarts, but for those with secrets. The same one twice in a row counts once."""

    def __init__(self, state: TuiState, key: str, secret: Callable[[str], bool]) -> None:
        self._state, self._key, self._secret = state, key, secret
        self.lines: list[str] = [line for line in state.get(key, []) if isinstance(line, str)][-KEPT:]
        self._at = len(self.lines)
        self._typed = ""

    def add(self, line: str) -> None:
        """Keep a line."""
        if not self.lines or self.lines[-1] != line:
            self.lines = [*self.lines, line][-KEPT:]
            self._state.set(self._key, [one for one in self.lines if not self._secret(one)])
        self._at = len(self.lines)

    def step(self, step: int, typed: str) -> str:
        """Return the line before or after; after the last one comes what was being typed."""
        if self._at == len(self.lines):
            self._typed = typed
        self._at = max(0, min(len(self.lines), self._at + step))
        return self._typed if self._at == len(self.lines) else self.lines[self._at]


class CommandLine(Input):
    """A line with a history. Escape leaves it, so that letters are keys again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "history(-1)", "Earlier", show=False),
        Binding("down", "history(1)", "Later", show=False),
        Binding("tab", "complete", "Complete", show=False),
        Binding("escape", "leave", "Leave line", key_display="Esc"),
        Binding("ctrl+o", "screen.power", "Power"),
        Binding("ctrl+l", "clear_answers", "Clear", show=False),
    ]

    class Completed(Message):
        """What is suggested is wanted."""

    class Left(Message):
        """The line is left."""

    class Cleared(Message):
        """The answers are not wanted any more."""

    def __init__(self, history: History, *, placeholder: str, known: Sequence[str] = ()) -> None:
        super().__init__(placeholder=placeholder, id="line", select_on_focus=False)
        self._history = history
        self.known(known)

    def known(self, lines: Sequence[str]) -> None:
        """Suggest from the history, the latest first, and from lines that are known."""
        self.suggester = SuggestFromList([*reversed(self._history.lines), *lines], case_sensitive=False)

    def action_history(self, step: int) -> None:
        """Bring another line back."""
        self.value = self._history.step(step, self.value)
        self.cursor_position = len(self.value)

    def action_complete(self) -> None:
        """Take what is suggested; with nothing suggested, go to the next part of the screen."""
        if self._suggestion and self._suggestion != self.value:
            self.value = self._suggestion
            self.cursor_position = len(self.value)
        elif self.value:
            self.post_message(self.Completed())
        else:
            self.screen.focus_next()

    def action_leave(self) -> None:
        """Leave the line."""
        self.post_message(self.Left())

    def action_clear_answers(self) -> None:
        """Begin with an empty list of answers."""
        self.post_message(self.Cleared())


class LineBox(Vertical):
    """The line, with suggestions above it."""

    DEFAULT_CSS: ClassVar[str] = """
    LineBox { height: auto; dock: bottom; background: $panel; }
    LineBox > #suggestions { height: auto; max-height: 5; border: none; padding: 0 1; background: $surface;
        display: none; }
    LineBox > #suggestions.-shown { display: block; }
    LineBox > #line { height: 1; border: none; padding: 0 1; background: $panel; }
    LineBox > #line:focus { background: $primary 25%; }
    LineBox > #keys { height: 1; padding: 0 1; color: $text-muted; background: $surface; text-wrap: nowrap;
        text-overflow: ellipsis; }
    """

    class Sent(Message):
        """A line is to be sent."""

        def __init__(self, line: str) -> None:
            self.line = line
            super().__init__()

    def __init__(self, history: History, *, placeholder: str, known: Sequence[str] = ()) -> None:
        super().__init__()
        self._history, self._placeholder, self._known = history, placeholder, known
        self._patterns: Sequence[str] = ()

    def compose(self) -> ComposeResult:
        """Make the parts."""
        yield OptionList(id="suggestions", markup=False)
        yield CommandLine(self._history, placeholder=self._placeholder, known=self._known)
        yield Static("Enter sends · ↑↓ earlier lines · Tab completes · Esc leaves the line", id="keys")

    @property
    def line(self) -> CommandLine:
        """Return the line."""
        return self.query_one(CommandLine)

    @property
    def suggestions(self) -> OptionList:
        """Return the suggestions."""
        return self.query_one(OptionList)

    def offer(self, patterns: Sequence[str]) -> None:
        """Suggest patterns from now on."""
        self._patterns = patterns
        self._suggest(self.line.value)

    def _suggest(self, text: str) -> None:
        head = text.strip().lower()
        found = [one for one in self._patterns if head and head in one.lower()]
        found.sort(key=lambda one: not one.lower().startswith(head))
        if any(one.lower() == head for one in found):
            found = []
        # A name that is typed in full keeps its pattern in sight: that tells its arguments.
        if not found and head:
            found = [one for one in self._patterns if head.startswith(_name(one).lower())]
        box = self.suggestions
        box.clear_options()
        box.add_options(found[:SHOWN])
        box.set_class(bool(found), "-shown")

    @on(Input.Changed, "#line")
    def _typed(self, event: Input.Changed) -> None:
        self._suggest(event.value)

    @on(CommandLine.Completed)
    def _complete(self) -> None:
        if self.suggestions.option_count:
            self._take(str(self.suggestions.get_option_at_index(0).prompt))

    @on(OptionList.OptionSelected)
    def _picked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._take(str(event.option.prompt))

    def _take(self, pattern: str) -> None:
        name = _name(pattern)
        line = self.line
        if not line.value.lower().startswith(name.lower()):
            line.value = name + (" " if name != pattern else "")
        line.cursor_position = len(line.value)
        line.focus()

    @on(Input.Submitted, "#line")
    def _sent(self, event: Input.Submitted) -> None:
        event.stop()
        line = event.value.strip()
        if line:
            self.post_message(self.Sent(line))

    def sent(self, line: str) -> None:
        """Take it that a line was sent: keep it, and begin a new one."""
        self._history.add(line)
        self.line.value = ""
        self.line.known(self._known)


def _name(pattern: str) -> str:
    """Return the name in a pattern: what stands before its arguments, and before the words to choose from."""
    words = []
    for word in pattern.split():
        if word[:1] in "<[" or word == "|" or word.islower():
            break
        words.append(word)
    return " ".join(words)


def dim(text: str) -> Content:
    """Return a text that is said beside."""
    return Content.styled(text, "$foreground-muted")
