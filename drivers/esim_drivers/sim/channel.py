"""One logical channel: what is selected on it (TS 102 221 8.7)."""

from __future__ import annotations

from dataclasses import dataclass

from esim_drivers.sim.application import Application
from esim_drivers.sim.filesystem import Node


@dataclass(eq=False, slots=True)
class Channel:
    """Current directory, EF, record and application of a channel. All of it is RAM."""

    number: int
    directory: Node
    adf: Node | None = None
    """The current application's directory (7FFF)."""
    ef: Node | None = None
    record: int = 0
    """The record pointer; 0: undefined."""
    application: Application | None = None
    """A selected application without files (ISD-R, ECASD); the commands go to it."""

    def enter(self, node: Node) -> None:
        """Make a file the current one."""
        self.record = 0
        if node.header.is_df:
            self.directory, self.ef = node, None
        else:
            self.ef = node
            if node.parent is not None:
                self.directory = node.parent
        # The current application changes only when one is selected by its AID: leaving its directory keeps 7FFF.

    def start(self, directory: Node) -> None:
        """Begin anew at a directory, without application."""
        self.directory, self.ef, self.adf, self.record, self.application = directory, None, None, 0, None

    def copy_from(self, other: Channel) -> None:
        """Take over another channel's selections, as a channel opened from one other than the basic one does."""
        self.directory, self.adf, self.ef, self.record = other.directory, other.adf, other.ef, other.record
        self.application = other.application
