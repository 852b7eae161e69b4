"""The tab of the files of the UICC: the tree, and one file decoded, in hex, with its control parameters."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Static, Tree
from textual.widgets.tree import TreeNode

from esim_bench.desk.api import FileEntry, FileView
from esim_bench.trace.tree import Node
from esim_bench.tui import signs
from esim_bench.tui.slot.bytesview import BytesView
from esim_bench.tui.slot.nodetree import NodeTree
from esim_bench.tui.slot.paint import Part, paint
from esim_bench.tui.slot.pane import Pane

CONTENTS = "contents"
CONTROL = "FCP"


class FileTree(Tree[FileEntry]):
    """The files that the bench knows of; those that were read carry a sign."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"files--gone"}
    DEFAULT_CSS: ClassVar[str] = """
    FileTree { background: $background; padding: 0 1; scrollbar-size-horizontal: 0; }
    FileTree .files--gone { color: $foreground-muted; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", id=id)
        self.show_root = False
        self.guide_depth = 2
        self.show_guides = False
        self.auto_expand = False
        self.seen: dict[str, str] = {}
        """By path: the sign of how reading went."""

    def render_label(self, node: TreeNode[FileEntry], base_style: Style, style: Style) -> Text:
        """Write the name, and the identifier muted."""
        entry = node.data
        if entry is None:
            return Text(str(node.label), base_style + style)
        plain = base_style + style
        seen = self.seen.get(entry.path, "")
        mark = ("▾ " if node.is_expanded else "▸ ") if entry.folder else f"{seen or ' '} "
        gone = seen == signs.OUTCOMES["FAIL"].sign
        faint = plain
        if node is not self.cursor_node:
            faint += self.get_component_rich_style("files--gone", partial=True)
        text = Text(mark + entry.name, faint if gone else plain)
        fid = entry.path.rpartition("/")[2]
        if fid != entry.name:
            text.append(f" {fid}", faint)
        return text


class FilesPane(Pane):
    """Files."""

    LABEL = "Files"
    ALWAYS_NEW = False
    SCOPED_CSS = False  # the screen's width counts
    DEFAULT_CSS: ClassVar[str] = """
    FilesPane #split { height: 1fr; layout: horizontal; }
    FilesPane FileTree { width: 28; height: 100%; }
    .-wide FilesPane FileTree { width: 38; }
    FilesPane #file { width: 1fr; height: 100%; border-left: solid $panel; }
    FilesPane #what { height: auto; max-height: 5; padding: 0 1; }
    FilesPane #bytes { height: auto; max-height: 40%; }
    """

    def __init__(self, about: Any) -> None:
        super().__init__(about)
        self.file: FileView | None = None

    def parts(self) -> ComposeResult:
        """Make the tree and the file."""
        with Container(id="split"):
            yield FileTree(id="tree")
            with Vertical(id="file"):
                yield Static(Content.styled("Enter reads a file.", "$foreground-muted"), id="what", markup=False)
                yield NodeTree()
                yield BytesView(id="bytes")

    @property
    def known(self) -> FileTree:
        """Return the tree."""
        return self.query_one(FileTree)

    def on_mount(self) -> None:
        """Begin with the tree alone."""
        self.query_one(NodeTree).display = False
        self.query_one(BytesView).display = False

    def focus_main(self) -> None:
        """Put the focus on the tree."""
        self.known.focus()

    def fetch(self) -> Coroutine[Any, Any, list[FileEntry]]:
        """List the files."""
        return self.desk.files(self.about.name)

    def show(self, value: Sequence[FileEntry]) -> None:
        """Show the tree; the files of applications and of the MF are in sight, other folders are closed."""
        tree = self.known
        tree.clear()
        tree.seen.clear()
        folders: dict[str, TreeNode[FileEntry]] = {}
        for entry in value:
            parent = folders.get(entry.path.rpartition("/")[0], tree.root)
            if entry.folder:
                folders[entry.path] = parent.add(entry.name, entry, expand=parent is tree.root)
            else:
                parent.add_leaf(entry.name, entry)
        tree.root.expand()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if self.known.last_line >= 0 and self.known.cursor_line < 0:
            self.known.cursor_line = 0

    @on(Tree.NodeSelected, "#tree")
    def _selected(self, event: Tree.NodeSelected[FileEntry]) -> None:
        event.stop()
        entry = event.node.data
        if entry is not None and self.free():
            self.work(self.desk.file(self.about.name, entry.path), f"Reading {entry.name}", self._read)

    def _read(self, view: FileView) -> None:
        self.file = view
        missing = bool(view.refused) and not view.structure
        sign = signs.OUTCOMES["FAIL"] if missing else signs.PROBLEM if view.refused else signs.OUTCOMES["PASS"]
        self.known.seen[view.path] = sign.sign
        self.known.refresh()
        self._head(view)
        groups = []
        if view.decoded:
            groups.append(Node(name=CONTENTS, children=view.decoded))
        if view.control:
            groups.append(Node(name=CONTROL, note="file control parameters", children=view.control))
        nodes = self.query_one(NodeTree)
        nodes.display = bool(groups)
        nodes.load(groups, depth=3)
        blocks = [bytes.fromhex(text) for text in view.contents]
        box = self.query_one(BytesView)
        box.display = bool(blocks)
        box.load(blocks)

    def _head(self, view: FileView) -> None:
        parts: list[Part] = [(view.name, "bold"), (f"  {view.path}", "$foreground-muted")]
        if view.structure:
            size = f"{view.size} bytes" if view.size else ""
            if view.record_length:
                size = f"{len(view.contents)} records of {view.record_length} bytes"
            parts.append("\n" + ", ".join(part for part in (view.structure, size) if part))
        if view.refused:
            why = f"{signs.PROBLEM.sign} {'Not there' if not view.structure else 'Not readable'}: {view.refused}"
            parts += ["\n", (why, paint(signs.PROBLEM))]
        elif view.structure in ("DF", "ADF"):
            parts.append((", a folder: it has no contents of its own", "$foreground-muted"))
        self.query_one("#what", Static).update(Content.assemble(*parts))

    @on(NodeTree.Chosen)
    def _chosen(self, event: NodeTree.Chosen) -> None:
        event.stop()
        box = self.query_one(BytesView)
        item, view = event.path[-1], self.file
        if view is None or event.path[0].name != CONTENTS or item.start is None or item.end is None:
            box.unmark()
            return
        block = 0
        if len(view.contents) > 1 and len(event.path) > 1 and event.path[1].name.startswith("record "):
            block = int(event.path[1].name.split()[1]) - 1
        box.mark(block, item.start, item.end)
