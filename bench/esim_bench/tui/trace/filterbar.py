"""The line above the log: what is shown, as chips that can be clicked; and the lists of functions and status words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Final, TypeVar

from rich.segment import Segment
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Click, Resize
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widgets import Button, Input, Label, SelectionList, Static
from textual.widgets.selection_list import Selection

from esim_bench.tui.trace.model import Census
from esim_bench.tui.trace.wish import GROUPS, Wish, functions_like, word_title, words_like

T = TypeVar("T")
_NARROW: Final = 96


class Chip(Static):
    """A word that is on or off."""

    def __init__(self, text: Content | str, act: Callable[[], object], classes: str = "") -> None:
        super().__init__(text, classes=f"chip {classes}", markup=False)
        self._act = act

    def on_click(self, event: Click) -> None:
        """Do what it stands for."""
        event.stop()
        self._act()


class FilterBar(Horizontal):
    """The chips."""

    DEFAULT_CSS: ClassVar[str] = """
    FilterBar { height: 1; background: $surface; }
    FilterBar > .chip { width: auto; padding: 0 1; color: $text-muted; }
    FilterBar > .chip:hover { background: $panel; }
    FilterBar > .chip.-on { color: $text-accent; text-style: bold; }
    FilterBar > #source { color: $text-primary; text-style: bold; max-width: 34%; }
    FilterBar > #more { width: 1fr; padding: 0 1; color: $text-accent; }
    """

    class Wished(Message):
        """Another filter is wanted."""

        def __init__(self, wish: Wish) -> None:
            self.wish = wish
            super().__init__()

    class Asked(Message):
        """A list is wanted: "source" or "filter"."""

        def __init__(self, what: str) -> None:
            self.what = what
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.wish = Wish()
        self._source = ""

    def compose(self) -> ComposeResult:
        """Make the chips."""
        source = Chip("", lambda: self.post_message(self.Asked("source")))
        source.id = "source"
        yield source
        for group in GROUPS:
            chip = Chip("", self._toggler(group.name))
            chip.id = f"group-{group.name.lower()}"
            yield chip
        errors = Chip("", lambda: self.change(replace(self.wish, errors=not self.wish.errors)))
        errors.id = "errors"
        yield errors
        more = Chip("", lambda: self.post_message(self.Asked("filter")))
        more.id = "more"
        yield more

    def _toggler(self, name: str) -> Callable[[], None]:
        return lambda: self.change(self.wish.toggled(name))

    def on_mount(self) -> None:
        """Show the state."""
        self.renew()

    def on_resize(self, event: Resize) -> None:
        """Use the room there is."""
        self.renew()

    def change(self, wish: Wish) -> None:
        """Want another filter."""
        if wish != self.wish:
            self.wish = wish
            self.renew()
            self.post_message(self.Wished(wish))

    def source(self, name: str) -> None:
        """Say what the log is of."""
        self._source = name
        self.renew()

    def renew(self) -> None:
        """Draw the chips."""
        if not self.is_mounted:
            return
        narrow = self.size.width < _NARROW
        self.query_one("#source", Static).update(f"{self._source} ▾")
        for group in GROUPS:
            self._chip(f"#group-{group.name.lower()}", group.key, group.name, group.name in self.wish.groups, narrow)
        self._chip("#errors", "!", "Errors", self.wish.errors, narrow)
        self.query_one("#more", Static).update(self._more(narrow))

    def _chip(self, where: str, key: str, name: str, on: bool, narrow: bool) -> None:
        chip = self.query_one(where, Static)
        chip.set_class(on, "-on")
        chip.styles.padding = (0, 0, 0, 1) if narrow else (0, 1)
        chip.update(f"{'✓' if on else key}{'' if narrow else ' '}{name}")

    def _more(self, narrow: bool) -> Content:
        wish = self.wish
        parts = [*(f"slot {slot}" for slot in sorted(wish.slots))]
        parts += [f"SW {word:04X}" for word in sorted(wish.words)]
        parts += [name.removeprefix("ES10") if narrow else name for name in sorted(wish.functions)]
        if not parts:
            return Content.styled("F…" if narrow else "F functions, status words …", "$foreground 60%")
        return Content.assemble(("✓ " + " · ".join(parts), "bold"))


class Ticks(SelectionList[T]):
    """A list to choose from: what is chosen has a tick, the rest has none, whatever the colours are."""

    def render_line(self, y: int) -> Strip:
        """Draw a line."""
        line = super().render_line(y)
        place = self.scroll_offset.y + y
        if place >= self.option_count:
            return line
        chosen = self.get_option_at_index(place).value in self.selected
        segments = [*line]
        segments[1] = Segment("✓" if chosen else " ", segments[1].style)
        return Strip(segments)


def _counted(count: int, text: str, most: int) -> str:
    """Return an entry with its count, as wide as that of the most; spaces of a figure's width are not cut off."""
    return f"{count:,}".rjust(len(f"{most:,}"), "\u2007") + f"  {text}"


