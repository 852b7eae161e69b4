"""Whole downloads, LPA and SM-DP+ in one process: by EID, interrupted and taken up again, in the ASN.1 binding."""

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock
from esim_bench.codec import es9_asn1, tlv
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.metadata import Metadata
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import AgentError, CodecError, RspError, TransportError
from esim_bench.es9_client import Es9Client
from esim_bench.events import NullSink
from esim_bench.ports import Bearer, HttpResponse
from esim_bench.rack.model import Rack as LoadedRack
from esim_bench.rack.model import RackFile
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.world import SMDP_ADDRESS, World, factory_profile
from esim_bench.servers.smdp import Smdp, SmdpCredentials, SqliteStore


def one_slot(**tables: Any) -> World:
    slot = {"name": "A1", "form_factor": "4FF", "sim": {}, **tables.pop("slot", {})}
    model = RackFile.model_validate({"rack": {"name": "one"}, "slot": [slot], **tables})
    world = World(LoadedRack(Path("rack.toml"), model), "1")
    world.smdp = Smdp(
        SmdpCredentials.from_pki(world.pki),
        SqliteStore(":memory:"),
        SeededRandomness("smdp"),
        [SMDP_ADDRESS],
        world.now_ns,
    )
    return world


async def started(world: World, **options: bool) -> Slot:
    slot = open_slot(world.rack.slots[0], world, NullSink(), **options)
    await slot.start()
    return slot


# ------------------------------------------------------------------------------------------- orders without matching id


def test_an_order_for_an_eid_is_found_at_the_default_address() -> None:
    world = one_slot()
    built = factory_profile("operational-a")

    async def job() -> None:
        slot = await started(world)
        with pytest.raises(AgentError, match=r"no default SM-DP\+ address.*euicc default-address"):
            await slot.lpa.default_code()
        await slot.lpa.set_default_address(SMDP_ADDRESS)
        code = await slot.lpa.default_code()
        assert code == ActivationCode(SMDP_ADDRESS, "")
        with pytest.raises(RspError, match=r"8\.1\.1/3\.8"):
            await slot.install(code)
        world.smdp.release(built.upp, built.metadata, "", eid=bytes.fromhex(await slot.lpa.eid()))
        await slot.install(code)
        assert len(await slot.lpa.profiles()) == 1
        # Set by the bench, cleared by the bench.
        await slot.lpa.set_default_address("")
        assert (await slot.lpa.addresses())[0] == ""
        await slot.close()

    clock.run_virtual(job())


# ------------------------------------------------------------------------------------------- interrupted downloads


class Interrupted:
    """A way to the servers that breaks once, after a function was executed and before its answer is there."""

    def __init__(self, bearer: Bearer, function: str) -> None:
        self.bearer = bearer
        self.function: str | None = function
        self.keys: list[bytes] = []

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        function = url.rpartition("/")[2]
        if function == "getBoundProfilePackage":
            prepared = tlv.parse(b64decode(json.loads(body)["prepareDownloadResponse"]))
            self.keys.append(prepared.children()[0].children()[0].get(0x5F49).value)
        answer = await self.bearer.post(url, headers, body, timeout)
        if function == self.function:
            self.function = None
            raise TransportError("the connection broke before the answer was there")
        return answer


@pytest.mark.parametrize("function", ["initiateAuthentication", "authenticateClient", "getBoundProfilePackage"])
def test_an_interrupted_download_is_simply_done_again(function: str) -> None:
    world = one_slot()
    built = factory_profile("operational-a")
    world.smdp.release(built.upp, built.metadata, "AGAIN")
    code = ActivationCode(SMDP_ADDRESS, "AGAIN")

    async def job() -> list[bytes]:
        slot = await started(world)
        way = Interrupted(slot.bearer, function)
        slot.lpa.es9 = Es9Client(way)
        with pytest.raises(TransportError):
            await slot.install(code)
        await slot.install(code)
        assert len(await slot.lpa.profiles()) == 1
        await slot.close()
        return way.keys

    keys = clock.run_virtual(job())
    # Once a package was bound, the eUICC comes back with the one-time key that it was bound to.
    assert len(keys) == (2 if function == "getBoundProfilePackage" else 1)
    assert len(set(keys)) == 1


# ------------------------------------------------------------------------------------------- the ASN.1 binding


