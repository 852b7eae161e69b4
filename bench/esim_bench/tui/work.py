"""What workers run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any


def work(call: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> Any:
    """Return what a worker takes: the coroutine is made when it begins, none is left over where it never does."""
    return partial(call, *args)
