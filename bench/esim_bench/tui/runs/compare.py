"""Two runs side by side, step by step."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from esim_bench.desk import history
from esim_bench.desk.history import Compared
from esim_bench.tui import signs
from esim_bench.tui.screen import BenchScreen

_SLOWER: Final = 1.3


class CompareScreen(BenchScreen):
    """The older run at the left."""

    NAME = "Two runs"
    HELP = """\
The steps of two runs, the older one at the left. **≠** marks another outcome, **×** how much longer (or shorter) a step
took in the newer run. **n** goes to the next difference.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "next", "Next difference"),
        Binding("escape", "back", "Back", show=True),
    ]
    DEFAULT_CSS = """
    CompareScreen #which { height: auto; padding: 0 1; background: $surface; }
    CompareScreen OptionList { height: 1fr; border: none; padding: 0; background: $background; }
    CompareScreen OptionList:focus { border: none; }
    """

    def __init__(self, left: dict[str, Any], right: dict[str, Any]) -> None:
        super().__init__()
        self._left, self._right = left, right
        self._rows = history.compare(left, right)

    def body(self) -> ComposeResult:
        """Make the list."""
        yield Static(self._which(), id="which", markup=False)
        yield OptionList(*(Option(_line(row)) for row in self._rows))

    def _which(self) -> Content:
        number = sum(row.differs for row in self._rows)
        parts: list[str | tuple[str, str]] = []
        for title, one in (("left ", self._left), ("right", self._right)):
            sign = signs.outcome(one.get("outcome"))
            parts += [
                (f"{title} ", "$foreground-muted"),
                (f"{sign.sign} {one.get('outcome') or 'running'}", f"${sign.colour}"),
                f" {one['scenario']}  {one.get('started', '')[:19].replace('T', ' ')}  ",
                (f"{one['run']}\n", "$foreground-muted"),
            ]
        kinds = [{slot["slot"]: history.kind_of(slot) for slot in one["slots"]} for one in (self._left, self._right)]
        changed = [slot for slot in kinds[0] if slot in kinds[1] and kinds[0][slot] != kinds[1][slot]]
        parts.append(f"{number} steps ended otherwise" if number else "all steps ended alike")
        parts += [f"; {slot}: {kinds[0][slot]} → {kinds[1][slot]}" for slot in changed]
        return Content.assemble(*parts)

    def on_mount(self) -> None:
        """Begin in the list, at the first difference."""
        self.query_one(OptionList).focus()
        self.query_one(OptionList).highlighted = None
        self.action_next()

    def action_next(self) -> None:
        """Go to the next step that ended otherwise."""
        listed = self.query_one(OptionList)
        here = -1 if listed.highlighted is None else listed.highlighted
        order = [*range(here + 1, len(self._rows)), *range(here + 1)]
        place = next((place for place in order if self._rows[place].differs), None)
        if place is not None:
            listed.highlighted = place
        elif self._rows and listed.highlighted is None:
            listed.highlighted = 0


def _line(row: Compared) -> Content:
    parts: list[str | tuple[str, str]] = [
        (f"{'≠' if row.differs else ' '} ", "$text-error bold"),
        (f"{row.slot:<6} ", "bold"),
    ]
    parts.append(f"{row.step:<32.32} ")
    for side in (row.left, row.right):
        if side is None:
            parts.append((f"{'not there':<18} ", "$foreground-muted"))
        else:
            sign = signs.outcome(side[0])
            parts += [(f"{sign.sign} {side[0]:<7} ", f"${sign.colour}"), f"{side[1]:>7.2f} s "]
    ratio = row.ratio
    if ratio is not None:
        far = ratio > _SLOWER or ratio < 1 / _SLOWER
        parts.append((f"  × {ratio:.2f}", "$text-warning bold" if far else "$foreground-muted"))
    return Content.assemble(*parts)
