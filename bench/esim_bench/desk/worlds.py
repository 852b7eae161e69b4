"""The worlds around the slots that are open: one for each seed, whose eIMs go on from what was left in files."""

from __future__ import annotations

from esim_bench.rack.by_hand import eim_folder
from esim_bench.rack.model import Rack
from esim_bench.rack.world import World


class Worlds:
    """Worlds by their seeds. Making one takes a while (its keys); it is kept, and its files are closed when unused."""

    def __init__(self, rack: Rack) -> None:
        self._rack = rack
        self._worlds: dict[str, World] = {}
        self._users: dict[str, int] = {}

    def enter(self, seed: str) -> World:
        """Return the world of a seed; ``leave`` it in the end. Raises ConfigError, OSError."""
        if seed not in self._worlds:
            world = World(self._rack, seed)
            world.keep_eims(eim_folder(self._rack, seed))
            self._worlds[seed] = world
        self._users[seed] = self._users.get(seed, 0) + 1
        return self._worlds[seed]

    def leave(self, world: World) -> None:
        """Say that a slot has left it. The last one's leaving closes what it keeps in files."""
        self._users[world.seed] -= 1
        if not self._users[world.seed]:
            world.close()
