"""A desk without devices: it answers with what was recorded of a simulated slot, and does what it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from esim_bench.desk.api import (
    ApduView,
    AtView,
    Busy,
    DeskError,
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
    Progress,
    RunBegan,
    RunEnded,
    RunRequest,
    RunStep,
    SlotReading,
    Source,
    Trouble,
)
from esim_bench.rack.model import Rack

RECORDED: Final[dict[str, Any]] = json.loads(Path(__file__).with_name("recorded_slot.json").read_text())
SEGMENTS: Final = 8
"""Steps of a download."""


class FakeSlot:
    """What a slot of the fake desk is like just now."""

    def __init__(self, number: int, *, modem: bool, iot: bool) -> None:
        reading = SlotReading.model_validate(RECORDED["read"])
        digits = f"{number:02d}"
        self.eid = reading.eid[:-2] + digits
        self.atr = "3B9F96801FC78031E073FE2111634082918307900099"
        self.modem = reading.modem if modem else None
        self.profiles = [
            one.model_copy(update={"iccid": one.iccid[:-3] + digits + one.iccid[-1:]}) for one in reading.profiles
        ]
        self.notifications = [
            NotificationView(seq=4, operation="install", iccid=self.profiles[1].iccid, address="smdp.example.com"),
            NotificationView(seq=5, operation="enable", iccid=self.profiles[0].iccid, address="smdp.example.com"),
        ]
        self.eims = [EimView.model_validate(one) for one in RECORDED["eims"]] if iot else []
        self.orders = [OrderView.model_validate(one) for one in RECORDED["orders"]] if iot else []
        self.iot = iot
        self.powered = True
        self.proof = ""
        self.lock = asyncio.Lock()
        self.job: asyncio.Task[Any] | None = None

    @property
    def reading(self) -> SlotReading:
        return SlotReading(eid=self.eid, atr=self.atr, profiles=self.profiles, modem=self.modem, powered=self.powered)


class FakeDesk:
    """A ``Desk`` in memory.

    ``calls`` has every call as (method, arguments). ``hold(method)`` lets calls of a method wait until ``go(method)``;
    ``fail(method, trouble)`` lets its next one fail.
    """

    def __init__(self, rack: Rack) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.slots = {
            spec.name: FakeSlot(number, modem=bool(spec.module), iot=spec.iot)
            for number, spec in enumerate(rack.slots, 1)
        }
        self.runs: dict[str, RunRequest] = {}
        self.closed = False
        self._listeners: list[Listener] = []
        self._holds: dict[str, asyncio.Event] = {}
        self._fails: dict[str, Trouble] = {}

    # ------------------------------------------------------------------------------------------------ for tests

    def hold(self, method: str) -> None:
        """Let calls of a method wait."""
        self._holds[method] = asyncio.Event()

    def go(self, method: str) -> None:
        """Let them go on."""
        self._holds.pop(method).set()

    def fail(self, method: str, trouble: Trouble) -> None:
        """Let the next call of a method fail."""
        self._fails[method] = trouble

    def called(self, method: str) -> list[tuple[Any, ...]]:
        """Return the arguments of all calls of a method."""
        return [args for name, args in self.calls if name == method]

    def tell(self, notice: Any) -> None:
        """Tell a notice to all who listen."""
        for listener in [*self._listeners]:
            listener(notice)

    # ------------------------------------------------------------------------------------------------ how it works

    def listen(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _slot(self, slot: str) -> FakeSlot:
        if slot not in self.slots:
            raise DeskError(Trouble(kind="ConfigError", what="no slot of this name", found=slot))
        return self.slots[slot]

    async def _work(self, slot: str, method: str, what: str, *args: Any) -> FakeSlot:
        """Count a job in, and wait for its turn, for a test that holds it, and for a cut of the power."""
        self.calls.append((method, (slot, *args)))
        found = self._slot(slot)
        async with found.lock:
            if not found.powered:
                raise DeskError(
                    Trouble(
                        kind="PowerError", what="the slot was left without power", where=slot, hint="power it on first"
                    )
                )
            self.tell(Busy(slot=slot, what=what))
            found.job = asyncio.create_task(self._held(method))
            try:
                await found.job
            except asyncio.CancelledError:
                if found.powered:
                    raise
                raise DeskError(
                    Trouble(
                        kind="PowerError",
                        what=f"the power was cut during {what}",
                        where=slot,
                        hint="power it on, then look what it left",
                    )
                ) from None
            finally:
                found.job = None
                self.tell(Busy(slot=slot, what=None))
        return found

    async def _held(self, method: str) -> None:
        await asyncio.sleep(0)
        if method in self._holds:
            await self._holds[method].wait()
        if method in self._fails:
            raise DeskError(self._fails.pop(method))

    # ------------------------------------------------------------------------------------------------ eUICC

    async def read(self, slot: str) -> SlotReading:
        return (await self._work(slot, "read", "reading the slot")).reading

    async def info(self, slot: str) -> EuiccView:
        found = await self._work(slot, "info", "reading the eUICC's information")
        return EuiccView.model_validate(RECORDED["info"]).model_copy(update={"eid": found.eid})

    async def profiles(self, slot: str) -> list[ProfileView]:
        return [*(await self._work(slot, "profiles", "listing profiles")).profiles]

    async def enable(self, slot: str, iccid: str) -> list[ProfileView]:
        found = await self._work(slot, "enable", f"enabling {iccid}", iccid)
        found.profiles = [
            one.model_copy(update={"state": "enabled" if one.iccid == iccid else "disabled"}) for one in found.profiles
        ]
        return [*found.profiles]

    async def disable(self, slot: str, iccid: str) -> list[ProfileView]:
        found = await self._work(slot, "disable", f"disabling {iccid}", iccid)
        found.profiles = [
            one.model_copy(update={"state": "disabled"}) if one.iccid == iccid else one for one in found.profiles
        ]
        return [*found.profiles]

    async def delete(self, slot: str, iccid: str, allow_destructive: bool = False) -> list[ProfileView]:
        found = await self._work(slot, "delete", f"deleting {iccid}", iccid, allow_destructive)
        found.profiles = [one for one in found.profiles if one.iccid != iccid]
        return [*found.profiles]

    async def nickname(self, slot: str, iccid: str, text: str) -> list[ProfileView]:
        found = await self._work(slot, "nickname", f"naming {iccid}", iccid, text)
        found.profiles = [
            one.model_copy(update={"nickname": text}) if one.iccid == iccid else one for one in found.profiles
        ]
        return [*found.profiles]

    async def download(
        self,
        slot: str,
        source: Source,
        confirmation_code: str | None = None,
        enable: bool = False,
        cut_after: int | None = None,
    ) -> list[ProfileView]:
        what = "the profile goes into the eUICC"
        for done in range(SEGMENTS + 1):
            self.tell(Progress(slot=slot, what=what, done=done, total=SEGMENTS))
            await asyncio.sleep(0)
        found = await self._work(slot, "download", what, source, confirmation_code, enable, cut_after)
        new = ProfileView(
            iccid=f"898821100000000{100 + len(found.profiles)}7",
            state="disabled",
            name=source.profile or "Downloaded",
            provider="esim-bench",
            profile_class="operational",
            plmn="001-01",
        )
        found.profiles = [*found.profiles, new]
        if not enable:
            return [*found.profiles]
        return await self.enable(slot, new.iccid)

    async def notifications(self, slot: str) -> list[NotificationView]:
        return [*(await self._work(slot, "notifications", "listing notifications")).notifications]

    async def send_notification(self, slot: str, seq: int) -> list[NotificationView]:
        found = await self._work(slot, "send_notification", f"sending notification {seq}", seq)
        found.notifications = [one for one in found.notifications if one.seq != seq]
        return [*found.notifications]

    async def remove_notification(self, slot: str, seq: int) -> list[NotificationView]:
        found = await self._work(slot, "remove_notification", f"removing notification {seq}", seq)
        found.notifications = [one for one in found.notifications if one.seq != seq]
        return [*found.notifications]

    # ------------------------------------------------------------------------------------------------ eIM

    async def eims(self, slot: str) -> list[EimView]:
        return [*(await self._work(slot, "eims", "listing eIMs")).eims]

    async def orders(self, slot: str) -> list[OrderView]:
        found = await self._work(slot, "orders", "listing orders")
        self._need_iot(slot, found)
        return [*found.orders]

    async def order(self, slot: str, operation: str, iccid: str | None = None) -> list[OrderView]:
        found = await self._work(slot, "order", f"ordering {operation}", operation, iccid)
        self._need_iot(slot, found)
        what = f"{operation} {iccid or ''}".strip()
        found.orders = [
            *found.orders,
            OrderView(number=str(len(found.orders) + 1), what=what, state="done", result="ok"),
        ]
        return [*found.orders]

    def _need_iot(self, slot: str, found: FakeSlot) -> None:
        if not found.iot:
            raise DeskError(
                Trouble(
                    kind="ConfigError",
                    what="this device has no IPA",
                    where=slot,
                    expected="an ipa table in the rack file, or a simulated eUICC of SGP.32",
                )
            )

    # ------------------------------------------------------------------------------------------------ modem and card

    async def modem(self, slot: str) -> ModemView:
        found = await self._work(slot, "modem", "asking the modem")
        if found.modem is None:
            raise DeskError(Trouble(kind="ConfigError", what="this slot has no modem", where=slot))
        return found.modem

    async def at(self, slot: str, line: str) -> AtView:
        await self._work(slot, "at", f"AT line {line}", line)
        recorded = RECORDED["at"].get(line)
        if recorded is None:
            return AtView(line=line, answer=["ERROR"], ok=False, milliseconds=8.7)
        return AtView.model_validate(recorded)

    async def apdu(self, slot: str, text: str) -> ApduView:
        await self._work(slot, "apdu", f"APDU {text}", text)
        recorded = RECORDED["apdu"].get(text)
        if recorded is not None:
            return ApduView.model_validate({"response": "", **recorded})
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raise DeskError(
                Trouble(
                    kind="ConfigError",
                    what="not a command",
                    expected="hexadecimal digits, or a command by its name (SELECT ADF.USIM)",
                    found=repr(text),
                )
            ) from None
        return ApduView(
            command=raw.hex().upper(),
            response="",
            sw="6D00",
            meaning="-> 6D00 instruction code not supported or invalid",
            milliseconds=4.0,
        )

    async def apdu_names(self) -> list[str]:
        return [*RECORDED["apdu_names"]]

    async def files(self, slot: str) -> list[FileEntry]:
        await self._work(slot, "files", "listing files")
        return [FileEntry.model_validate(one) for one in RECORDED["files"]]

    async def file(self, slot: str, path: str) -> FileView:
        await self._work(slot, "file", f"reading {path}", path)
        recorded = RECORDED["file"].get(path)
        if recorded is None:
            return FileView(path=path, name=path, structure="", refused="6A82 file or application not found")
        return FileView.model_validate({"structure": "", **recorded})

    # ------------------------------------------------------------------------------------------------ power

    def _power(self, found: FakeSlot) -> PowerView:
        return PowerView(powered=found.powered, how="simulated", proof=found.proof)

    async def power(self, slot: str) -> PowerView:
        self.calls.append(("power", (slot,)))
        return self._power(self._slot(slot))

    async def power_off(self, slot: str) -> PowerView:
        self.calls.append(("power_off", (slot,)))
        found = self._slot(slot)
        found.powered, found.proof = False, "the modem's port is gone"
        if found.job is not None:
            found.job.cancel()
        return self._power(found)

    async def power_on(self, slot: str) -> PowerView:
        self.calls.append(("power_on", (slot,)))
        found = self._slot(slot)
        found.powered, found.proof = True, "the modem's port speaks"
        return self._power(found)

    async def power_cycle(self, slot: str, seconds: float) -> PowerView:
        self.calls.append(("power_cycle", (slot, seconds)))
        await self.power_off(slot)
        return await self.power_on(slot)

    async def release(self, slot: str) -> None:
        self.calls.append(("release", (slot,)))
        self._slot(slot)

    # ------------------------------------------------------------------------------------------------ runs

    async def start_run(self, request: RunRequest) -> str:
        self.calls.append(("start_run", (request,)))
        key = f"run-{len(self.runs) + 1}"
        self.runs[key] = request
        self.tell(RunBegan(key=key, run=f"20260101-00000{len(self.runs)}-fake"))
        return key

    def step(self, key: str, slot: str, step: str, outcome: str | None) -> None:
        """Let a run begin a step, or end it."""
        self.tell(RunStep(key=key, slot=slot, step=step, outcome=outcome))

    def end(self, key: str, outcome: str | None, trouble: Trouble | None = None) -> None:
        """Let a run end."""
        number = [*self.runs].index(key) + 1
        self.tell(RunEnded(key=key, run=f"20260101-00000{number}-fake", outcome=outcome, trouble=trouble))

    async def abort_run(self, key: str) -> None:
        self.calls.append(("abort_run", (key,)))
        self.end(key, "ABORTED")

    async def answer(self, key: str, slot: str, answer: Literal["done", "skip", "abort"]) -> None:
        self.calls.append(("answer", (key, slot, answer)))

    async def close(self) -> None:
        self.closed = True
