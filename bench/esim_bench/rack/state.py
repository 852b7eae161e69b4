"""What simulated slots remember between commands: the card's NVM, the device's flash, the seed; a file per slot.

``run`` always starts from cards as they left the factory (one seed, one trace) and leaves their memory here; commands
by hand (``euicc``, ``apdu``) go on from it and leave theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from esim_bench.errors import ConfigError
from esim_bench.rack.device_store import decoded, encoded, rack_folder
from esim_bench.rack.model import Rack
from esim_bench.store.files import write_whole
from esim_bench.store.home import home


@dataclass(frozen=True, slots=True)
class SimState:
    """A simulated card at rest."""

    seed: str
    nvm: bytes
    flash: Mapping[str, bytes] = field(default_factory=dict)
    """What the device keeps beside its card, such as its IPA's intentions."""


def _path(rack: Rack, slot: str) -> Path:
    return home() / "sim" / rack_folder(rack) / f"{slot}.json"


def load_state(rack: Rack, slot: str) -> SimState | None:
    """Return a simulated card as the last command left it; None when it is new. Raises ConfigError."""
    path = _path(rack, slot)
    try:
        document = json.loads(path.read_bytes())
        flash = decoded(document.get("flash", {}))
        return SimState(document["seed"], json.dumps(document["nvm"]).encode(), flash)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as exc:
        raise ConfigError(
            "the simulated card's memory cannot be read", where=str(path), hint="delete the file to get a new card"
        ) from exc


def save_state(rack: Rack, slot: str, state: SimState) -> None:
    """Remember a simulated card, replacing what was remembered at once."""
    path = _path(rack, slot)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"seed": state.seed, "nvm": json.loads(state.nvm)}
    if state.flash:
        document["flash"] = encoded(state.flash)
    write_whole(path, json.dumps(document))


def forget_state(rack: Rack, slot: str) -> None:
    """Make a simulated card new."""
    _path(rack, slot).unlink(missing_ok=True)
