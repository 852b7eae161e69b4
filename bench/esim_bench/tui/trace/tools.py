"""What can be done with the chosen record: each tool in a module of its own, loaded when it is needed."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from textual.binding import Binding

from esim_bench.trace.reader import Record

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


class Pane(Protocol):
    """What the decoded record is shown in."""

    def show(self, record: Record | None, slot: str) -> None:
        """Show a record of a slot, or nothing."""


def bindings() -> list[Binding]:
    """Return the keys of the tools."""
    return [Binding(tool.key, f"tool('{tool.module}.{tool.function}')", tool.title, show=tool.show) for tool in TOOLS]


def there(module: str) -> bool:
    """Tell whether a tool's module is part of this installation."""
    return find_spec(f"{_PACKAGE}.{module}") is not None


async def use(screen: TraceScreen, name: str) -> None:
    """Use a tool: "module.function"."""
    module, _, function = name.partition(".")
    await getattr(importlib.import_module(f"{_PACKAGE}.{module}"), function)(screen)


def decode_pane() -> Any:
    """Return the pane with the decoded record."""
    return importlib.import_module(f"{_PACKAGE}.decode").DecodePane(id="pane")
