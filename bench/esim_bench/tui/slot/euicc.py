"""The tab that tells what the eUICC says of itself."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from textual.app import ComposeResult

from esim_bench.desk.api import EuiccView
from esim_bench.trace.tree import Node
from esim_bench.tui.slot.nodetree import NodeTree
from esim_bench.tui.slot.pane import Pane


class EuiccPane(Pane):
    """EUICCInfo1, EUICCInfo2, addresses, authorisation table: decoded, as a tree that can be searched."""

    LABEL = "eUICC"

    def parts(self) -> ComposeResult:
        """Make the tree."""
        yield NodeTree()

    def focus_main(self) -> None:
        """Put the focus on the tree."""
        self.query_one(NodeTree).focus_tree()

    def fetch(self) -> Coroutine[Any, Any, EuiccView]:
        """Read the eUICC."""
        return self.desk.info(self.about.name)

    def show(self, value: EuiccView) -> None:
        """Show the tree."""
        self.query_one(NodeTree).load([Node(name="EID", value=value.eid), *value.sections], depth=1)
