"""``--live``: each record of a run's traces as a line on stderr, once it is in its file."""

from __future__ import annotations

import sys

from esim_bench.events import Event
from esim_bench.scenario.tracing import OnRecord
from esim_bench.trace.decode import ApduDecoder
from esim_bench.trace.show import printable, time_of


class Live:
    """Prints slot, number, time and meaning. A line says that the record will be in the trace, whatever comes."""

    def __init__(self) -> None:
        self._decoders: dict[str, ApduDecoder] = {}
        self._gone = False

    def __call__(self, slot: str, number: int, event: Event) -> None:
        """Print one record."""
        if self._gone:
            return
        meaning = self._decoders.setdefault(slot, ApduDecoder()).observe(event).text
        line = f"{slot:<8} {number:>6}  {time_of(event.at_ns)[11:26]}  {meaning}"
        encoding = sys.stderr.encoding or "utf-8"
        try:
            sys.stderr.write(printable(line).encode(encoding, "backslashreplace").decode(encoding) + "\n")
            sys.stderr.flush()
        except OSError:
            self._gone = True  # who watched has left; the run goes on


def live(wanted: bool) -> OnRecord | None:
    """Return what prints records, where that is wanted."""
    return Live() if wanted else None
