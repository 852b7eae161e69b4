"""Attack the eUICC by packages that its eIM did not send it, and the eIM by results that no eUICC gave.

Forged, replayed, altered, truncated, for another eUICC, under another association: each must be refused with exactly
the code that the standard has for it, and change nothing. Afterwards the eIM must still be obeyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from esim_bench.codec import euicc_package, tlv
from esim_bench.codec.esipa_objects import PackageResult
from esim_bench.codec.euicc_operations import ListProfileInfo, UnknownOperation
from esim_bench.codec.euicc_package import SignedError, SignedResult, UnsignedError
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CardStatusError, CodecError
from esim_bench.rack.slot import DeviceState
from esim_bench.scenario import steering
from esim_bench.scenario.context import Bench
from esim_bench.scenario.forging import Forger, flipped, without_signature
from esim_bench.scenario.results import CheckFailed
from esim_bench.scenario.steering import Steered
from esim_bench.servers.eim import OrderState, PackageOrder

NAME = "attacks"

_OTHER_EID = bytes.fromhex("89049032123451234512345678901224")
_FAR = 1000
"""How far a forged counterValue is ahead of the eIM's: it must not count."""
_BEYOND = 1 << 40
"""A counterValue that no eUICC need take: more than 7FFFFF."""


class Params(BaseModel):
    """Nothing to choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Kept:
    """All that an attack must not change."""

    state: DeviceState
    eims: tuple[bytes, ...]
    results: int


@dataclass(frozen=True, slots=True)
class Attack:
    """A package, and what the eUICC must say to it."""

    name: str
    package: bytes
    expected: str


async def run(bench: Bench, params: Params) -> None:
    """Attack one slot's eUICC, then its eIM."""
    steered = await steering.begin(bench)
    async with bench.step("a package of the eIM") as step:
        last = await steered.done(PackageOrder((ListProfileInfo(),)))
        step.detail = f"counterValue {last.counter}: {last.outcome}"
    forger = Forger(steered.eim, steered.eid, bench.slot.world.randomness(f"{bench.slot.name}:attacks"))
    for attack in _attacks(steered, forger, last.request, last.counter or 0):
        async with bench.step(attack.name) as step:
            before = await _kept(steered)
            answer = await _answer(bench, attack.package)
            bench.check("the eUICC's answer", expected=attack.expected, found=answer)
            await _unchanged(steered, before)
            step.detail = answer
    async with bench.step("an operation that there is not") as step:
        await steering.unknown(steered, UnknownOperation(tlv.encode(0xBF7A, b"")))
        step.detail = "processingTerminated: unknownOrDamagedCommand"
    await _attack_the_eim(steered)
    await steering.agree(steered, "the eIM is still obeyed")


def _attacks(steered: Steered, forger: Forger, replayed: bytes, counter: int) -> Sequence[Attack]:
    """Return the attacks; ``replayed``: a package that was executed, with its ``counter``."""
    device = steered.eim.device(steered.eid)
    ahead = device.counter + _FAR
    whole = forger.package(counter=ahead, transaction=b"\x0a" * 4)
    unsigned = _unsigned(device.token)
    other_token = 0x7FFF if device.token is None else device.token + 1
    key = forger.stranger()
    return (
        Attack("signed by a stranger", forger.package(counter=ahead, key=key), unsigned),
        Attack("of an eIM that is not associated", forger.package(eim_id="stranger", key=key), _unsigned(None)),
        Attack("the signature altered", flipped(whole, -1), unsigned),
        Attack("the package altered", flipped(whole, whole.index(b"\x0a" * 4)), unsigned),
        Attack("another association's token", forger.package(counter=ahead, token=other_token), unsigned),
        Attack("no token, or one too many", forger.package(counter=ahead, token=0 if device.token else 1), unsigned),
        Attack("for another eUICC", forger.package(counter=ahead, eid=_OTHER_EID), "signed error: invalidEid"),
        Attack("replayed", replayed, "signed error: replayError"),
        Attack("a lower counterValue", forger.package(counter=counter - 1), "signed error: replayError"),
        Attack("the same counterValue", forger.package(counter=counter), "signed error: replayError"),
        Attack(
            "a counterValue beyond all",
            forger.package(counter=_BEYOND),
            "signed error: counterValueOutOfRange",
        ),
        Attack("without signature", without_signature(whole), unsigned),
        Attack("cut off", whole[:-20], "6A80"),
    )


