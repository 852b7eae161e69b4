"""The job that downloads a profile, from the bench's own SM-DP+ or from somebody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from pydantic import ValidationError

from esim_bench.agents.download import Progress as Stage
from esim_bench.agents.switch import switch_profile
from esim_bench.desk import jobs_euicc
from esim_bench.desk.api import DeskError, ProfileView, Progress, SlotTrouble, Source, Trouble
from esim_bench.desk.recorder import Recorder
from esim_bench.errors import BenchError, ConfigError
from esim_bench.rack.slot import Slot
from esim_bench.rack.source import ProfileSource

STAGES: Final = {
    "authenticate": "eUICC and SM-DP+ get to know each other",
    "prepare": "the SM-DP+ binds the profile to the eUICC",
    "install": "the profile goes into the eUICC",
}


def source_of(source: Source, confirmation_code: str | None) -> ProfileSource:
    """Return where the profile comes from. Raises ConfigError."""
    values = source.model_dump(exclude_none=True)
    if len(values) != 1:
        raise ConfigError(
            "nothing to download" if not values else "more than one thing to download",
            expected="an activation code, a profile of profiles/, or a package",
        )
    try:
        return ProfileSource.model_validate({**values, "confirmation_code": confirmation_code or None})
    except ValidationError as exc:
        raise ConfigError(exc.errors()[0]["msg"].removeprefix("Value error, ")) from exc


class Cut:
    """Cuts the power as soon as a number of segments is in the eUICC, whatever is said to it at that moment."""

    def __init__(self, after: int, power_off: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.after = after
        self._power_off = power_off
        self._going: asyncio.Future[None] | None = None

    def take(self, stage: Stage) -> None:
        """Take in how far the download is."""
        if stage.stage == "install" and stage.done >= self.after and self._going is None:
            # Beside the download, which loses its device under its hands; what goes wrong is told as the slot's.
            self._going = asyncio.ensure_future(self._cut())

    async def _cut(self) -> None:
        with suppress(DeskError):
            await self._power_off()

    @property
    def done(self) -> bool:
        """Tell whether it came to it."""
        return self._going is not None


async def download(
    slot: Slot,
    source: ProfileSource,
    recorder: Recorder,
    tell: Callable[[Any], None],
    *,
    enable: bool,
    cut: Cut | None = None,
) -> list[ProfileView]:
    """Download a profile, enable it if that is wanted, deliver the notifications.

    One that cannot be delivered waits in the eUICC, and that is told as the slot's trouble; so is a cut that there were
    too few segments for. Raises BenchError.
    """
    order = await slot.world.order(source)
    recorder.hide(word for word in (order.activation_code.matching_id, source.confirmation_code) if word)

    segments = [0]

    async def progress(stage: Stage) -> None:
        tell(Progress(slot=slot.name, what=STAGES.get(stage.stage, stage.stage), done=stage.done, total=stage.total))
        if cut is not None:
            segments[0] = stage.total
            cut.take(stage)

    result = await slot.install(order.activation_code, confirmation_code=source.confirmation_code, progress=progress)
    if cut is not None and not cut.done:
        what = f"the power was not cut: the profile came in {segments[0]} segments"
        tell(
            SlotTrouble(
                slot=slot.name,
                trouble=Trouble(kind="ConfigError", what=what, hint=f"choose a segment from 1 to {segments[0]}"),
            )
        )
    if enable:
        await switch_profile(slot.lpa, result.metadata.iccid, refresh=True, recover=slot.recover)
    try:
        await slot.lpa.deliver_notifications()
    except BenchError as exc:
        trouble = Trouble.of(exc)
        hint = "the profile is installed; its notification waits and can be sent later"
        tell(SlotTrouble(slot=slot.name, trouble=trouble.model_copy(update={"hint": hint})))
    return await jobs_euicc.profiles(slot)
