"""What the device of a real slot keeps over power cuts and from one command to the next: a small file of its own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esim_bench.errors import ConfigError
from esim_bench.rack.model import Rack
from esim_bench.store.files import write_whole
from esim_bench.store.home import home


class FileState:
    """The flash of a device in a JSON file; each call reads or replaces the whole file.

    Raises ConfigError for a file that is something else or cannot be read, OSError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, key: str) -> bytes | None:
        """Return a value, None where there is none."""
        return self._load().get(key)

    def put(self, key: str, value: bytes) -> None:
        """Set a value: a reader finds the old one or this one, whenever the process dies."""
        self._save({**self._load(), key: value})

    def delete(self, key: str) -> None:
        """Remove a value; one that is not there is no error."""
        kept = self._load()
        if kept.pop(key, None) is not None:
            self._save(kept)

    def _load(self) -> dict[str, bytes]:
        try:
            return decoded(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as exc:
            hint = "delete the file to have the device forget what it was about to do"
            raise ConfigError("the device's memory cannot be read", where=str(self.path), hint=hint) from exc

    def _save(self, values: Mapping[str, bytes]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(encoded(values), indent=1, sort_keys=True))


def device_state(rack: Rack, slot: str) -> FileState:
    """Return what the device of a slot keeps, in the bench's home."""
    return FileState(home() / "device" / rack_folder(rack) / f"{slot}.json")


def rack_folder(rack: Rack) -> str:
    """Return the name of a rack's folder: its own for people, and a digest that tells racks of one name apart."""
    digest = hashlib.sha256(str(rack.path.resolve()).encode()).hexdigest()[:8]
    return f"{rack.name}-{digest}"


def encoded(values: Mapping[str, bytes]) -> dict[str, str]:
    """Return values as JSON can keep them, base64."""
    return {key: base64.b64encode(value).decode() for key, value in values.items()}


def decoded(document: Any) -> dict[str, bytes]:
    """Return what ``encoded`` made. Raises ValueError, TypeError or AttributeError for anything else."""
    return {str(key): base64.b64decode(text, validate=True) for key, text in document.items()}