class FilterDialog(ModalScreen[Wish | None]):
    """Functions and status words to choose from, with how many records have each."""

    DEFAULT_CSS: ClassVar[str] = """
    FilterDialog { align: center middle; background: $background 60%; }
    FilterDialog > Vertical {
        width: 90%; max-width: 110; height: 90%; max-height: 40; padding: 0 1;
        background: $surface; border: round $primary; border-title-color: $text-primary; border-title-style: bold;
    }
    FilterDialog #lists { height: 1fr; }
    FilterDialog #lists > Vertical { width: 1fr; }
    FilterDialog #lists Label { color: $text-muted; }
    FilterDialog SelectionList {
        height: 1fr; border: none; padding: 0; background: $surface; scrollbar-size-vertical: 1;
    }
    FilterDialog #answers { height: auto; align-horizontal: right; }
    FilterDialog Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel"),
        Binding("ctrl+s", "apply", "Apply"),
    ]

    def __init__(self, wish: Wish, census: Census) -> None:
        super().__init__()
        self._wish, self._census = wish, census
        self._most = max([0, *census.functions.values(), *census.words.values()])

    def compose(self) -> ComposeResult:
        """Make the lists."""
        census, wish, most = self._census, self._wish, self._most
        functions = [*dict.fromkeys([*sorted(wish.functions), *(name for name, _ in census.functions.most_common())])]
        words = [*dict.fromkeys([*sorted(wish.words), *(word for word, _ in census.words.most_common())])]
        with Vertical() as box:
            box.border_title = "Show only"
            yield Input(placeholder="type a part of a name, ES10c.*, 6A82 or 63xx, then Enter", id="pattern")
            with Horizontal(id="lists"):
                with Vertical():
                    yield Label(f"Functions ({len(functions)})")
                    yield Ticks[str](
                        *(
                            Selection(_counted(census.functions[name], name, most), name, name in wish.functions)
                            for name in functions
                        ),
                        id="functions",
                    )
                with Vertical():
                    yield Label(f"Status words ({len(words)})")
                    yield Ticks[int](
                        *(
                            Selection(_counted(census.words[word], word_title(word), most), word, word in wish.words)
                            for word in words
                        ),
                        id="words",
                    )
            with Horizontal(id="answers"):
                yield Button("Apply", id="apply", variant="primary")
                yield Button("Show all", id="clear")
                yield Button("Cancel", id="cancel")

    def on_mount(self) -> None:
        """Begin where one types."""
        self.query_one("#pattern").focus()

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        """Choose what the pattern means; an empty one applies."""
        event.stop()
        text = event.value.strip()
        if not text:
            self.action_apply()
            return
        functions = functions_like(text, self._census.functions)
        words = words_like(text, self._census.words)
        if not functions and not words:
            event.input.select_all()
            self.notify(f"Nothing is called {text!r}.", severity="warning", markup=False)
            return
        chosen: SelectionList[str] = self.query_one("#functions", SelectionList)
        for name in functions:
            chosen.select(name)
        listed: SelectionList[int] = self.query_one("#words", SelectionList)
        for word in words:
            if word not in self._census.words and word not in self._wish.words:
                listed.add_option(Selection(_counted(0, word_title(word), self._most), word, True))
                self._census.words[word] = 0
            else:
                listed.select(word)
        event.input.value = ""

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "apply":
                self.action_apply()
            case "clear":
                self.dismiss(replace(self._wish, functions=frozenset(), words=frozenset()))
            case _:
                self.dismiss(None)

    def action_apply(self) -> None:
        """Show what is chosen."""
        functions: SelectionList[str] = self.query_one("#functions", SelectionList)
        words: SelectionList[int] = self.query_one("#words", SelectionList)
        self.dismiss(replace(self._wish, functions=frozenset(functions.selected), words=frozenset(words.selected)))

    def action_cancel(self) -> None:
        """Leave the filter as it is."""
        self.dismiss(None)
