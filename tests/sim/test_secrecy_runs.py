"""Runs with recognisable secrets on a slot that counts as real: nothing that a run leaves or says may hold one."""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from esim_bench import clock
from esim_bench.cli.main import invoke
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.crypto.aka import authentication_vector
from esim_bench.crypto.bsp import SessionKeys
from esim_bench.crypto.identity import SigningIdentity
from esim_bench.crypto.keys import Curve, generate
from esim_bench.crypto.milenage import Milenage
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.events import RspEvent
from esim_bench.ports import CardLink, DriverContext
from esim_bench.rack import check as check_module
from esim_bench.rack import parts as parts_module
from esim_bench.rack.model import load_rack
from esim_bench.rack.source import ProfileSource
from esim_bench.rack.world import World, factory_profile
from esim_bench.scenario import common, engine, registry
from esim_bench.scenario.context import Bench
from esim_bench.scenario.registry import Scenario
from esim_bench.servers.pki import create_pki
from esim_bench.trace import Reader
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.personality import personality
from esim_drivers.sim.reader import SimReader

MATCHING_ID = "QZ7-SECRET-MATCH-42"
CODE = "73519264"
WRONG_CODE = "19283746"
PIN = "48151623"
CODE_HASH = hashlib.sha256(CODE.encode()).digest()
K = bytes.fromhex("A0A1A2A3A4A5A6A7A8A9AAABACADAEAF")
OPC = bytes.fromhex("0A1A2A3A4A5A6A7A8A9AAABACADAEAFA")
VECTOR = authentication_vector(Milenage(K, OPC), bytes(range(16)), bytes.fromhex("000000000020"))
AUTHENTICATE = b"\x00\x88\x00\x81\x22\x10" + VECTOR.rand + b"\x10" + VECTOR.autn
RACK = """\
[rack]
name = "real"
[[slot]]
name = "R1"
form_factor = "4FF"
card = { driver = "pcsc", reader = "usb:1-1" }
"""
SOURCE = ["-p", f"activation_code=LPA:1$testsmdpplus1.example.com${MATCHING_ID}$$1"]

Flow = Callable[..., tuple[int, dict[str, bytes]]]


class RealReader:
    """A driver of a reader that stands on the desk, as far as the bench can tell."""

    def open_card(self, spec: Mapping[str, Any], context: DriverContext) -> CardLink:
        identity = World(load_rack(None), "0").identity(context.slot)
        card = SimCard(identity, personality("4ff"), SeededRandomness("card"))
        reader = SimReader(card, context.sink, context.rng, removable=True)
        reader.power_on()
        return reader


