"""The desk itself, in the process that opens the devices."""

from __future__ import annotations

import asyncio
import datetime
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from esim_bench.desk import jobs_apdu, jobs_download, jobs_eim, jobs_euicc, jobs_files, jobs_info, jobs_modem
from esim_bench.desk.api import (
    ApduView,
    AtView,
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
    RunRequest,
    SlotReading,
    Source,
    Trouble,
)
from esim_bench.desk.keeper import Keeper, Need
from esim_bench.desk.runs import Runs
from esim_bench.desk.tempo import DEFAULT_RATE, Tempo
from esim_bench.desk.worlds import Worlds
from esim_bench.errors import BenchError
from esim_bench.rack.by_hand import is_foreign
from esim_bench.rack.device_store import rack_folder
from esim_bench.rack.model import Rack, SlotSpec
from esim_bench.rack.power import OFF_SECONDS
from esim_bench.rack.slot import Slot
from esim_bench.rack.world import is_own
from esim_bench.store.home import home

LOOK_SECONDS: Final = 1.0
"""Between two looks after slots that nobody works with."""


class LocalDesk:
    """A ``Desk`` on the running loop. ``rate``: of the time of simulated slots while somebody works."""

    def __init__(self, rack: Rack, rate: float | None = None) -> None:
        now = datetime.datetime.now(datetime.UTC)
        folder = home() / "by-hand" / rack_folder(rack) / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        self._listeners: list[Listener] = []
        self._tempo = Tempo(rate or DEFAULT_RATE)
        worlds = Worlds(rack)
        self.keepers = {
            spec.name: Keeper(rack, spec, worlds, self._tempo, folder / f"{spec.name}.pcapng", self.tell)
            for spec in rack.slots
        }
        self._runs = Runs(rack, self.keepers, self.tell)
        self._looking = asyncio.create_task(self._look())

    # -------------------------------------------------------------------------------------------------------- notices

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have notices told; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def tell(self, notice: Any) -> None:
        """Tell a notice to all who listen."""
        for listener in [*self._listeners]:
            listener(notice)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.gather(*(keeper.look() for keeper in self.keepers.values() if keeper.slot is not None))

    def crashed(self, slot: str, exc: Exception) -> None:
        """Take it that something died that nobody awaits; ``slot``: whose it was, "" where that is not known."""
        concerned = [self.keepers[slot]] if slot in self.keepers else list(self.keepers.values())
        for keeper in concerned:
            if keeper.slot is not None:
                hint = "the slot is opened anew with the next job; desk.log in ESIM_BENCH_HOME/log has the details"
                trouble = Trouble.of(exc)
                keeper.broke(trouble.model_copy(update={"hint": trouble.hint or hint, "where": keeper.name}))

    # ------------------------------------------------------------------------------------------------------ the slots

    def _keeper(self, slot: str) -> Keeper:
        try:
            return self.keepers[slot]
        except KeyError:
            names = ", ".join(self.keepers)
            raise DeskError(
                Trouble(kind="ConfigError", what="no slot of this name", expected=f"one of {names}", found=slot)
            ) from None

    async def read(self, slot: str) -> SlotReading:
        """Read EID, ATR, profiles and the modem's state."""
        return await self._keeper(slot).work("reading the slot", jobs_euicc.read)

    async def info(self, slot: str) -> EuiccView:
        """Read what the eUICC says of itself."""
        return await self._keeper(slot).work("reading the eUICC's information", jobs_info.info)

    async def profiles(self, slot: str) -> list[ProfileView]:
        """List the profiles in the eUICC's order."""
        return await self._keeper(slot).work("listing profiles", jobs_euicc.profiles)

    async def enable(self, slot: str, iccid: str) -> list[ProfileView]:
        """Enable a profile, recover the device, verify; return the profiles as they are then."""
        return await self._keeper(slot).work(f"enabling {iccid}", lambda opened: jobs_euicc.enable(opened, iccid))

    async def disable(self, slot: str, iccid: str) -> list[ProfileView]:
        """Disable a profile."""
        return await self._keeper(slot).work(f"disabling {iccid}", lambda opened: jobs_euicc.disable(opened, iccid))

    async def delete(self, slot: str, iccid: str, allow_destructive: bool = False) -> list[ProfileView]:
        """Delete a disabled profile; on a protected slot only one of the bench's own, unless allowed."""
        return await self._keeper(slot).work(
            f"deleting {iccid}", lambda opened: jobs_euicc.delete(opened, iccid, allow_destructive)
        )

    async def nickname(self, slot: str, iccid: str, text: str) -> list[ProfileView]:
        """Set a profile's nickname; "" takes it away."""
        return await self._keeper(slot).work(f"naming {iccid}", lambda opened: jobs_euicc.nickname(opened, iccid, text))

    async def download(
        self,
        slot: str,
        source: Source,
        confirmation_code: str | None = None,
        enable: bool = False,
        cut_after: int | None = None,
    ) -> list[ProfileView]:
        """Download a profile, with ``Progress`` notices; cut the power once so many segments are in the eUICC."""
        keeper = self._keeper(slot)
        with _told():
            wanted = jobs_download.source_of(source, confirmation_code)
            outside = is_foreign(wanted)

        async def job(opened: Slot) -> list[ProfileView]:
            cut = jobs_download.Cut(cut_after, keeper.power_off) if cut_after is not None else None
            return await jobs_download.download(opened, wanted, keeper.recorder, self.tell, enable=enable, cut=cut)

        return await keeper.work("downloading a profile", job, outside=outside)

    async def notifications(self, slot: str) -> list[NotificationView]:
        """List the notifications that wait."""
        return await self._keeper(slot).work("listing notifications", jobs_euicc.notifications)

    async def send_notification(self, slot: str, seq: int) -> list[NotificationView]:
        """Deliver one to its SM-DP+ and remove it."""
        keeper = self._keeper(slot)
        address = await keeper.work(
            f"looking for notification {seq}", lambda opened: jobs_euicc.address_of(opened, seq)
        )
        return await keeper.work(
            f"sending notification {seq}",
            lambda opened: jobs_euicc.send_notification(opened, seq),
            outside=not is_own(address),
        )

    async def remove_notification(self, slot: str, seq: int) -> list[NotificationView]:
        """Remove one without delivering it."""
        return await self._keeper(slot).work(
            f"removing notification {seq}", lambda opened: jobs_euicc.remove_notification(opened, seq)
        )

    # ----------------------------------------------------------------------------------------------------------- eIMs

    async def eims(self, slot: str) -> list[EimView]:
        """List the associated eIMs; empty for an eUICC without SGP.32."""
        return await self._keeper(slot).work("listing eIMs", jobs_eim.eims)

    async def orders(self, slot: str) -> list[OrderView]:
        """List the orders that the bench's own eIM has for the slot's eUICC."""
        return await self._keeper(slot).work("listing orders", jobs_eim.orders)

    async def order(self, slot: str, operation: str, iccid: str | None = None) -> list[OrderView]:
        """Order enable, disable, delete or list-profiles at the bench's eIM, and have the IPA poll."""
        return await self._keeper(slot).work(
            f"ordering {operation}", lambda opened: jobs_eim.order(opened, operation, iccid)
        )

    # ---------------------------------------------------------------------------------------------- modem, card, files

    async def modem(self, slot: str) -> ModemView:
        """Ask the modem for its state."""
        return await self._keeper(slot).work("asking the modem", jobs_modem.modem, Need.POWER)

    async def at(self, slot: str, line: str) -> AtView:
        """Send one AT line."""
        keeper = self._keeper(slot)

        async def job(opened: Slot) -> AtView:
            if jobs_modem.resets(line):
                keeper.needs_start()
            return await jobs_modem.at_line(opened, line)

        return await keeper.work(f"AT line {line[:40]}", job, Need.POWER)

    async def apdu(self, slot: str, text: str) -> ApduView:
        """Send one command: hex, or a name of ``apdu_names`` with its arguments ("SELECT ADF.USIM")."""
        keeper = self._keeper(slot)

        async def job(opened: Slot) -> ApduView:
            return await jobs_apdu.send(opened, text, keeper.recorder)

        return await keeper.work(f"APDU {text[:40]}", job)

    async def apdu_names(self) -> list[str]:
        """Return what can be sent by name, with a pattern of arguments each."""
        return jobs_apdu.names()

    async def files(self, slot: str) -> list[FileEntry]:
        """List the files that the bench knows of and that the card has applications for."""
        return await self._keeper(slot).work("listing files", jobs_files.files)

    async def file(self, slot: str, path: str) -> FileView:
        """Read one file."""
        return await self._keeper(slot).work(f"reading {path}", lambda opened: jobs_files.file(opened, path))

    # ---------------------------------------------------------------------------------------------------------- power

    async def power(self, slot: str) -> PowerView:
        """Tell the state of the power; opens nothing."""
        keeper = self._keeper(slot)
        return PowerView(
            powered=keeper.powered,
            how=_how(keeper.spec),
            proof=keeper.recorder.proof,
            minimum_off_s=_minimum_off(keeper.spec),
        )

    async def power_off(self, slot: str) -> PowerView:
        """Cut the power, cold, at once: also in the middle of another job."""
        await self._keeper(slot).power_off()
        return await self.power(slot)

    async def power_on(self, slot: str) -> PowerView:
        """Give the power back and start the card."""
        await self._keeper(slot).power_on()
        return await self.power(slot)

    async def power_cycle(self, slot: str, seconds: float) -> PowerView:
        """Cut the power, wait, start again."""
        if not 0.0 <= seconds <= 3600.0:
            raise DeskError(
                Trouble(kind="ConfigError", what="time without power", expected="0 to 3600 s", found=f"{seconds:g} s")
            )
        await self._keeper(slot).power_cycle(seconds)
        return await self.power(slot)

    async def release(self, slot: str) -> None:
        """Leave a slot in its safe state and let its devices go; no error when it is not open."""
        await self._keeper(slot).release()

    # ----------------------------------------------------------------------------------------------------------- runs

    async def start_run(self, request: RunRequest) -> str:
        """Begin a run in a process of its own; return the key that its notices carry. Open slots are released first."""
        return await self._runs.start(request)

    async def abort_run(self, key: str) -> None:
        """Have a run leave its devices in their safe state and end: ABORTED."""
        await self._runs.abort(key)

    async def answer(self, key: str, slot: str, answer: Literal["done", "skip", "abort"]) -> None:
        """Answer a run's question."""
        await self._runs.answer(key, slot, answer)

    async def close(self) -> None:
        """End runs and jobs, release everything; never raises."""
        self._looking.cancel()
        await asyncio.gather(self._runs.close(), *(keeper.end() for keeper in self.keepers.values()))


@contextmanager
def _told() -> Iterator[None]:
    """Turn the bench's errors into those of the desk."""
    try:
        yield
    except BenchError as exc:
        raise DeskError(Trouble.of(exc)) from exc


def _how(spec: SlotSpec) -> str:
    if spec.simulated:
        return "simulated"
    if spec.power is None:
        return "none"
    settings = spec.power.settings()
    told = [f"{key} {value}" for key, value in settings.items() if isinstance(value, str | int)]
    return " ".join((spec.power.driver, *told[:3]))


def _minimum_off(spec: SlotSpec) -> float:
    if spec.power is None:
        return 0.0
    return OFF_SECONDS if spec.power.off_s is None else spec.power.off_s
