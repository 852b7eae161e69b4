"""Change who steers the eUICC: a second eIM, a new key for the first, the first deleted, the last deleted, begun anew.

addEim by the first eIM brings in the second; updateEim gives the first a new key, and what the old one signs is not
accepted any more; the second deletes the first, whose packages are then a stranger's; it deletes itself as the last
one, and still gets its result. After that the first can be associated again, as in the beginning.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from esim_bench.codec import euicc_package
from esim_bench.codec.euicc_operations import AddEim, DeleteEim, ListEim, ListProfileInfo
from esim_bench.codec.euicc_package import UnsignedError
from esim_bench.crypto.keys import Curve, generate
from esim_bench.rack.world import SECOND_EIM_ADDRESS
from esim_bench.scenario import steering
from esim_bench.scenario.context import Bench
from esim_bench.scenario.forging import Forger
from esim_bench.scenario.results import Skip
from esim_bench.scenario.steering import Steered
from esim_bench.servers.eim import PackageOrder

NAME = "eim_rotation"


class Params(BaseModel):
    """Nothing to choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)


async def run(bench: Bench, params: Params) -> None:
    """Rotate the eIMs of one slot."""
    first = await steering.begin(bench)
    if bench.slot.protected:
        raise Skip("the last eIM is deleted on the way, which a protected slot forbids: --allow-destructive")
    second = await _add(first)
    await _new_key(first)
    await _delete_first(first, second)
    await _delete_last(second)
    async with bench.step("begin anew") as step:
        step.detail = await steering.associate(first)
        results = await first.package(ListEim())
        names = [one.eim_id for one in results[0].eims]
        bench.check("eIMs of the eUICC", expected=[first.eim.credentials.eim_id], found=names)
    await steering.agree(first)


async def _add(first: Steered) -> Steered:
    """Have the first eIM add the second one; return the slot as the second sees it."""
    bench, eid = first.bench, first.eid
    second = Steered(bench, bench.slot.world.eim(SECOND_EIM_ADDRESS), eid, first.version)
    name = second.eim.credentials.eim_id
    async with bench.step("a second eIM") as step:
        known = [one.eim_id for one in await first.ipa.eims()]
        second.eim.add_device(eid, label=bench.slot.name)
        if name in known:
            # Left from a run that was interrupted: it is added anew, for its token is not known here.
            await first.package(DeleteEim(name))
        (result,) = await first.package(AddEim(second.eim.configuration(eid)))
        second.eim.associated(eid, result.association_token)
        (listed,) = await second.package(ListEim())
        names = sorted(one.eim_id for one in listed.eims)
        bench.check("eIMs of the eUICC", expected=sorted((first.eim.credentials.eim_id, name)), found=names)
        await first.refused(AddEim(second.eim.configuration(eid)), outcome=f"addEim: {steering.already_there(first)}")
        step.detail = f"{name} is associated, and was obeyed"
    return second


async def _new_key(first: Steered) -> None:
    bench, eim, eid = first.bench, first.eim, first.eid
    async with bench.step("a new key for the first") as step:
        randomness = bench.slot.world.randomness(f"{bench.slot.name}:rotation")
        old = eim.signing_key(eid)
        number = eim.rotate(eid, generate(Curve.P256, randomness.fork("eim key"))).id
        await first.poll()
        bench.check("the order", expected="ok", found=eim.find_order(number).outcome)
        await first.package(ListProfileInfo())
        await _refused_as_stranger(first, Forger(eim, eid, randomness).package(key=old))
        step.detail = "the new key is obeyed, the old one is not"


async def _delete_first(first: Steered, second: Steered) -> None:
    bench = first.bench
    async with bench.step("the second deletes the first") as step:
        name = first.eim.credentials.eim_id
        genuine = Forger(first.eim, first.eid, bench.slot.world.randomness(f"{bench.slot.name}:deleted")).package()
        await second.package(DeleteEim(name))
        bench.check("eIMs of the eUICC", expected=[second.eim.credentials.eim_id], found=await _names(second))
        await _refused_as_stranger(first, genuine)
        await second.refused(DeleteEim(name), outcome="deleteEim: eimNotFound")
        step.detail = f"{name} is a stranger now"


async def _delete_last(second: Steered) -> None:
    bench = second.bench
    async with bench.step("the last one deletes itself") as step:
        order = await second.order(PackageOrder((DeleteEim(second.eim.credentials.eim_id),)))
        names = [(one.function, one.name) for one in order.results]
        bench.check("result", expected=[("deleteEim", "lastEimDeleted")], found=names)
        bench.check("eIMs of the eUICC", expected=[], found=await _names(second))
        step.detail = f"{order.outcome}: told although it is deleted"


async def _names(steered: Steered) -> list[str]:
    return sorted(one.eim_id for one in await steered.ipa.eims())


async def _refused_as_stranger(steered: Steered, package: bytes) -> None:
    answer = euicc_package.parse_result(await steered.bench.slot.card.es10(package))
    found = "an unsigned error" if isinstance(answer, UnsignedError) else str(answer)
    steered.bench.check("answer to a package of no association", expected="an unsigned error", found=found)
