"""How answers travel: GET RESPONSE, 61xx, 6Cxx and 91xx in the manners of T=0 and T=1 (TS 102 221 7.3.1.1, 7.4.2).

* T=0, command with data: an answer with data is announced by 61xx and fetched by GET RESPONSE.
* T=0, command without data: the answer comes at once if Le fits exactly, else 6Cxx; P3 = 00 asks for 256 bytes.
* T=1: the answer comes at once, up to Le bytes; what is left, or all of it when the command carries no Le, by 61xx.
"""

from __future__ import annotations

from dataclasses import dataclass

from esim_bench.codec.apdu import Command
from esim_drivers.sim.application import Reply

GET_RESPONSE = 0xC0
_MOST = 256


@dataclass(slots=True)
class _Waiting:
    cla: int
    data: bytes
    sw: int


class Transport:
    """The answers that wait for GET RESPONSE or for the same command with the right Le. Everything here is RAM."""

    def __init__(self, protocol: int) -> None:
        self._t0 = protocol == 0
        self._waiting: _Waiting | None = None
        self._held: tuple[bytes, Reply] | None = None

    def reset(self) -> None:
        """Forget what waits."""
        self._waiting = None
        self._held = None

    def before(self, command: Command) -> tuple[bytes, int] | Reply | None:
        """Look at a command before its execution.

        Returns response data and status word when it is GET RESPONSE, the Reply that was held back when it is the
        repetition that 6Cxx asked for, None when it has to be executed. Any command but these drops what waits.
        """
        if command.ins == GET_RESPONSE:  # whatever its class: terminals send 00 and 80 (ISO 7816-4 11.7.1)
            self._held = None
            return self._get_response(command)
        self._waiting = None
        held, self._held = self._held, None
        if held is not None and held[0] == _header(command) and command.le == len(held[1].data) and not command.data:
            return held[1]
        return None

    def after(self, command: Command, reply: Reply) -> tuple[bytes, int]:
        """Return what comes at once of an answer, and the status word."""
        data, le = reply.data, command.le
        if not data:
            return b"", reply.sw
        if command.data:
            if self._t0 or le is None:
                return self._wait(command.cla, b"", data, reply.sw)
            return self._wait(command.cla, data[:le], data[le:], reply.sw)
        if le is None:
            if not self._t0:
                return self._wait(command.cla, b"", data, reply.sw)
            le = _MOST  # T=0 has no command without P3: it is 00
        if le == _MOST and (not self._t0 or len(data) >= _MOST):
            return self._wait(command.cla, data[:_MOST], data[_MOST:], reply.sw)
        if le != len(data):
            self._held = _header(command), reply
            return b"", 0x6C00 | (len(data) & 0xFF if len(data) < _MOST else 0)
        return data, reply.sw

    def _get_response(self, command: Command) -> tuple[bytes, int]:
        if command.p1 or command.p2:
            return b"", 0x6A86
        if command.data:
            return b"", 0x6700
        waiting = self._waiting
        if waiting is None or waiting.cla != command.cla & 0x4F:
            return b"", 0x6985
        le = command.le or _MOST
        size = min(len(waiting.data), _MOST)
        if le > size and (self._t0 or le != _MOST):
            return b"", 0x6C00 | (size & 0xFF)
        return self._wait(waiting.cla, waiting.data[:le], waiting.data[le:], waiting.sw)

    def _wait(self, cla: int, now: bytes, rest: bytes, sw: int) -> tuple[bytes, int]:
        self._waiting = _Waiting(cla & 0x4F, rest, sw) if rest else None
        return now, (0x6100 | (len(rest) if len(rest) < _MOST else 0)) if rest else sw


def _header(command: Command) -> bytes:
    return bytes((command.cla, command.ins, command.p1, command.p2))
