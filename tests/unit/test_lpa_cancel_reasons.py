"""Each reason for which an LPA cancels a session (SGP.22 5.7.14), by a whole flow: simulated eUICC, LPA, SM-DP+."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock
from esim_bench.agents.user import NOBODY, Answer, User
from esim_bench.codec import es10, tlv
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.metadata import Metadata
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import AgentError, BenchError, ProtocolError
from esim_bench.es9_client import Es9Client
from esim_bench.events import NullSink
from esim_bench.ports import Bearer, HttpResponse
from esim_bench.rack.model import Rack as LoadedRack
from esim_bench.rack.model import RackFile
from esim_bench.rack.slot import Slot, open_slot
from esim_bench.rack.world import SMDP_ADDRESS, World, factory_profile
from esim_bench.servers.smdp import Smdp, SmdpCredentials, SqliteStore

RACK = {
    "rack": {"name": "one"},
    "slot": [{"name": "A1", "form_factor": "4FF", "sim": {"profile": "bootstrap-global"}}],
}
CODE = ActivationCode(SMDP_ADDRESS, "CANCEL-ME")
OWNER = (bytes.fromhex("00F110"), None, None)

Change = Callable[[str, dict[str, Any]], None]


class Between:
    """Somebody between the LPA and the SM-DP+: sees each request, may change each answer's JSON."""

    def __init__(self, bearer: Bearer, change: Change) -> None:
        self.bearer = bearer
        self.change = change
        self.functions: list[str] = []
        self.cancelled: list[int] = []

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        function = url.rpartition("/")[2]
        self.functions.append(function)
        if function == "cancelSession":
            signed = tlv.parse(b64decode(json.loads(body)["cancelSessionResponse"])).children()[0].children()[0]
            self.cancelled.append(signed.get(0x82).value[0])
        answer = await self.bearer.post(url, headers, body, timeout)
        document = json.loads(answer.body) if answer.body else {}
        if function == "cancelSession":
            assert document["header"]["functionExecutionStatus"]["status"] == "Executed-Success"
        self.change(function, document)
        return HttpResponse(answer.status, answer.headers, json.dumps(document).encode() if answer.body else b"")


def nothing(function: str, document: dict[str, Any]) -> None:
    pass


def download(
    *,
    user: User = NOBODY,
    change: Change = nothing,
    metadata: Callable[[Metadata], Metadata] = lambda metadata: metadata,
    confirmation_code: str | None = None,
    given_code: str | None = None,
    before: Callable[[Slot], Awaitable[None]] | None = None,
) -> tuple[BenchError | None, Between, int, str]:
    """Return what a download ended with, what went over the wire, the number of profiles, the order's state."""
    world = World(LoadedRack(Path("rack.toml"), RackFile.model_validate(RACK)), "1")
    store = SqliteStore(":memory:")
    names, credentials = [SMDP_ADDRESS], SmdpCredentials.from_pki(world.pki)
    world.smdp = Smdp(credentials, store, SeededRandomness("smdp"), names, world.now_ns)
    built = factory_profile("operational-a")
    changed = metadata(Metadata.parse(built.metadata)).encode()
    world.smdp.release(built.upp, changed, CODE.matching_id, confirmation_code=confirmation_code)

    async def job() -> tuple[BenchError | None, Between, int]:
        slot = open_slot(world.rack.slots[0], world, NullSink())
        between = Between(slot.bearer, change)
        await slot.start()
        if before is not None:
            await before(slot)
        slot.lpa.es9 = Es9Client(between)
        error = None
        try:
            await slot.install(CODE, user=user, confirmation_code=given_code)
        except BenchError as exc:
            error = exc
        profiles = await slot.lpa.profiles()
        await slot.close()
        return error, between, len(profiles)

    error, between, profiles = clock.run_virtual(job())
    orders = {order.matching_id: order.state.name for order in store.orders()}
    store.close()
    return error, between, profiles, orders[CODE.matching_id]


def answering(answer: Answer) -> User:
    async def confirm(metadata: Metadata) -> Answer:
        assert metadata.profile_name == "Operational A"
        return answer

    return User(confirm=confirm)


async def _never(metadata: Metadata) -> Answer:
    await asyncio.sleep(3600)
    return Answer.YES


def renamed(function: str, document: dict[str, Any]) -> None:
    if function == "authenticateClient":
        raw = b64decode(document["profileMetadata"])
        document["profileMetadata"] = b64encode(raw.replace(b"Operational A", b"Operational X")).decode()


