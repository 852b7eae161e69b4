"""The chosen record, decoded: a tree of what it consists of beside its bytes, the chosen field marked in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from esim_bench.errors import BenchError
from esim_bench.trace.dissect import ANSWER, Pane, chain, dissect
from esim_bench.trace.index import TraceIndex
from esim_bench.trace.reader import Record
from esim_bench.trace.tree import Node
from esim_bench.tui.slot.bytesview import BytesView
from esim_bench.tui.slot.nodetree import NodeTree
from esim_bench.tui.work import work

if TYPE_CHECKING:
    from esim_bench.tui.trace.screen import TraceScreen


class DecodePane(Vertical):
    """One record. ``[`` and ``]`` go to the parts of a record that has several: the whole answer, the command, ..."""

    DEFAULT_CSS: ClassVar[str] = """
    DecodePane > #what { height: auto; max-height: 3; padding: 0 1; background: $surface; }
    DecodePane > #parts { height: 1; padding: 0 1; background: $surface; color: $foreground; }
    DecodePane > #tree { height: 3fr; }
    DecodePane > #bytes { height: 2fr; border-top: solid $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "part(-1)", "Part before", key_display="[", show=False),
        Binding("right_square_bracket", "part(1)", "Next part", key_display="]", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._panes: list[Pane] = []
        self._number = 0

    def compose(self) -> ComposeResult:
        """Make the parts."""
        yield Static("", id="what", markup=False)
        yield Static("", id="parts", markup=False)
        yield NodeTree(id="tree")
        yield BytesView(id="bytes")

    def show(self, record: Record | None, slot: str) -> None:
        """Show a record of a slot, or nothing."""
        self.run_worker(work(self._show, record, slot), group="decode", exclusive=True)

    async def _show(self, record: Record | None, slot: str) -> None:
        what = self.query_one("#what", Static)
        if record is None:
            self._panes = []
            what.update("Nothing is chosen.")
            self._load(0)
            return
        screen = cast("TraceScreen", self.screen)
        row = screen.log_view.cursor_row
        index = screen.model.index_of(row.anchor) if row is not None else None
        self._panes = await screen.bench.context.watch.read(panes_of, record, index)
        parts: list[str | tuple[str, str]] = [
            (f"{slot}  ", "$foreground-muted"),
            f"#{record.index + 1:,}  ",
            record.comment,
        ]
        what.update(Content.assemble(*parts))
        # What the card said is what one looks for; the request stands beside it.
        self._load(next((place for place, pane in enumerate(self._panes) if pane.title.startswith(ANSWER)), 0))

    def _load(self, number: int) -> None:
        self._number = number
        pane = self._panes[number] if self._panes else None
        titles: list[str | tuple[str, str]] = []
        for index, one in enumerate(self._panes):
            title = f"{one.title} {len(one.data)} B" if one.data else one.title
            titles.append((f" {title} ", "reverse bold") if index == number else (f" {title} ", "$foreground-muted"))
        bar = self.query_one("#parts", Static)
        bar.update(Content.assemble(*titles))
        bar.display = len(self._panes) > 1
        self.query_one(NodeTree).load(pane.nodes if pane is not None else [], depth=6)
        view = self.query_one(BytesView)
        view.load([pane.data] if pane is not None else [])
        view.display = bool(pane is not None and pane.data)

    @on(NodeTree.Chosen)
    def _chosen(self, event: NodeTree.Chosen) -> None:
        event.stop()
        node = event.path[-1]
        view = self.query_one(BytesView)
        if node.start is None or node.end is None:
            view.unmark()
        else:
            view.mark(0, node.start, node.end)

    @on(BytesView.Clicked)
    def _clicked(self, event: BytesView.Clicked) -> None:
        """Choose the deepest field that a byte is of."""
        event.stop()
        if self._panes:
            path = path_to(self._panes[self._number].nodes, event.offset)
            if path:
                self.query_one(NodeTree).choose(path)

    def action_part(self, way: int) -> None:
        """Show another part of the record."""
        if self._panes:
            self._load((self._number + way) % len(self._panes))


def panes_of(record: Record, index: TraceIndex | None) -> list[Pane]:
    """Take a record apart, with the rest of its function from the same journal. In the reader's thread."""
    if index is None:
        return dissect(record.event)

    def at(number: int) -> Record | None:
        try:
            return index.record(number) if 0 <= number < len(index) else None
        except (BenchError, OSError, IndexError):
            return None

    return dissect(record.event, chain(record, at))


def path_to(nodes: list[Node], offset: int) -> list[Node]:
    """Return the nodes from the top to the deepest one that a byte lies in."""
    for node in nodes:
        if node.start is not None and node.end is not None and node.start <= offset < node.end:
            return [node, *path_to(node.children, offset)]
    return []
