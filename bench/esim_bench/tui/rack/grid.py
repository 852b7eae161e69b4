"""The slots of the rack, drawn as cards or lines; only what has changed is drawn again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from esim_bench.desk.board import SlotView
from esim_bench.tui.rack import face
from esim_bench.tui.rack.layout import Layout, arrange

COUNT_SECONDS: Final = 1.0
"""Between two looks at a slot's counters: nobody reads them faster."""
COUNT_TURNS: Final = 16
"""Into so many parts it is split."""
_FRAMES: Final = {"calm": "╭─╮│╰╯", "cursor": "┏━┓┃┗┛", "problem": "╔═╗║╚╝"}
_KINDS: Final = (*face.STYLES, "frame", "frame-cursor", "frame-problem", "group", "cursor")


class RackGrid(ScrollView, can_focus=True):
    """All slots that are shown, a cursor, and which of them are selected."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open"),
        Binding("space", "choose", "Select"),
        Binding("up,k", "go(0,-1)", "Up", show=False),
        Binding("down,j", "go(0,1)", "Down", show=False),
        Binding("left,h", "go(-1,0)", "Left", show=False),
        Binding("right,l", "go(1,0)", "Right", show=False),
        Binding("shift+up", "go(0,-1,True)", "Select upwards", show=False),
        Binding("shift+down", "go(0,1,True)", "Select downwards", show=False),
        Binding("shift+left", "go(-1,0,True)", "Select to the left", show=False),
        Binding("shift+right", "go(1,0,True)", "Select to the right", show=False),
        Binding("home", "end(0)", "First slot", show=False),
        Binding("end", "end(-1)", "Last slot", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("a", "all", "Select all or none", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"rack--{name}" for name in _KINDS}
    DEFAULT_CSS = """
    RackGrid { height: 1fr; width: 1fr; background: $background; scrollbar-size-vertical: 1; overflow-x: hidden; }
    RackGrid > .rack--text { color: $foreground; }
    RackGrid > .rack--strong { color: $foreground; text-style: bold; }
    RackGrid > .rack--muted { color: $foreground-muted; }
    RackGrid > .rack--good { color: $text-success; }
    RackGrid > .rack--warn { color: $text-warning; }
    RackGrid > .rack--bad { color: $text-error; text-style: bold; }
    RackGrid > .rack--accent { color: $text-accent; text-style: bold; }
    RackGrid > .rack--hand { color: $text-secondary; text-style: bold; }
    RackGrid > .rack--bar { color: $accent; }
    RackGrid > .rack--rest { color: $panel; }
    RackGrid > .rack--frame { color: $panel-lighten-2; }
    RackGrid > .rack--frame-cursor { color: $primary; text-style: bold; }
    RackGrid > .rack--frame-problem { color: $error; }
    RackGrid > .rack--group { color: $text-primary; text-style: bold; }
    RackGrid > .rack--cursor { background: $primary 20%; }
    """

    class Moved(Message):
        """The cursor stands on another slot, or the selection is another one."""

    class Opened(Message):
        """A slot is to be shown."""

        def __init__(self, slot: str) -> None:
            self.slot = slot
            super().__init__()

    def __init__(self, view_of: Callable[[str], SlotView]) -> None:
        super().__init__()
        self._view_of = view_of
        self._groups: list[tuple[str, list[str]]] = []
        self._wanted = "auto"
        self._layout = Layout("cards")
        self._shown: dict[str, SlotView] = {}
        """As they are drawn; their counters may be older."""
        self._strips: dict[str, list[Strip]] = {}
        self._styles: dict[str, Style] = {}
        self._name_width = 4
        self._arranged: object = None
        self.cursor = ""
        self.selected: set[str] = set()
        self.nothing = ""
        """What is said where there is no slot to be shown."""
        self._turn = 0
        self.drawn = 0
        """Slots that were drawn since the beginning."""

    def on_mount(self) -> None:
        """Begin to count."""
        self.set_interval(COUNT_SECONDS / COUNT_TURNS, self._recount)

    # ------------------------------------------------------------------------------------------------- what is shown

    @property
    def names(self) -> list[str]:
        """Return the slots that are shown, as they are read."""
        return list(self._layout.places)

    @property
    def density(self) -> str:
        """Return how they are shown: cards, lines."""
        return self._layout.density

    def region_of(self, name: str) -> Region:
        """Return where a slot is in the widget."""
        return self._layout.places[name].translate((0, -self.scroll_offset.y))

    def show_slots(self, groups: Sequence[tuple[str, Iterable[str]]], wanted: str) -> None:
        """Show slots: by groups, each with its title."""
        self._groups = [(title, list(names)) for title, names in groups]
        self._wanted = wanted
        names = [name for _, group in self._groups for name in group]
        self._name_width = max(4, min(12, max((len(name) for name in names), default=4)))
        self.selected &= set(names)
        self._arrange()

    def _arrange(self) -> None:
        width, height = self.size
        key = (tuple((title, tuple(names)) for title, names in self._groups), self._wanted, width, height)
        if key == self._arranged or width <= 0:
            return
        self._arranged = key
        groups = [(title, [self._view_of(name) for name in names]) for title, names in self._groups]
        self._layout = arrange(groups, width, height, self._wanted)
        if self._layout.height > height:
            # There will be a scroll bar.
            width -= self.styles.scrollbar_size_vertical
            self._layout = arrange(groups, width, height, self._wanted)
        self._strips.clear()
        self._shown = {name: self._view_of(name) for name in self._layout.places}
        self.virtual_size = Size(width, self._layout.height)
        if self.cursor not in self._layout.places:
            self.cursor = next(iter(self._layout.places), "")
            self.post_message(self.Moved())
        self.refresh()

    def on_resize(self) -> None:
        """Put everything in its place again."""
        self._arrange()
        self._see()

    def news(self, names: Iterable[str]) -> None:
        """Draw slots again that are others than before."""
        for name in names:
            shown = self._shown.get(name)
            if shown is None:
                continue
            view = self._view_of(name)
            if _face_of(view) != _face_of(shown):
                self._redraw(name, view)

    def _recount(self) -> None:
        """Draw the counters of the next few slots: all of them at once would be felt."""
        if self._layout.density != "cards" or not self.screen.is_current:
            return
        names = self.names
        share = -(-len(names) // COUNT_TURNS)
        self._turn = (self._turn + 1) % COUNT_TURNS
        for name in names[self._turn * share : (self._turn + 1) * share]:
            view, shown = self._view_of(name), self._shown[name]
            if (view.apdus, view.errors) != (shown.apdus, shown.errors):
                self._redraw(name, view)

    def _redraw(self, name: str, view: SlotView | None = None) -> None:
        if name not in self._layout.places:
            return
        if view is not None:
            self._shown[name] = view
        self._strips.pop(name, None)
        self.refresh(self.region_of(name))

    # ----------------------------------------------------------------------------------------------------- drawing

    def notify_style_update(self) -> None:
        """Take on the colours of another theme."""
        super().notify_style_update()
        self._styles.clear()
        self._strips.clear()

    def _style(self, name: str) -> Style:
        found = self._styles.get(name)
        if found is None:
            found = self._styles[name] = self.get_component_rich_style(f"rack--{name}")
        return found

    def render_line(self, y: int) -> Strip:
        """Draw one line of what is seen."""
        width = self.size.width
        number = y + self.scroll_offset.y
        base = self.rich_style
        if not self._layout.places:
            text = face.cut(self.nothing, max(0, width - 2)) if y == self.size.height // 2 else ""
            return (
                Strip([Segment(text.center(width), self._style("muted"))]).adjust_cell_length(width).apply_style(base)
            )
        if number >= len(self._layout.rows):
            return Strip.blank(width, base)
        row = self._layout.rows[number]
        if isinstance(row, str):
            text = f"── {row} "
            strip = Strip([Segment(text + "─" * max(0, width - cell_len(text)), self._style("group"))])
        else:
            strip = Strip.join([self._drawn(name)[number - self._layout.places[name].y] for name in row])
        return strip.extend_cell_length(width).crop(0, width).apply_style(base)

    def _drawn(self, name: str) -> list[Strip]:
        found = self._strips.get(name)
        if found is None:
            found = self._strips[name] = self._draw(name)
            self.drawn += 1
        return found

    def _draw(self, name: str) -> list[Strip]:
        view, place = self._shown[name], self._layout.places[name]
        cursor, selected = name == self.cursor, name in self.selected
        if self._layout.density == "lines":
            spans = face.one_line(view, place.width - 1, self._name_width, cursor=cursor, selected=selected)
            return [self._strip([*spans, (" ", "text")], tinted=cursor)]
        kind = "cursor" if cursor else "problem" if view.problem else "calm"
        edge = "frame" if kind == "calm" else f"frame-{kind}"
        # A problem keeps its double frame under the cursor: it is known by its shape.
        left_top, across, right_top, down, left_bottom, right_bottom = (*_FRAMES["problem" if view.problem else kind],)
        inner = place.width - 4
        left, right = face.title(view, inner, selected=selected)
        used = sum(cell_len(text) for text, _ in (*left, *right))
        fill = max(0, place.width - used - (7 if right else 6))
        upper = [(f"{left_top}{across} ", edge), *left, (f" {across * fill}", edge)]
        upper += [(" ", edge), *right, (f" {right_top}", edge)] if right else [(f"{across}{right_top}", edge)]
        strips = [self._strip(upper, tinted=False)]
        for spans in face.card(view, inner, view.apdus, view.errors):
            strips.append(self._strip([(f"{down} ", edge), *spans, (f" {down}", edge)], tinted=cursor))
        strips.append(self._strip([(f"{left_bottom}{across * (place.width - 2)}{right_bottom}", edge)], tinted=False))
        return [strip.adjust_cell_length(place.width) for strip in strips]

    def _strip(self, spans: Iterable[face.Span], *, tinted: bool) -> Strip:
        tint = Style(bgcolor=self._style("cursor").bgcolor) if tinted else None
        return Strip([Segment(text, self._style(style) + tint) for text, style in face.tidy(spans)])

    # ------------------------------------------------------------------------------------------- cursor and selection

    @property
    def chosen(self) -> list[str]:
        """Return the selected slots in their order, else the one under the cursor."""
        return [name for name in self.names if name in self.selected] or [self.cursor] * bool(self.cursor)

    def put_cursor(self, name: str) -> None:
        """Put the cursor on a slot."""
        if name != self.cursor and name in self._layout.places:
            before, self.cursor = self.cursor, name
            self._redraw(before)
            self._redraw(name)
            self.post_message(self.Moved())
        self._see()

    def _see(self) -> None:
        place = self._layout.places.get(self.cursor)
        if place is not None:
            # With the title of its group, where that is the line above.
            above = place.y > 0 and isinstance(self._layout.rows[place.y - 1], str)
            self.scroll_to_region(place.grow((1, 0, 0, 0)) if above else place, animate=False)

    def select(self, names: Iterable[str], selected: bool = True) -> None:
        """Select slots, or take them out of the selection."""
        changed = [name for name in names if (name in self.selected) != selected]
        for name in changed:
            (self.selected.add if selected else self.selected.discard)(name)
            self._redraw(name)
        if changed:
            self.post_message(self.Moved())

    def action_go(self, dx: int, dy: int, extend: bool = False) -> None:
        """Move the cursor, and select on the way."""
        if extend:
            self.select([self.cursor])
        before = self.cursor
        self.put_cursor(self._layout.beside(self.cursor, dx, dy))
        if extend:
            self.select([self.cursor])
        elif before == self.cursor and dy < 0:
            self.scroll_home(animate=False)

    def action_end(self, which: int) -> None:
        """Go to the first slot or the last one."""
        names = self.names
        if names:
            self.put_cursor(names[which])

    def action_page(self, direction: int) -> None:
        """Go as far as is seen at once."""
        here = self._layout.places.get(self.cursor)
        if here is None:
            return
        target = here.y + direction * max(here.height, self.size.height - here.height)
        column = [(abs(place.y - target), name) for name, place in self._layout.places.items() if place.x == here.x]
        self.put_cursor(min(column)[1])

    def action_choose(self) -> None:
        """Select the slot under the cursor, or take it out of the selection; go on to the next one."""
        if self.cursor:
            self.select([self.cursor], self.cursor not in self.selected)
            names = self.names
            place = names.index(self.cursor) + 1
            if place < len(names):
                self.put_cursor(names[place])

    def action_all(self) -> None:
        """Select all that are shown; nothing, if they are."""
        names = self.names
        self.select(names, not self.selected.issuperset(names))

    def action_open(self) -> None:
        """Show the slot under the cursor."""
        if self.cursor:
            self.post_message(self.Opened(self.cursor))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor there; with ctrl or shift, select; twice, open."""
        name = self._layout.at(event.x + self.scroll_offset.x, event.y + self.scroll_offset.y)
        if name is None:
            return
        if event.ctrl:
            self.select([name], name not in self.selected)
        elif event.shift:
            names = self.names
            one, other = sorted((names.index(self.cursor), names.index(name)))
            self.select(names[one : other + 1])
        self.put_cursor(name)
        if event.chain == 2 and not event.ctrl and not event.shift:
            self.action_open()


def _face_of(view: SlotView) -> tuple[object, ...]:
    """Return what is drawn of a slot, but for the counters."""
    return (
        *(view.eid, view.profiles, view.operator, view.registration, view.signal_dbm, view.power, view.proof),
        *(view.activity, view.doing, view.scenario, view.steps_done, view.foreign, view.outcome, view.reason),
        *(view.outcome_at_ns // 60_000_000_000, view.trouble, view.progress, view.question),
    )