class Overheard:
    """A way to the servers that notes what goes over it."""

    def __init__(self, bearer: Bearer) -> None:
        self.bearer = bearer
        self.seen: list[str] = []

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        assert url == f"https://{SMDP_ADDRESS}/gsma/rsp2/asn1"
        assert headers["content-type"] == "application/x-gsma-rsp-asn1"
        assert headers["x-admin-protocol"].startswith("gsma/rsp/v2")
        self.seen.append(es9_asn1.decode_request(body)[0])
        return await self.bearer.post(url, headers, body, timeout)

    async def hang_up(self) -> None:
        await self.bearer.hang_up()


def test_a_download_in_the_asn1_binding() -> None:
    world = one_slot(network={"binding": "asn1"})
    built = factory_profile("operational-a")
    world.smdp.release(built.upp, built.metadata, "DER", confirmation_code="1234")
    way = Overheard(world.bearer(NullSink()))
    world.bearer = lambda sink, pin=None, **_: way  # type: ignore[method-assign]
    code = ActivationCode(SMDP_ADDRESS, "DER")

    async def job() -> None:
        slot = await started(world)
        with pytest.raises(RspError, match=r"8\.2\.6/3\.8"):
            await slot.install(ActivationCode(SMDP_ADDRESS, "UNKNOWN"))
        with pytest.raises(AgentError, match="confirmation code"):
            await slot.install(code)
        assert way.seen[-1] == "cancelSession"
        await slot.install(code, confirmation_code="1234")
        assert len(await slot.lpa.deliver_notifications()) == 1
        await slot.close()

    clock.run_virtual(job())
    assert way.seen[-4:] == [
        "initiateAuthentication",
        "authenticateClient",
        "getBoundProfilePackage",
        "handleNotification",
    ]


# ------------------------------------------------------------------------------------------- consent on protected slots


def test_a_protected_slot_takes_no_locking_profile_unless_told_to() -> None:
    world = one_slot(slot={"protect": True})
    built = factory_profile("operational-a")
    locked = replace(
        Metadata.parse(built.metadata), policy_rules=("ppr2",), owner=(bytes.fromhex("00F110"), None, None)
    )
    world.smdp.release(built.upp, locked.encode(), "LOCKED")
    code = ActivationCode(SMDP_ADDRESS, "LOCKED")

    async def job() -> None:
        slot = await started(world)
        with pytest.raises(AgentError, match=r"policy rules \(ppr2\) ask for consent.*--accept-rules") as caught:
            await slot.install(code)
        assert caught.value.code == "consentMissing"
        # Postponed: the order is still good.
        await slot.install(code, accept_rules=True)
        assert len(await slot.lpa.profiles()) == 1
        await slot.close()

    clock.run_virtual(job())


# ------------------------------------------------------------------------------------------- settings and notifications


def test_nicknames_are_limited_in_bytes() -> None:
    world = one_slot(slot={"sim": {"profile": "bootstrap-global"}})

    async def job() -> None:
        slot = await started(world)
        iccid = (await slot.lpa.profiles())[0].iccid
        assert iccid is not None
        await slot.lpa.nickname(iccid, "ü" * 32)
        assert (await slot.lpa.profiles())[0].nickname == "ü" * 32
        with pytest.raises(CodecError, match="nickname: expected at most 64 bytes"):
            await slot.lpa.nickname(iccid, "ü" * 33)
        await slot.lpa.nickname(iccid, "")
        assert not (await slot.lpa.profiles())[0].nickname
        await slot.close()

    clock.run_virtual(job())


def test_notifications_are_delivered_and_removed_by_number() -> None:
    world = one_slot(slot={"sim": {"profile": "bootstrap-global"}})
    for name in ("operational-a", "operational-b"):
        built = factory_profile(name)
        world.smdp.release(built.upp, built.metadata, name.upper())

    async def job() -> None:
        slot = await started(world)
        for name in ("OPERATIONAL-A", "OPERATIONAL-B"):
            await slot.install(ActivationCode(SMDP_ADDRESS, name))
        first, second = await slot.lpa.notifications()
        (delivered,) = await slot.lpa.deliver_notifications({second.seq})
        assert delivered.seq == second.seq
        assert [one.seq for one in await slot.lpa.notifications()] == [first.seq]
        await slot.lpa.remove_notification(first.seq)
        with pytest.raises(AgentError, match="nothingToDelete"):
            await slot.lpa.remove_notification(first.seq)
        assert await slot.lpa.notifications() == []
        await slot.close()

    clock.run_virtual(job())
