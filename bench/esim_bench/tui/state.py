"""What the screen remembers from one start to the next: a JSON file in the bench's home."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Final

from esim_bench.store.files import write_whole
from esim_bench.store.home import home

FILE: Final = "tui.json"
_LIMIT: Final = 1 << 20
"""Bytes; a file that is larger is not ours."""


class TuiState:
    """Values by name. A file that cannot be read counts as none; one that cannot be written costs the memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or home() / FILE
        self._values: dict[str, Any] = {}
        self._dirty = threading.Event()
        self._lock = threading.Lock()
        try:
            with self._path.open("rb") as file:
                kept = json.loads(file.read(_LIMIT))
        except (OSError, ValueError):
            kept = {}
        if isinstance(kept, dict):
            self._values = kept

    def get(self, key: str, default: Any = None) -> Any:
        """Return what was kept; the default also where a value of another type is kept."""
        value = self._values.get(key, default)
        return default if default is not None and not isinstance(value, type(default)) else value

    def set(self, key: str, value: Any) -> None:
        """Keep a JSON value; ``save`` writes it."""
        if self._values.get(key) != value:
            self._values[key] = value
            self._dirty.set()

    @property
    def dirty(self) -> bool:
        """Tell whether something is to be saved."""
        return self._dirty.is_set()

    def save(self) -> None:
        """Write the file, if anything changed; never raises. Blocks: not for the loop."""
        with self._lock:
            if not self._dirty.is_set():
                return
            self._dirty.clear()
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._path, json.dumps(self._values, indent=1))
            except OSError:
                pass  # said where it matters: runs and journals need the same disk
