"""Enable a profile that gives no connectivity, with leave to roll back: the device must find its way home.

The eIM orders the switch with the rollback flag. The new profile gets no network, so the IPA rolls back, and tells the
eIM by a new result in place of the first. Afterwards the authorisation is used up, and the same switch succeeds where
there is a network. The bench makes the outage: it is the bearer, and carries nothing while the profile is enabled.
"""

from __future__ import annotations

from pydantic import Field

from esim_bench.codec import es10
from esim_bench.codec.euicc_operations import Enable
from esim_bench.scenario import common, steering
from esim_bench.scenario.context import Bench
from esim_bench.scenario.steering import IotSource, Steered
from esim_bench.servers.eim import PackageOrder

NAME = "rollback"


class Params(IotSource):
    """The profile that gets no network (default: profiles/operational-a)."""

    service: bool = Field(
        True, description="false: the profile has no service where the slot is, so that only the rollback can be seen"
    )


async def run(bench: Bench, params: Params) -> None:
    """Have one slot roll back."""
    steered = await steering.begin(bench)
    target, imsi = await steering.download(steered, params)
    home = await steering.home_profile(steered, target)
    with steering.without_network(bench.slot, target):
        await _roll_back(steered, target, home)
    async with bench.step("no second rollback") as step:
        step.detail = await _no_rollback(steered)
    if params.service:
        async with bench.step("the same where there is a network") as step:
            await steered.enable(target, rollback=True)
            step.detail = f"{es10.iccid_to_text(target)} stays enabled"
        await common.verify(bench, target, imsi)
        async with bench.step("the next package ends the authorisation") as step:
            await steered.package(Enable(home))
            step.detail = await _no_rollback(steered)
    await steering.agree(steered)


async def _roll_back(steered: Steered, target: bytes, home: bytes) -> None:
    bench = steered.bench
    async with bench.step("a profile without network") as step:
        order = await steered.order(PackageOrder((Enable(target, rollback=True),)), lenient=True)
        functions = [(one.function, one.name) for one in order.results]
        bench.check("results that the eIM was told", expected=[("enable", "ok"), ("rollback", "ok")], found=functions)
        now = await common.enabled(bench)
        bench.check("enabled profile", expected=home, found=now and now.iccid)
        bench.check("EF.ICCID", expected=es10.iccid_to_text(home), found=await bench.slot.card.read_iccid())
        bench.check("as the eIM believes", expected=home, found=steered.eim.view(steered.eid).enabled_iccid)
        step.detail = f"{es10.iccid_to_text(target)} left again for {es10.iccid_to_text(home)}; {order.outcome}"


async def _no_rollback(steered: Steered) -> str:
    code = await steered.ipa.rollback()
    steered.bench.check("ProfileRollback", expected="rollbackNotAllowed", found=code)
    return code
