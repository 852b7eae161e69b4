"""What workers run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from textual.app import App
from textual.css.query import NoMatches
from textual.dom import DOMNode


def work(call: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> Any:
    """Return what a worker takes: the coroutine is made when it begins, none is left over where it never does.

    A worker that finds the widgets gone because its own one is being taken down has nothing to do any more: widgets are
    taken down from the leaves to the root, and workers end with their own one.
    """

    async def run() -> None:
        try:
            await call(*args)
        except NoMatches:
            if stands(getattr(call, "__self__", None)):
                raise

    return run


def stands(owner: object) -> bool:
    """Tell whether a widget or an app is there, and not being taken down."""
    if isinstance(owner, App):
        return owner.is_running
    if not isinstance(owner, DOMNode):
        return True
    return owner.is_attached and owner.app.is_running and not owner._pruning
