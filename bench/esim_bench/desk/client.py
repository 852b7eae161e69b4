"""The desk as a front sees it: a process that is started when it is first needed, and anew after it has died."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError

from esim_bench.desk import wire
from esim_bench.desk.api import (
    ApduView,
    AtView,
    Busy,
    DeskError,
    DeskLost,
    EimView,
    EuiccView,
    FileEntry,
    FileView,
    Listener,
    ModemView,
    NotificationView,
    OrderView,
    PowerView,
    ProfileView,
    RunBegan,
    RunEnded,
    RunRequest,
    SlotReading,
    Source,
    Trouble,
)
from esim_bench.desk.pipes import log_file
from esim_bench.store.home import home

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds that the desk's process has to leave its slots safe, when it is closed."""
TERM_SECONDS: Final = 3.0
KILL_SECONDS: Final = 5.0


class RemoteDesk:
    """A ``Desk`` in a process of its own; for one loop. ``rack``: path of the rack file; ``rate``: see the service.

    Methods raise DeskError and nothing else.
    """

    def __init__(self, rack: Path | str, rate: float | None = None, *, patience: float = PATIENCE) -> None:
        self._command = [sys.executable, "-m", "esim_bench.desk.service", "--rack", str(rack)]
        if rate is not None:
            self._command += ["--rate", str(rate)]
        self._patience = patience
        self._listeners: list[Listener] = []
        self._numbers = itertools.count(1)
        self._beginning: asyncio.Task[_Link] | None = None
        self._link: _Link | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Return the number of the desk's process; None while there is none."""
        return None if self._link is None else self._link.process.pid

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have notices told; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    # ------------------------------------------------------------------------------------------------------ the process

    async def _ask(self, name: str, /, **args: Any) -> T:
        """Call a method of the desk. Raises DeskError."""
        method = wire.METHODS[name]
        number = next(self._numbers)
        try:
            line = wire.request_line(number, method, args)
        except (ValueError, TypeError) as exc:
            raise DeskError(Trouble(kind="ConfigError", what=f"{name}: {exc}")) from exc
        link = await self._started()
        answer = await link.ask(number, line)
        if "trouble" in answer:
            raise DeskError(Trouble.model_validate(answer["trouble"]))
        try:
            result: T = method.result.validate_python(answer.get("result"))
        except ValidationError as exc:
            raise DeskError(Trouble(kind="ProtocolError", what=f"the desk's answer to {name}: {exc}")) from exc
        return result

    async def _started(self) -> _Link:
        if self._closed:
            raise DeskError(Trouble(kind="ConfigError", what="the desk is closed"))
        if self._link is not None:
            return self._link
        if self._beginning is None:
            self._beginning = asyncio.create_task(self._begin(), name="desk begins")
        # Whoever gives up waiting leaves no half-begun process behind.
        return await asyncio.shield(self._beginning)

    async def _begin(self) -> _Link:
        try:
            # Not on the loop: it returns when the new process has begun to run.
            process = await asyncio.get_running_loop().run_in_executor(None, self._spawn)
            link = _Link(process, self._tell)
            await link.connect()
            link.on_lost = self._lost
            self._link = link
            return link
        except OSError as exc:
            hint = "see whether this machine is out of memory or processes"
            raise DeskError(Trouble.of(exc).model_copy(update={"hint": hint})) from exc
        finally:
            self._beginning = None

    def _spawn(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C and the loss of the terminal reach the desk by the front, which lets it end well.
        log = log_file("desk")
        try:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if log is None else log,
                start_new_session=True,
                bufsize=0,
            )
        finally:
            if log is not None:
                os.close(log)

    def _lost(self, link: _Link, trouble: Trouble) -> None:
        """Take it that the process has ended: what it had begun is over."""
        if self._link is link:
            self._link = None
        if self._closed:
            return
        for slot in sorted(link.busy):
            self._tell(Busy(slot=slot, what=None))
        for key, run in link.runs.items():
            self._tell(RunEnded(key=key, run=run, outcome=None, trouble=trouble))
        self._tell(DeskLost(trouble=trouble))

    def _tell(self, notice: Any) -> None:
        for listener in [*self._listeners]:
            try:
                listener(notice)
            except Exception as exc:
                context = {"message": "a listener of the desk failed", "exception": exc}
                asyncio.get_running_loop().call_exception_handler(context)

    async def close(self) -> None:
        """End the process, which leaves its slots safe; it is killed in the end if it does not; never raises."""
        self._closed = True
        if self._beginning is not None:
            with contextlib.suppress(DeskError):
                await self._beginning
        link, self._link = self._link, None
        if link is not None:
            await link.end(self._patience)

    # --------------------------------------------------------------------------------------------------------- methods

    async def read(self, slot: str) -> SlotReading:
        """Read EID, ATR, profiles and the modem's state."""
        return await self._ask("read", slot=slot)

    async def info(self, slot: str) -> EuiccView:
        """Read what the eUICC says of itself."""
        return await self._ask("info", slot=slot)

    async def profiles(self, slot: str) -> list[ProfileView]:
        """List the profiles in the eUICC's order."""
        return await self._ask("profiles", slot=slot)

    async def enable(self, slot: str, iccid: str) -> list[ProfileView]:
        """Enable a profile, recover the device, verify; return the profiles as they are then."""
        return await self._ask("enable", slot=slot, iccid=iccid)

    async def disable(self, slot: str, iccid: str) -> list[ProfileView]:
        """Disable a profile."""
        return await self._ask("disable", slot=slot, iccid=iccid)

    async def delete(self, slot: str, iccid: str, allow_destructive: bool = False) -> list[ProfileView]:
        """Delete a disabled profile; on a protected slot only one of the bench's own, unless allowed."""
        return await self._ask("delete", slot=slot, iccid=iccid, allow_destructive=allow_destructive)

    async def nickname(self, slot: str, iccid: str, text: str) -> list[ProfileView]:
        """Set a profile's nickname; "" takes it away."""
        return await self._ask("nickname", slot=slot, iccid=iccid, text=text)

    async def download(
        self,
        slot: str,
        source: Source,
        confirmation_code: str | None = None,
        enable: bool = False,
        cut_after: int | None = None,
    ) -> list[ProfileView]:
        """Download a profile, with ``Progress`` notices; cut the power once so many segments are in the eUICC."""
        return await self._ask(
            "download",
            slot=slot,
            source=source,
            confirmation_code=confirmation_code,
            enable=enable,
            cut_after=cut_after,
        )

    async def notifications(self, slot: str) -> list[NotificationView]:
        """List the notifications that wait."""
        return await self._ask("notifications", slot=slot)

    async def send_notification(self, slot: str, seq: int) -> list[NotificationView]:
        """Deliver one to its SM-DP+ and remove it."""
        return await self._ask("send_notification", slot=slot, seq=seq)

    async def remove_notification(self, slot: str, seq: int) -> list[NotificationView]:
        """Remove one without delivering it."""
        return await self._ask("remove_notification", slot=slot, seq=seq)

    async def eims(self, slot: str) -> list[EimView]:
        """List the associated eIMs; empty for an eUICC without SGP.32."""
        return await self._ask("eims", slot=slot)

    async def orders(self, slot: str) -> list[OrderView]:
        """List the orders that the bench's own eIM has for the slot's eUICC."""
        return await self._ask("orders", slot=slot)

    async def order(self, slot: str, operation: str, iccid: str | None = None) -> list[OrderView]:
        """Order enable, disable, delete or list-profiles at the bench's eIM, and have the IPA poll."""
        return await self._ask("order", slot=slot, operation=operation, iccid=iccid)

    async def modem(self, slot: str) -> ModemView:
        """Ask the modem for its state."""
        return await self._ask("modem", slot=slot)

    async def at(self, slot: str, line: str) -> AtView:
        """Send one AT line."""
        return await self._ask("at", slot=slot, line=line)

    async def apdu(self, slot: str, text: str) -> ApduView:
        """Send one command: hex, or a name of ``apdu_names`` with its arguments ("SELECT ADF.USIM")."""
        return await self._ask("apdu", slot=slot, text=text)

    async def apdu_names(self) -> list[str]:
        """Return what can be sent by name, with a pattern of arguments each."""
        return await self._ask("apdu_names")

    async def files(self, slot: str) -> list[FileEntry]:
        """List the files that the bench knows of and that the card has applications for."""
        return await self._ask("files", slot=slot)

    async def file(self, slot: str, path: str) -> FileView:
        """Read one file."""
        return await self._ask("file", slot=slot, path=path)

    async def power(self, slot: str) -> PowerView:
        """Tell the state of the power; opens nothing."""
        return await self._ask("power", slot=slot)

    async def power_off(self, slot: str) -> PowerView:
        """Cut the power, cold, at once: also in the middle of another job."""
        return await self._ask("power_off", slot=slot)

    async def power_on(self, slot: str) -> PowerView:
        """Give the power back and start the card."""
        return await self._ask("power_on", slot=slot)

    async def power_cycle(self, slot: str, seconds: float) -> PowerView:
        """Cut the power, wait, start again."""
        return await self._ask("power_cycle", slot=slot, seconds=seconds)

    async def release(self, slot: str) -> None:
        """Leave a slot in its safe state and let its devices go; no error when it is not open."""
        await self._ask("release", slot=slot)

    async def start_run(self, request: RunRequest) -> str:
        """Begin a run in a process of its own; return the key that its notices carry. Open slots are released first."""
        return await self._ask("start_run", request=request)

    async def abort_run(self, key: str) -> None:
        """Have a run leave its devices in their safe state and end: ABORTED."""
        await self._ask("abort_run", key=key)

    async def answer(self, key: str, slot: str, answer: Literal["done", "skip", "abort"]) -> None:
        """Answer a run's question."""
        await self._ask("answer", key=key, slot=slot, answer=answer)