@pytest.fixture
def flow(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Flow:
    """Run a command on the real slot; return its exit code and all that it left or said, by name."""
    home = tmp_path / "home"
    rack = tmp_path / "rack.toml"
    rack.write_text(RACK)
    monkeypatch.setenv("ESIM_BENCH_HOME", str(home))
    for module in (parts_module, check_module):
        monkeypatch.setattr(module, "load_driver", lambda name: RealReader())
    # The reader's time is virtual although the slot is none of the simulated ones.
    monkeypatch.setattr(engine, "in_time", lambda rack, real_time, job, rate: clock.run_virtual(job))
    prepare = World._prepare

    def released(world: World, source: ProfileSource) -> Any:
        built = factory_profile("operational-a")
        world.smdp.release(built.upp, built.metadata, MATCHING_ID, confirmation_code=CODE)
        return prepare(world, source)

    monkeypatch.setattr(World, "_prepare", released)
    caplog.set_level(logging.DEBUG)

    def run(scenario: str, *arguments: str, json: bool = True) -> tuple[int, dict[str, bytes]]:
        capsys.readouterr()
        more = ["--rack", str(rack), "--junit", str(tmp_path / "junit.xml"), "--live", *(["--json"] if json else [])]
        code = invoke(["run", scenario, *arguments, *more])
        out, err = capsys.readouterr()
        found = {"stdout": out.encode(), "stderr": err.encode(), "logs": caplog.text.encode()}
        invoke(["runs", "show", "latest"])
        invoke(["runs", "list", "--json"])
        found["runs"] = capsys.readouterr().out.encode()
        for trace in home.rglob("*.pcapng"):
            for form in ("csv", "json", "text"):
                invoke(["trace", "export", str(trace), "--format", form])
            invoke(["trace", "show", str(trace), "--full"])
            found["shown"] = capsys.readouterr().out.encode()
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            found[path.name] = path.read_bytes()
        return code, found

    return run


def forms(secret: bytes) -> Iterable[bytes]:
    """A secret as it could stand somewhere: raw, in hex, in base64 at each alignment."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        yield encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]


def holders(found: dict[str, bytes], secrets: Iterable[bytes]) -> list[str]:
    return [
        f"{name} holds {secret!r}"
        for name, data in found.items()
        for secret in secrets
        if any(form in data for form in forms(secret))
    ]


def hashed_codes(found: dict[str, bytes], trace: Path) -> list[bytes]:
    """The hashes of the confirmation code in all sessions: they need the transaction ids."""
    ids: set[str] = set()
    with Reader(trace) as reader:
        for record in reader:
            if isinstance(record.event, RspEvent):
                ids |= set(re.findall(r'"transactionId"\s*:\s*"([0-9A-F]+)"', record.event.response.decode()))
    assert ids
    return [hashlib.sha256(CODE_HASH + bytes.fromhex(one)).digest() for one in ids]


SECRETS = [MATCHING_ID.encode(), CODE.encode(), WRONG_CODE.encode(), CODE_HASH]


@pytest.mark.parametrize(("code", "exit_code"), [(CODE, 0), (WRONG_CODE, 1), (None, 1)])
@pytest.mark.parametrize("json", [True, False])
def test_a_provisioning_tells_nothing(flow: Flow, tmp_path: Path, code: str | None, exit_code: int, json: bool) -> None:
    given = ["-p", f"confirmation_code={code}"] if code else []
    ended, found = flow("provision", *SOURCE, *given, json=json)
    assert ended == exit_code, found["stdout"].decode()
    assert b"R1" in found["stderr"]  # the live lines were there
    assert found["R1.pcapng"]
    assert found["history.sqlite"]
    secrets = [*SECRETS, *hashed_codes(found, next(tmp_path.rglob("R1.pcapng")))]
    assert holders(found, secrets) == []
    assert json or b'"activation_code": "LPA:1$testsmdpplus1.example.com$***' in found["runs"]


def test_the_check_finds_what_it_looks_for(flow: Flow, tmp_path: Path) -> None:
    """With raw traces the secrets are there, in that one file: so the search for them is none that cannot fail."""
    _, found = flow("provision", *SOURCE, "-p", f"confirmation_code={CODE}", "--trace-secrets")
    trace = next(tmp_path.rglob("R1.pcapng"))
    assert trace.stat().st_mode & 0o777 == 0o600
    hashed = hashed_codes(found, trace)
    raw = {"R1.pcapng": found.pop("R1.pcapng")}
    found.pop("shown")  # what somebody asked to be shown of a raw trace
    for secret in (MATCHING_ID.encode(), *hashed):
        assert holders(raw, [secret])
    assert holders(found, [*SECRETS, *hashed]) == []


async def _with_secrets(bench: Bench, params: ProfileSource) -> None:
    await common.start(bench)
    order = await bench.order(params)
    iccid = await common.install(bench, order, params)
    await common.enable(bench, iccid)
    card = bench.slot.card
    async with bench.step("secrets") as step:
        await card.transmit(bytes.fromhex("002000010831323334") + b"\xff" * 4)
        await card.transmit(b"\x00\x20\x00\x0a\x08" + PIN.encode())
        await card.transmit(b"\x00\x2c\x00\x01\x10" + PIN.encode() * 2)
        await card.open_application(bytes.fromhex("A0000000871002"))
        await card.transmit(bytes.fromhex("00A4040C07A0000000871002"))
        answer = await card.transmit(AUTHENTICATE + b"\x00")
        assert VECTOR.xres in answer.data  # so that there is something to hide
        step.detail = f"matching id {MATCHING_ID}"
        raise RuntimeError(f"the code {CODE} of {MATCHING_ID} is no good")


def test_pins_keys_and_crashes_tell_nothing(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Scenario("secrets", "", "", ProfileSource, _with_secrets)
    monkeypatch.setattr(registry, "SCENARIOS", {**registry.SCENARIOS, "secrets": mine})
    code, found = flow("secrets", *SOURCE, "-p", f"confirmation_code={CODE}")
    assert code == 3, found["stdout"].decode()
    (only,) = json.loads(found["stdout"])["slots"]
    assert only["steps"][-1]["detail"] == "matching id ***; unexpected RuntimeError: the code *** of *** is no good"
    assert holders(found, [*SECRETS, PIN.encode(), K, OPC, VECTOR.xres, VECTOR.ck, VECTOR.ik]) == []


def test_nothing_of_a_key_is_in_the_text_of_an_object() -> None:
    key = generate(Curve.P256, SeededRandomness("key"))
    number = key.private_numbers().private_value
    pki = create_pki(SeededRandomness("pki"), now_ns=clock.VIRTUAL_EPOCH_NS)
    objects = [
        Milenage(K, OPC),
        VECTOR,
        SessionKeys(K, OPC, K),
        ActivationCode("dp.example.com", MATCHING_ID),
        ProfileSource(activation_code=f"LPA:1$dp.example.com${MATCHING_ID}", confirmation_code=CODE),
        SigningIdentity(b"ci", key, b"certificate", b"certificate"),
        pki,
        pki.smdp_auth,
    ]
    hidden = [
        K,
        OPC,
        VECTOR.xres,
        VECTOR.ck,
        VECTOR.ik,
        MATCHING_ID.encode(),
        CODE.encode(),
        number.to_bytes(32, "big"),
    ]
    texts = [repr(one) for one in objects] + [str(one) for one in objects if not isinstance(one, ActivationCode)]
    for text in texts:
        for secret in hidden:
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text.lower()
            assert str(number) not in text
            assert secret.decode("latin-1") not in text


def test_a_mistake_in_a_parameter_does_not_repeat_it(flow: Flow) -> None:
    code, found = flow("provision", "-p", f"activation_code=LPA:1$dp example${MATCHING_ID}", "-p", "profile=x")
    assert code == 2
    assert holders({name: found[name] for name in ("stdout", "stderr", "logs")}, [MATCHING_ID.encode()]) == []


def test_a_mistake_in_a_profile_file_does_not_repeat_its_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).resolve().parents[2] / "profiles" / "operational-a.toml").read_text()
    for wrong in (f"{K.hex().upper()}0", f"{K.hex().upper()}AB", f"{K.hex().upper()[:-2]}"):
        path = tmp_path / "profile.toml"
        path.write_text(text.replace(f'k = "{K.hex().upper()}"', f'k = "{wrong}"'))
        assert invoke(["package", "build", str(path), "-o", str(tmp_path / "out.der")]) == 2
        said = "".join(capsys.readouterr())
        assert "aka" in said
        assert wrong not in said
