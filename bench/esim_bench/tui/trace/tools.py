"""What can be done with the chosen record: each tool in a module of its own, which names this one in its types."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, NamedTuple

from textual.binding import Binding

if TYPE_CHECKING:
    from esim_bench.tui.trace.screen import TraceScreen

_PACKAGE: Final = "esim_bench.tui.trace"


class Tool(NamedTuple):
    """A key, and the coroutine ``function(screen)`` of a module beside this one."""

    key: str
    module: str
    function: str
    title: str
    show: bool = False


TOOLS: Final = (
    Tool("d", "diff", "compare", "Diff", show=True),
    Tool("b", "bookmarks", "toggle", "Bookmark", show=True),
    Tool("B", "bookmarks", "choose", "Bookmarks"),
    Tool("m", "bookmarks", "note", "Note"),
    Tool("y", "export", "copy", "Copy"),
    Tool("e", "export", "export", "Export", show=True),
)


def bindings() -> list[Binding]:
    """Return the keys of the tools."""
    return [Binding(tool.key, f"tool('{tool.module}.{tool.function}')", tool.title, show=tool.show) for tool in TOOLS]


async def use(screen: TraceScreen, name: str) -> None:
    """Use a tool: "module.function"."""
    module, _, function = name.partition(".")
    await getattr(importlib.import_module(f"{_PACKAGE}.{module}"), function)(screen)
