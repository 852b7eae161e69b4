"""The desk as a process of its own: requests come in on stdin, answers and notices go out on stdout, a line each.

``python -m esim_bench.desk.service --rack PATH [--rate R]``. The end of stdin, SIGTERM, SIGINT or SIGHUP ends it: jobs
and runs are broken off, every slot is left in its safe state. What goes wrong inside is told on
stderr, which whoever starts it leads into a file.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import weakref
from collections.abc import Coroutine, Generator
from typing import Any, BinaryIO, Final, TypeAlias

from esim_bench import clock
from esim_bench.desk import wire
from esim_bench.desk.api import DeskError, Trouble
from esim_bench.desk.keeper import CURRENT
from esim_bench.desk.local import LocalDesk
from esim_bench.desk.pipes import log, protocol_pipes
from esim_bench.desk.tempo import DEFAULT_RATE
from esim_bench.errors import BenchError
from esim_bench.rack.model import Rack, load_rack

GRACE_SECONDS: Final = 1.0
"""How long whoever began a task has to ask how it ended."""
_Coroutine: TypeAlias = Coroutine[Any, Any, Any] | Generator[Any, None, Any]

MOST_WAITING: Final = 64 * 1024 * 1024
"""Bytes that may wait for a front that does not read, before the desk gives it up."""


class Service:
    """Answers requests by a desk. ``lines``, ``out``: the pipes to the front."""

    def __init__(self, rack: Rack, rate: float | None, lines: BinaryIO, out: BinaryIO) -> None:
        self._rack = rack
        self._rate = rate
        self._lines = lines
        self._out = out
        self._requests: set[asyncio.Task[None]] = set()
        self._owners: weakref.WeakKeyDictionary[asyncio.Future[Any], str] = weakref.WeakKeyDictionary()
        self.desk: LocalDesk | None = None
        self._writer: asyncio.WriteTransport | None = None
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serve until the front has gone, or a signal says so; everything is released then."""
        loop = asyncio.get_running_loop()
        self.watch_tasks()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._over.set)
        reader = asyncio.StreamReader(limit=wire.LINE_LIMIT)
        reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._lines)
        self._writer, _ = await loop.connect_write_pipe(lambda: _Output(self._over), self._out)
        self.desk = LocalDesk(self._rack, self._rate)
        self.desk.listen(lambda notice: self._send(wire.notice_line(notice)))
        listening = asyncio.create_task(self._listen(reader))
        try:
            over = asyncio.create_task(self._over.wait())
            await asyncio.wait({listening, over}, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
        finally:
            listening.cancel()
            reading.close()
            for request in self._requests:
                request.cancel()
            await self.desk.close()
            self._writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while raw := await reader.readline():
            request = asyncio.create_task(self._serve(raw))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)

    async def _serve(self, raw: bytes) -> None:
        number: object = None
        try:
            document = wire.parse(raw)
            number = document.get("id")
            method = wire.METHODS.get(str(document.get("method")))
            if not isinstance(number, int) or method is None:
                raise DeskError(
                    Trouble(
                        kind="ConfigError",
                        what="not a request",
                        expected=f"id (a number) and method, one of {', '.join(wire.METHODS)}",
                        found=str(document.get("method")),
                    )
                )
            arguments = method.read_arguments(document.get("args", {}))
            result = await getattr(self.desk, method.name)(**arguments)
            self._send(wire.result_line(number, method, result))
        except DeskError as exc:
            self._send(wire.trouble_line(number, exc.trouble))
        except Exception as exc:
            if not isinstance(exc, BenchError | OSError | ValueError):
                log(f"request {number} failed", exc)
            self._send(wire.trouble_line(number, Trouble.of(exc)))

    def _send(self, line: bytes) -> None:
        if self._writer is None or self._writer.is_closing():
            return
        self._writer.write(line)
        if self._writer.get_write_buffer_size() > MOST_WAITING:
            log("the front does not read: given up")
            self._writer.abort()
            self._over.set()

    # ------------------------------------------------------------------------------------------------ tasks that die

    def watch_tasks(self) -> None:
        """Have the running loop know whose task each one is, and hear of those that die."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._make_task)
        loop.set_exception_handler(self._on_exception)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: _Coroutine, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
        if slot := CURRENT.get():
            self._owners[task] = slot
            task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """Look after a slot's task that failed: one that its driver holds on to is reported by nobody else."""

        def look() -> None:
            if getattr(task, "_log_traceback", False):  # nobody has asked for the exception
                message = f"task {task.get_name()} of slot {self._owners.get(task, '')} died"
                self._on_exception(task.get_loop(), {"message": message, "exception": task.exception(), "task": task})

        if getattr(task, "_log_traceback", False):
            task.get_loop().call_later(GRACE_SECONDS, look)

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what nobody else took: a driver's task that died, a callback of it that failed."""
        exc = context.get("exception")
        log(context.get("message"), exc)
        task = context.get("task") or context.get("future")
        slot = self._owners.get(task, "") if task is not None else ""
        handle = context.get("handle")
        if not slot and isinstance(handle, asyncio.Handle):
            slot = handle._context.run(CURRENT.get)  # type: ignore[attr-defined]
        if self.desk is not None and isinstance(exc, Exception):
            self.desk.crashed(slot, exc)


class _Output(asyncio.BaseProtocol):
    """The way to the front; its loss is the end."""

    def __init__(self, over: asyncio.Event) -> None:
        self._over = over

    def connection_lost(self, exc: Exception | None) -> None:
        """Take it that nobody listens any more."""
        self._over.set()

    def pause_writing(self) -> None:
        """Go on: what may wait has a limit of its own."""

    def resume_writing(self) -> None:
        """Go on."""


def main() -> int:
    """Serve a rack."""
    parser = argparse.ArgumentParser(prog="esim_bench.desk.service")
    parser.add_argument("--rack", required=True)
    parser.add_argument("--rate", type=float, default=None)
    options = parser.parse_args()
    lines, out = protocol_pipes()
    try:
        rack = load_rack(options.rack)
    except BenchError as exc:
        out.write(wire.trouble_line(None, Trouble.of(exc)))
        out.flush()
        return 2

    async def serve() -> None:
        await Service(rack, options.rate, lines, out).run()

    if rack.simulated:
        clock.run_paced(serve(), options.rate or DEFAULT_RATE)
    else:
        clock.run_real(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
