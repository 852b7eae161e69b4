"""What simulated cards remember between commands: their NVM and the seed of their identity, a file per slot.

``run`` always starts from cards as they left the factory (one seed, one trace) and leaves their memory here; commands
by hand (``euicc``, ``apdu``) go on from it and leave theirs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from esim_bench.errors import ConfigError
from esim_bench.rack.model import Rack
from esim_bench.store.files import write_whole
from esim_bench.store.home import home


@dataclass(frozen=True, slots=True)
class SimState:
    """A simulated card at rest."""

    seed: str
    nvm: bytes


def _path(rack: Rack, slot: str) -> Path:
    # The name is for people; the digest keeps racks of one name in different folders apart.
    digest = hashlib.sha256(str(rack.path.resolve()).encode()).hexdigest()[:8]
    return home() / "sim" / f"{rack.name}-{digest}" / f"{slot}.json"


def load_state(rack: Rack, slot: str) -> SimState | None:
    """Return a simulated card as the last command left it; None when it is new. Raises ConfigError."""
    path = _path(rack, slot)
    try:
        document = json.loads(path.read_bytes())
        return SimState(document["seed"], json.dumps(document["nvm"]).encode())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as exc:
        raise ConfigError(
            "the simulated card's memory cannot be read", where=str(path), hint="delete the file to get a new card"
        ) from exc


def save_state(rack: Rack, slot: str, state: SimState) -> None:
    """Remember a simulated card, replacing what was remembered at once."""
    path = _path(rack, slot)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"seed": state.seed, "nvm": json.loads(state.nvm)}))


def forget_state(rack: Rack, slot: str) -> None:
    """Make a simulated card new."""
    _path(rack, slot).unlink(missing_ok=True)