def _unsigned(token: int | None) -> str:
    """Return what is said to a package that is not taken as the eIM's: the token is in it if there is one."""
    return "unsigned error" if token is None else "unsigned error with associationToken"


async def _answer(bench: Bench, package: bytes) -> str:
    """Send a package to the eUICC as it is; say what it answered."""
    try:
        raw = await bench.slot.card.es10(package)
    except CardStatusError as exc:
        return f"{exc.sw:04X}"
    try:
        result = euicc_package.parse_result(raw)
    except CodecError as exc:
        raise CheckFailed(f"malformed EuiccPackageResult: {exc}") from exc
    match result:
        case SignedResult():
            return "executed: " + ", ".join(f"{one.function} {one.name}" for one in result.results)
        case SignedError():
            return f"signed error: {result.name}"
        case UnsignedError():
            return _unsigned(result.association_token)


async def _kept(steered: Steered) -> Kept:
    eims = tuple(one.encode(Version.V1_3) for one in await steered.ipa.eims())
    return Kept(await steered.bench.slot.state(), eims, len(await steering.package_results(steered.bench.slot)))


async def _unchanged(steered: Steered, before: Kept) -> None:
    after = await _kept(steered)
    for what, old, new in (
        ("state", before.state, after.state),
        ("associated eIMs", before.eims, after.eims),
        ("stored package results", before.results, after.results),
    ):
        if old != new:
            raise CheckFailed(f"{what} after the attack", expected=old, found=new)


# ------------------------------------------------------------------------------------------------------------ the eIM


async def _attack_the_eim(steered: Steered) -> None:
    """Hand the eIM results that are not of this order, this eUICC, or not the eUICC's at all."""
    bench, eim, eid = steered.bench, steered.eim, steered.eid
    async with bench.step("results that are none") as step:
        good = await steered.done(PackageOrder((ListProfileInfo(),)))
        waiting = eim.order(eid, PackageOrder((ListProfileInfo(),)))
        before = eim.view(eid), eim.device(eid).last_seq
        other = eim.add_device(_OTHER_EID, label="another eUICC")
        refused: list[str] = []
        for name, sender, result in _results(good.raw, other.eid, eid):
            answer = await eim.handle(
                "provideEimPackageResult", {"eidValue": sender, "eimPackageResult": PackageResult(result).encode()}
            )
            if "eimAcknowledgements" in answer:
                raise CheckFailed(f"{name}: the eIM's answer", expected="no acknowledgement", found=sorted(answer))
            refused.append(name)
        bench.check("order that waits", expected="queued", found=eim.find_order(waiting.id).state.value)
        bench.check("what the eIM believes", expected=before, found=(eim.view(eid), eim.device(eid).last_seq))
        step.detail = "refused: " + ", ".join(refused)
    async with bench.step("a result twice") as step:
        answer = await eim.handle(
            "provideEimPackageResult", {"eidValue": eid, "eimPackageResult": PackageResult(good.raw).encode()}
        )
        # It may be that the acknowledgement was lost: it is given again, and nothing else happens.
        bench.check("the eIM's answer", expected=["eimAcknowledgements"], found=sorted(answer))
        bench.check("what the eIM believes", expected=before, found=(eim.view(eid), eim.device(eid).last_seq))
        await steered.poll()
        bench.check("order that waited", expected=OrderState.DONE, found=eim.find_order(waiting.id).state)
        step.detail = "acknowledged again, without effect"


def _results(good: bytes, other: bytes, own: bytes) -> Sequence[tuple[str, bytes, bytes]]:
    """Return false results: name, EID of the sender, EuiccPackageResult."""
    return (
        ("altered", own, _altered(good, flipped_signature=False)),
        ("a false signature", own, _altered(good, flipped_signature=True)),
        ("of another eUICC", other, good),
    )


def _altered(good: bytes, *, flipped_signature: bool) -> bytes:
    result = euicc_package.parse_result(good)
    if not isinstance(result, SignedResult):
        raise CheckFailed("the eIM's record of a result", expected="a signed result", found=type(result).__name__)
    if flipped_signature:
        return euicc_package.signed_result(result.signed_raw, flipped(result.signature, -1))
    signed = euicc_package.result_signed(
        result.eim_id, result.counter, result.seq + _FAR, result.results, result.transaction_id
    )
    return euicc_package.signed_result(signed, result.signature)
