"""The eIM under load: polling IPAs over TLS on loopback. And one PSMO switch against its crypto."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import time
from pathlib import Path
from statistics import median
from unittest import mock

import httpx

from esim_bench import clock
from esim_bench.codec import es10, esipa
from esim_bench.codec.euicc_operations import Enable
from esim_bench.events import NullSink
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.world import World
from esim_bench.scenario import steering
from esim_bench.scenario.context import Bench
from esim_bench.servers.eim import PackageOrder
from esim_bench.servers.pki import make_eid

from .fleet import COMMAND, first_document
from .recording import recorded

IPAS = 64
POLLS_EACH = 25


def polls_over_tls(folder: Path) -> tuple[float, float]:
    """Return the polls per second of 64 IPAs at one eIM process over TLS, and the 99th percentile of their seconds.

    Each IPA keeps its connection, as in a procedure, and asks for its next package as soon as it was answered that
    there is none. All IPAs share one process; on two cores each side has one.
    """
    environment = {**os.environ, "ESIM_BENCH_HOME": str(folder / "home")}
    pki = folder / "eim-pki"
    subprocess.run(
        [*COMMAND, "pki", "init", str(pki), "--json"], env=environment, check=True, stdout=subprocess.DEVNULL
    )
    arguments = ["serve", "eim", "--pki", str(pki), "--db", str(folder / "eim.sqlite"), "--port", "0", "--json"]
    with subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            document = first_document(process)
            token = Path(document["token_file"]).read_text().strip()
            return clock.run_real(_ipas(document["url"], document["rest"], document["ca"], token))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


async def _ipas(url: str, rest: str, ca: str, token: str) -> tuple[float, float]:
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    eids = [make_eid(number) for number in range(1, IPAS + 1)]
    async with httpx.AsyncClient(verify=context, trust_env=False) as lab:
        for eid in eids:
            headers = {"Authorization": f"Bearer {token}"}
            answer = await lab.post(f"{rest}/devices", json={"eid": es10.eid_to_text(eid)}, headers=headers)
            answer.raise_for_status()
    seconds: list[float] = []

    async def ipa(eid: bytes) -> None:
        body = esipa.encode_request("getEimPackage", {"eidValue": eid})
        headers = {
            "content-type": esipa.CONTENT_TYPE,
            "x-admin-protocol": esipa.ADMIN_PROTOCOL,
            "user-agent": esipa.USER_AGENTS[0],
        }
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=60) as client:
            for _ in range(POLLS_EACH + 1):
                began = time.perf_counter()
                answer = await client.post(f"{url}{esipa.PATH}", content=body, headers=headers)
                seconds.append(time.perf_counter() - began)
                assert answer.content.hex().upper() == "BF4F03020101", answer.content.hex()

    await ipa(eids[0])
    seconds.clear()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for eid in eids:
            group.create_task(ipa(eid))
    taken = time.perf_counter() - began
    seconds.sort()
    return len(seconds) / taken, seconds[len(seconds) * 99 // 100]


ROUNDS = 60


async def _nothing() -> None:
    pass


RACK = """
[rack]
name = "iot"
[[slot]]
name = "S1"
form_factor = "4FF"
sim = { personality = "standard", profile = "bootstrap-global", rsp = ["sgp32-1.2"] }
"""


async def _switches(folder: Path) -> tuple[float, float]:
    path = folder / "iot.toml"
    path.write_text(RACK)
    world = World(load_rack(str(path)), "bench")
    slot = open_slot(world.rack.one("S1"), world, NullSink())
    try:
        steered = await steering.begin(Bench(slot))
        source = steering.IotSource.model_validate({"mode": "indirect"})
        target, _ = await steering.download(steered, source)
        home = await steering.home_profile(steered, target)

        async def switch(number: int) -> float:
            """Switch by a package and time it: from the IPA's first request to its last."""
            order = steered.eim.order(steered.eid, PackageOrder((Enable(home if number % 2 else target),)))
            began = time.perf_counter()
            report = await slot.ipa.poll()
            taken = time.perf_counter() - began
            await deliver()
            assert report.ok, report.errors
            assert steered.eim.find_order(order.id).outcome == "ok"
            return taken

        async def notify(address: str, notification: bytes) -> None:
            pass

        deliver = steered.eim.deliver
        # The restart of device and card after the switch is not what is measured, nor is the SM-DP+ behind the eIM.
        with (
            mock.patch.object(slot.ipa._context, "recover", _nothing),
            mock.patch.object(steered.eim, "deliver", _nothing),
            mock.patch.object(steered.eim._client, "notify", notify),
        ):
            for number in range(4):
                await switch(number)
            recordings = []
            for number in range(2):
                with recorded() as recording:
                    await switch(number)
                recordings.append(recording)
            ratios, times = [], []
            for number in range(ROUNDS):
                taken = await switch(number)
                began = time.perf_counter()
                recordings[number % 2].replay()
                ratios.append(taken / (time.perf_counter() - began))
                times.append(taken)
        return median(ratios), median(times)
    finally:
        await slot.close()


def psmo_switch(folder: Path) -> tuple[float, float]:
    """Return the time of one PSMO switch (poll, execute, result, acknowledgement) over its crypto's, and in seconds.

    Medians. The floor is the recorded primitive calls of the same switch, replayed.
    """
    return clock.run_virtual(_switches(folder))