class _Link:
    """One process of the desk, and the pipes to it."""

    def __init__(self, process: subprocess.Popen[bytes], tell: Callable[[Any], None]) -> None:
        self.process = process
        self.busy: set[str] = set()
        self.runs: dict[str, str | None] = {}
        self.on_lost: Callable[[_Link, Trouble], None] = lambda link, trouble: None
        self._tell = tell
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._said: Trouble | None = None
        self._writer: asyncio.WriteTransport | None = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Listen to the process."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=wire.LINE_LIMIT)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self.process.stdout)
        self._writer, _ = await loop.connect_write_pipe(_Input, self.process.stdin)
        self._reading = asyncio.create_task(self._read(reader, transport), name="desk")

    async def ask(self, number: int, line: bytes) -> dict[str, Any]:
        """Send a request, and wait for its answer. Raises DeskError when the process ends before it."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        if self._writer is not None:
            self._writer.write(line)
        try:
            return await future
        finally:
            self._pending.pop(number, None)

    async def _read(self, reader: asyncio.StreamReader, transport: asyncio.BaseTransport) -> None:
        try:
            while raw := await reader.readline():
                self._take(raw)
        except (OSError, ValueError) as exc:
            self._said = self._said or Trouble(kind="ProtocolError", what=f"the desk speaks something else: {exc}")
        finally:
            transport.close()
            if self._writer is not None:
                self._writer.close()
        trouble = self._why(await self._ended(KILL_SECONDS))
        for future in self._pending.values():
            if not future.done():
                future.set_exception(DeskError(trouble))
        self.on_lost(self, trouble)

    def _take(self, raw: bytes) -> None:
        try:
            document = wire.parse(raw)
        except ValueError:
            return
        if "notice" in document:
            try:
                notice = wire.NOTICE.validate_python(document)
            except ValidationError:
                return
            self._note(notice)
            self._tell(notice)
            return
        future = self._pending.get(document["id"]) if isinstance(document.get("id"), int) else None
        if future is not None and not future.done():
            future.set_result(document)
        elif document.get("id") is None and "trouble" in document:
            # It could not even begin: its rack file is broken.
            with contextlib.suppress(ValidationError):
                self._said = Trouble.model_validate(document["trouble"])

    def _note(self, notice: Any) -> None:
        match notice:
            case Busy(what=None):
                self.busy.discard(notice.slot)
            case Busy():
                self.busy.add(notice.slot)
            case RunBegan():
                self.runs[notice.key] = notice.run
            case RunEnded():
                self.runs.pop(notice.key, None)

    def _why(self, code: int | None) -> Trouble:
        if self._said is not None:
            return self._said
        if code is None:
            found = "it closed its pipes and still runs"
        elif code < 0:
            found = f"signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"signal {-code}"
        else:
            found = f"exit code {code}"
        return Trouble(
            kind="DeskLost",
            what="the desk's process has gone",
            found=found,
            hint=f"the next action starts another one; {home() / 'log' / 'desk.log'} may say why",
        )

    async def _ended(self, seconds: float) -> int | None:
        """Wait for the end of the process; return its exit code, None when it does not come."""
        for wait in itertools.chain((0.002, 0.01, 0.02, 0.05), itertools.repeat(0.1)):
            code = self.process.poll()
            if code is not None or seconds <= 0:
                return code
            seconds -= wait
            await asyncio.sleep(wait)
        return None

    async def end(self, patience: float) -> None:
        """End the process: by the end of its stdin, by SIGTERM, by SIGKILL; never raises."""
        if self._writer is not None:
            self._writer.close()
        for seconds, number in ((patience, signal.SIGTERM), (TERM_SECONDS, signal.SIGKILL), (KILL_SECONDS, None)):
            if await self._ended(seconds) is not None:
                break
            if number is not None:
                with contextlib.suppress(OSError):
                    self.process.send_signal(number)
        if self._reading is not None:
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait({self._reading}, timeout=KILL_SECONDS)
                self._reading.cancel()


class _Input(asyncio.BaseProtocol):
    """The way to the process; its loss shows at its output."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Do nothing."""

    def pause_writing(self) -> None:
        """Go on: requests are small."""

    def resume_writing(self) -> None:
        """Go on."""
