"""Every scenario of SGP.32 with IPA and eIM talking over HTTPS on loopback: real sockets, real TLS, the real clock."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from esim_bench import clock
from esim_bench.agents.ipa import IpaSettings
from esim_bench.codec.eim_configuration import KeyData
from esim_bench.crypto.certificates import Certificate
from esim_bench.events import EventSink, ListSink, RspEvent
from esim_bench.ports import Bearer
from esim_bench.rack.bearer import HttpsBearer, InProcessBearer, RoutingBearer
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.world import EIM_ADDRESSES, SMDP_ADDRESS, World
from esim_bench.scenario import registry
from esim_bench.scenario.context import Bench, StepFailed
from esim_bench.scenario.results import Outcome
from esim_bench.servers import serving
from esim_bench.servers.eim import Eim, SqliteEimStore
from esim_bench.servers.eim.credentials import public_der
from esim_bench.servers.pki import eim_tls_context
from esim_drivers.sim.reader import SimReader

RACK = """
[rack]
name = "https"
[[slot]]
name = "S1"
form_factor = "{form_factor}"
sim = {{ personality = "{personality}", profile = "bootstrap-global", rsp = ["{rsp}"] }}
"""
WAYS = [
    (module.NAME, mode)
    for module in registry.IOT
    for mode in (("direct", "indirect") if "mode" in module.Params.model_fields else ("",))
]


class ServedWorld(World):
    """A world whose eIMs are on sockets: the IPA reaches them by HTTPS or not at all."""

    pin: KeyData | None = None
    sockets: dict[str, socket.socket]

    def bearer(self, sink: EventSink, pin: KeyData | None = None, *, keep: bool = False) -> Bearer:
        own = InProcessBearer({SMDP_ADDRESS: self.smdp.app}, sink, latency=0.0)
        https = HttpsBearer(sink, network=replace(self.rack.network, proxy="none", retries=0), pin=pin, keep=keep)
        return RoutingBearer({SMDP_ADDRESS: own}, https)

    def make_eim(self, name: str, store: SqliteEimStore) -> Eim:
        eim = super().make_eim(name, store)
        port = self.sockets[name].getsockname()[1]
        changes = {"fqdn": f"localhost:{port}"} | ({"tls": self.pin} if self.pin else {})
        for part in (eim, eim._keeping, eim._packages):
            attribute = "credentials" if part is eim else "_credentials"
            setattr(part, attribute, replace(eim.credentials, **changes))
        return eim


@contextlib.asynccontextmanager
async def served(world: ServedWorld) -> AsyncIterator[None]:
    """Serve both eIMs on loopback."""
    tls = eim_tls_context(world.pki)
    servers, tasks = [], []
    for name in EIM_ADDRESSES:
        ready = asyncio.Event()
        config = serving._config(world.eim(name).app, tls, serving.ServingLimits())
        server = serving._Server(config, ready.set)
        servers.append(server)
        tasks.append(asyncio.create_task(server.serve([world.sockets[name]])))
        await ready.wait()
    try:
        yield
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


async def at_once(*_: object) -> None:
    # On the real clock the card's own timing would be measured, seconds for an installation.
    await asyncio.sleep(0)


def run(
    folder: Path, name: str, mode: str = "", *, rsp: str = "sgp32-1.2", pin: KeyData | None = None, ff: str = "4FF"
) -> tuple[Bench, ListSink]:
    path = folder / "rack.toml"
    path.write_text(
        RACK.format(rsp=rsp, form_factor=ff, personality={"4FF": "4ff", "MFF2": "mff2", "iSIM": "isim"}[ff])
    )
    world = ServedWorld(load_rack(str(path)), "https")
    world.pin = pin
    world.sockets = {eim: socket.create_server(("127.0.0.1", 0)) for eim in EIM_ADDRESSES}
    scenario = registry.scenario(name)
    sink = ListSink()

    async def job() -> Bench:
        slot = open_slot(world.rack.one("S1"), world, sink)
        bench = Bench(slot)
        async with served(world):
            with contextlib.suppress(StepFailed):
                await scenario.run(bench, scenario.parse({"mode": mode} if mode else {}))
            await slot.close()
        return bench

    try:
        return clock.run_real(job()), sink
    finally:
        world.close()
        for one in world.sockets.values():
            one.close()


def failed(bench: Bench) -> list[str]:
    return [f"{step.name}: {step.detail}" for step in bench.steps if step.outcome is not Outcome.PASS]


@pytest.fixture(autouse=True)
def _fast_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimReader, "_wait", at_once)
    monkeypatch.setattr(IpaSettings, "delays", lambda settings: iter((0.0, 0.05, 0.1)))


@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_it_passes_over_https(tmp_path: Path, name: str, mode: str) -> None:
    bench, sink = run(tmp_path, name, mode)
    assert failed(bench) == []
    urls = [event.url for event in sink.events if isinstance(event, RspEvent)]
    assert any(url.startswith("https://localhost:") for url in urls), "the eIM was reached over a socket"


@pytest.mark.parametrize("ff", ["MFF2", "iSIM"])
def test_the_other_form_factors_pass_over_https(tmp_path: Path, ff: str) -> None:
    bench, _ = run(tmp_path, "zero_touch", "indirect", ff=ff)
    assert failed(bench) == []


@pytest.mark.parametrize(
    ("name", "mode"), [("zero_touch", "direct"), ("psmo_switch", "indirect"), ("rollback", "direct")]
)
def test_version_1_0_1_passes_over_https(tmp_path: Path, name: str, mode: str) -> None:
    bench, _ = run(tmp_path, name, mode, rsp="sgp32-1.0.1")
    assert failed(bench) == []


def test_a_pinned_key_serves_as_well_as_a_pinned_root(tmp_path: Path) -> None:
    pki = World(load_rack("sim-iot-3"), "https").pki
    assert pki.eim_tls is not None
    key = KeyData(public_der(Certificate.load(pki.eim_tls.certificate).public_key))
    bench, _ = run(tmp_path, "zero_touch", "direct", pin=key)
    assert failed(bench) == []


def test_another_server_than_the_pinned_one_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    pki = World(load_rack("sim-iot-3"), "https").pki
    other = KeyData(public_der(pki.smdp_auth.key))
    bench, sink = run(tmp_path, "zero_touch", "direct", pin=other)
    (told,) = failed(bench)
    assert told.startswith("call home: ")
    assert "it has another key than the pinned one" in told
    assert not any(isinstance(event, RspEvent) and event.status == "200" for event in sink.events)
