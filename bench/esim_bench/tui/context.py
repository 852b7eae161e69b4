"""What the screens share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esim_bench.desk.api import Desk
    from esim_bench.desk.watch import Watch
    from esim_bench.rack.model import Rack
    from esim_bench.tui.state import TuiState


@dataclass(slots=True)
class Context:
    """The rack, who works on it, who reads what happens, and what is remembered."""

    rack: Rack
    desk: Desk
    watch: Watch
    state: TuiState
    make_desk: Callable[[Rack], Desk]
    make_watch: Callable[[Rack], Watch]
    rate: float | None = None
    """Seconds of simulated devices in a real one, for what is run from the screen; None: as fast as it goes."""
    demo: bool = False

    @classmethod
    def of(
        cls,
        rack: Rack,
        state: TuiState,
        make_desk: Callable[[Rack], Desk],
        make_watch: Callable[[Rack], Watch],
        *,
        rate: float | None = None,
        demo: bool = False,
    ) -> Context:
        """Begin with a rack."""
        return cls(rack, make_desk(rack), make_watch(rack), state, make_desk, make_watch, rate, demo)

    def renew(self, rack: Rack) -> None:
        """Go on with a rack whose file was changed. The old desk and watch are the caller's to close."""
        self.rack, self.desk, self.watch = rack, self.make_desk(rack), self.make_watch(rack)
