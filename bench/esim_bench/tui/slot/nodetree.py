"""A tree of decoded values, with the whole of the chosen one below it, and a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.widgets import Input, Static, Tree
from textual.widgets.tree import TreeNode

from esim_bench.trace.tree import Node

_LONG: Final = 96
"""Cells of a value in the tree; the whole of it stands below."""


class _Branches(Tree[Node]):
    """The tree itself."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"nodes--value", "nodes--note"}
    DEFAULT_CSS: ClassVar[str] = """
    _Branches { height: 1fr; background: $background; padding: 0 1; scrollbar-size-horizontal: 0; }
    _Branches .nodes--value { color: $text-primary; }
    _Branches .nodes--note { color: $foreground-muted; }
    """

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"nodes--{name}", partial=True)

    def render_label(self, node: TreeNode[Node], base_style: Style, style: Style) -> Text:
        """Write name, value and note in three colours."""
        item = node.data
        if item is None:
            return Text(str(node.label), base_style + style)
        plain = base_style + style
        mark = ("▾ " if node.is_expanded else "▸ ") if node.allow_expand else "  "
        text = Text(mark + item.name, plain)
        # The line of the cursor has a colour of its own, in which the others are hard to read.
        coloured = node is not self.cursor_node
        if item.value:
            value = item.value if len(item.value) <= _LONG else item.value[: _LONG - 1] + "…"
            text.append("  " + value, plain + self._style("value") if coloured else plain)
        if item.note:
            text.append("  " + item.note, plain + self._style("note") if coloured else plain)
        return text


class NodeTree(Vertical):
    """Decoded values. ``/`` searches, ``n`` goes to the next hit."""

    DEFAULT_CSS: ClassVar[str] = """
    NodeTree { height: 1fr; }
    NodeTree > #search { display: none; height: 1; border: none; padding: 0 1; background: $panel; }
    NodeTree > #search.-shown { display: block; }
    NodeTree > #whole { height: auto; max-height: 4; padding: 0 1; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", key_display="/"),
        Binding("n", "next_hit", "Next hit", show=False),
    ]

    class Chosen(Message):
        """The cursor is on another value; ``path``: from the top to it."""

        def __init__(self, tree: NodeTree, path: Sequence[Node]) -> None:
            self.tree, self.path = tree, path
            super().__init__()

        @property
        def control(self) -> NodeTree:
            """Return the tree, for handlers that name it."""
            return self.tree

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = ""

    def compose(self) -> ComposeResult:
        """Make the parts."""
        yield Input(placeholder="part of a name or a value; Enter finds, Escape ends", id="search")
        tree = _Branches("", id="branches")
        tree.show_root = False
        tree.guide_depth = 2
        tree.show_guides = False
        tree.auto_expand = True
        yield tree
        yield Static("", id="whole", markup=False)

    @property
    def branches(self) -> Tree[Node]:
        """Return the tree."""
        return self.query_one(_Branches)

    def load(self, nodes: Sequence[Node], depth: int = 2) -> None:
        """Show nodes, open down to a depth."""
        tree = self.branches
        tree.clear()
        for node in nodes:
            _grow(tree.root, node, depth)
        tree.root.expand()
        self.query_one("#whole", Static).update("")
        tree.cursor_line = -1
        if nodes:
            self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if self.branches.last_line >= 0 and self.branches.cursor_line < 0:
            self.branches.cursor_line = 0

    def choose(self, path: Sequence[Node]) -> None:
        """Put the cursor on a value, given with all that it lies in."""
        here = self.branches.root
        for item in path:
            found = next((child for child in here.children if child.data is item), None)
            if found is None:
                return
            here.expand()
            here = found
        self.call_after_refresh(self.branches.move_cursor, here)

    def focus_tree(self) -> None:
        """Put the focus on the tree."""
        self.branches.focus()

    @on(Tree.NodeHighlighted)
    def _highlighted(self, event: Tree.NodeHighlighted[Node]) -> None:
        event.stop()
        path: list[Node] = []
        node: TreeNode[Node] | None = event.node
        while node is not None and node.data is not None:
            path.insert(0, node.data)
            node = node.parent
        if not path:
            return
        item = path[-1]
        parts: list[str | tuple[str, str]] = [(item.name, "bold")]
        if item.value:
            parts.append(f"  {item.value}")
        if item.note:
            parts.append((f"  {item.note}", "$foreground-muted"))
        if item.start is not None and item.end is not None:
            parts.append((f"  bytes {item.start} to {item.end - 1}", "$foreground-muted"))
        self.query_one("#whole", Static).update(Content.assemble(*parts))
        self.post_message(self.Chosen(self, path))

    # ------------------------------------------------------------------------------------------------------ search

    def action_search(self) -> None:
        """Let a text be typed."""
        line = self.query_one("#search", Input)
        line.add_class("-shown")
        line.focus()

    def action_next_hit(self) -> None:
        """Go to the next node that has the text."""
        if not self._text:
            self.action_search()
            return
        tree = self.branches
        nodes = [*_all(tree.root)]
        at = next((index for index, node in enumerate(nodes) if node is tree.cursor_node), -1)
        for node in [*nodes[at + 1 :], *nodes[: at + 1]]:
            if node.data is not None and self._text in f"{node.data.name} {node.data.value} {node.data.note}".lower():
                parent = node.parent
                while parent is not None:
                    parent.expand()
                    parent = parent.parent
                self.call_after_refresh(tree.move_cursor, node)
                return
        self.app.notify(f"{self._text!r} is not here.", severity="warning", markup=False)

    @on(Input.Submitted, "#search")
    def _typed(self, event: Input.Submitted) -> None:
        event.stop()
        self._text = event.value.strip().lower()
        if not self._text:
            self._end_search()
            return
        self.branches.focus()
        self.action_next_hit()

    def on_key(self, event: Key) -> None:
        """Escape ends the search."""
        line = self.query_one("#search", Input)
        if event.key == "escape" and line.has_class("-shown"):
            event.stop()
            event.prevent_default()
            self._end_search()

    def _end_search(self) -> None:
        self._text = ""
        line = self.query_one("#search", Input)
        line.value = ""
        line.remove_class("-shown")
        self.branches.focus()


def _grow(parent: TreeNode[Node], node: Node, depth: int) -> None:
    if not node.children:
        parent.add_leaf(node.name, node)
        return
    branch = parent.add(node.name, node, expand=depth > 0)
    for child in node.children:
        _grow(branch, child, depth - 1)


def _all(node: TreeNode[Node]) -> Iterator[TreeNode[Node]]:
    for child in node.children:
        yield child
        yield from _all(child)
