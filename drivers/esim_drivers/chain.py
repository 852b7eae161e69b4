"""The order in which commands go to a card when each response may change what follows. Sans-IO: links drive it."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from esim_bench.ports import StopRule


def chain(commands: Sequence[bytes], stop: StopRule) -> Generator[bytes, bytes, None]:
    """Yield the command to send next; the response is sent in. Ends when all is done or the rule says so.

    The link's part: ``command = next(steps)``, then ``command = steps.send(response)`` until StopIteration.
    """
    for first in commands:
        command: bytes | None = first
        while command is not None:
            response = yield command
            verdict = stop(command, response)
            if isinstance(verdict, bytes | bytearray):
                command = bytes(verdict)
            elif verdict:
                command = None
            else:
                return