def truncated(function: str, document: dict[str, Any]) -> None:
    if function == "getBoundProfilePackage":
        document["boundProfilePackage"] = b64encode(b64decode(document["boundProfilePackage"])[:-40]).decode()


def other_signature(function: str, document: dict[str, Any]) -> None:
    if function == "authenticateClient":
        raw = bytearray(b64decode(document["smdpSignature2"]))
        raw[-1] ^= 1
        document["smdpSignature2"] = b64encode(bytes(raw)).decode()


def other_session(function: str, document: dict[str, Any]) -> None:
    if function == "authenticateClient":
        document["transactionId"] = "00" * 16


def locked(metadata: Metadata) -> Metadata:
    return replace(metadata, policy_rules=("ppr1",), owner=OWNER)


def locked_by_nobody(metadata: Metadata) -> Metadata:
    return replace(metadata, policy_rules=("ppr2",), owner=None)


async def _one_more(slot: Slot) -> None:
    built = factory_profile("operational-b")
    slot.world.smdp.release(built.upp, built.metadata, "OTHER")
    await slot.install(ActivationCode(SMDP_ADDRESS, "OTHER"))


FLOWS: Mapping[str, tuple[int, dict[str, Any], str, str]] = {
    "the user says no": (0, {"user": answering(Answer.NO)}, "endUserRejection", "ERROR"),
    "the user says later": (1, {"user": answering(Answer.LATER)}, "postponed", "RELEASED"),
    "nobody knows the confirmation code": (1, {"confirmation_code": "1234"}, "confirmationCodeMissing", "RELEASED"),
    "nobody answers": (2, {"user": User(confirm=_never, patience=60)}, "timeout", "RELEASED"),
    "rules of no owner": (3, {"metadata": locked_by_nobody}, "pprNotAllowed", "ERROR"),
    "ppr1 on a second profile": (3, {"metadata": locked, "before": _one_more}, "pprNotAllowed", "ERROR"),
    "another profile than announced": (4, {"change": renamed}, "metadataMismatch", "ERROR"),
    "a package cut short": (5, {"change": truncated}, "malformed bound profile package", "ERROR"),
    "a signature that does not hold": (127, {"change": other_signature}, "invalidSignature", "ERROR"),
    "an answer of another session": (127, {"change": other_session}, "transaction id in authenticateClient", "ERROR"),
}
"""flow -> reason, how to get there, what the operator is told, what becomes of the order."""


def test_the_flows_reach_every_reason_of_the_standard() -> None:
    assert {reason for reason, *_ in FLOWS.values()} == set(es10.CANCEL_REASONS)


@pytest.mark.parametrize("flow", FLOWS)
def test_both_sides_hear_the_reason(flow: str) -> None:
    reason, how, told, state = FLOWS[flow]
    expected_profiles = 2 if "before" in how else 1
    error, between, profiles, order = download(**how)
    assert between.cancelled == [reason]
    assert isinstance(error, AgentError | ProtocolError)
    assert told in str(error)
    assert "could not be cancelled" not in str(error)
    assert "does not know of it" not in str(error)
    assert profiles == expected_profiles
    assert order == state


def test_a_postponed_download_can_be_taken_up_again() -> None:
    async def code(metadata: Metadata) -> str | None:
        return "1234"

    error, between, profiles, _ = download(confirmation_code="1234", user=User(confirmation_code=code))
    assert (error, between.cancelled, profiles) == (None, [], 2)


# -------------------------------------------------------------------------------------------------------- consent


@pytest.mark.parametrize(
    ("answer", "reason", "told"),
    [
        (Answer.YES, [], None),
        (Answer.NO, [0], r"policy rules \(ppr2\) were not agreed to"),
        (Answer.LATER, [1], r"policy rules \(ppr2\) ask for consent"),
    ],
)
def test_policy_rules_are_asked_for_where_the_table_says_so(
    answer: Answer, reason: Sequence[int], told: str | None
) -> None:
    asked: list[Sequence[str]] = []

    async def consent(metadata: Metadata, rules: Sequence[str]) -> Answer:
        asked.append(rules)
        return answer

    error, between, profiles, _ = download(
        user=User(consent=consent),
        metadata=lambda metadata: replace(metadata, policy_rules=("ppr2",), owner=OWNER),
    )
    assert asked == [["ppr2"]]
    assert between.cancelled == reason
    assert profiles == (2 if answer is Answer.YES else 1)
    if told is None:
        assert error is None
    else:
        with pytest.raises(AgentError, match=told):
            raise error or AssertionError
