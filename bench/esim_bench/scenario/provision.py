"""Download a profile, enable it, check its files, deliver the notifications.

Starts on a device in any state: a profile that is already installed is not downloaded again, one that is already
enabled is only checked.
"""

from __future__ import annotations

from esim_bench.rack.source import ProfileSource
from esim_bench.scenario import common
from esim_bench.scenario.context import Bench

NAME = "provision"


class Params(ProfileSource):
    """The profile to install (default: profiles/operational-a)."""


async def run(bench: Bench, params: Params) -> None:
    """Provision one slot."""
    await common.start(bench)
    await common.identify(bench)
    order = await bench.order(params)
    iccid = await common.install(bench, order, params)
    await common.enable(bench, iccid)
    await common.verify(bench, iccid, order.imsi)
    await common.deliver(bench)
