"""PC/SC: the driver against bare pyscard, and the split of a download. Real pcscd, real vpcd, simulated cards."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from esim_bench import clock
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import ConfigError
from esim_bench.events import ApduEvent, ListSink, NullSink
from esim_bench.ports import HttpResponse
from esim_bench.rack.bearer import InProcessBearer
from esim_bench.rack.model import load_rack
from esim_bench.rack.slot import open_slot
from esim_bench.rack.world import World
from esim_bench.servers.pki import make_eid
from esim_drivers.pcsc import Options, PcscCard, library
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.pcscd import Pcscd
from esim_drivers.sim.personality import personality
from esim_drivers.sim.vpcd import VirtualReader, VpcdHost, reader_conf

from .download import source

NAME = "esim-bench speed"
SERVICES = 8
ROUNDS = 21
BLOCKS = 60
BLOCK = 120
DOWNLOADS = 9


def unavailable() -> str | None:
    """Say why nothing can be measured here; None where it can."""
    try:
        library.load()
        reader_conf(NAME, 1)
    except ConfigError as exc:
        return str(exc)
    return None


class Timed(VirtualReader):
    """Adds up the time that the card computes."""

    seconds = 0.0

    def answer(self, message: bytes) -> bytes | None:
        began = time.perf_counter()
        try:
            return super().answer(message)
        finally:
            self.seconds += time.perf_counter() - began


def _host(cards: Sequence[Any], rate: float, talk: Connection) -> None:
    """Be the process of the cards; answers with the port, then each message with the seconds since the last."""
    readers = [Timed(card, rate=rate) for card in cards]
    with VpcdHost.listening(readers) as host:
        talk.send(host.port)
        while talk.recv():
            talk.send(sum(reader.seconds for reader in readers))
            for reader in readers:
                reader.seconds = 0.0


@contextlib.contextmanager
def service(folder: Path, *cards: Any, rate: float = 0.0) -> Iterator[Callable[[], float]]:
    """Have a pcscd of our own with cards in its readers; yield what tells how long they have worked.

    ``rate``: how much of the time that a real card would take they take, beside what they compute. The cards live in a
    process of their own, as real ones do not share our interpreter.
    """
    folder.mkdir(exist_ok=True)
    fork = multiprocessing.get_context("fork")
    talk, other = fork.Pipe()
    process = fork.Process(target=_host, args=(cards, rate, other), daemon=True)
    process.start()
    before = dict(os.environ)

    def computed() -> float:
        talk.send(True)
        seconds: float = talk.recv()
        return seconds

    try:
        pcscd = Pcscd(folder, reader_conf(NAME, talk.recv(), address="127.0.0.1"))
        os.environ.update(pcscd.environment)
        with pcscd:
            yield computed
    finally:
        os.environ.clear()
        os.environ.update(before)
        talk.send(False)
        process.join(5.0)


def link_to(slot: int, sink: Any) -> PcscCard:
    return PcscCard(Options(reader=f"name:{NAME}", slot=slot), sink)


# ----------------------------------------------------------------------------------------------------------- per APDU


class Nothing:
    """A card that takes no time."""

    def power_on(self) -> bytes:
        return bytes.fromhex("3B9C96018031A073BE21134553494D42B5")

    reset = power_on

    def power_off(self) -> None:
        pass

    def transmit(self, command: bytes) -> tuple[bytes, float]:
        return b"\x90\x00", 0.0


def go_on(command: bytes, response: bytes) -> bool:
    """Decide as the card layer does while all is well."""
    return len(response) >= 2 and response[-2] not in (0x61, 0x6C) and response[-2] in (0x90, 0x91)


async def _apdus(slot: int) -> list[tuple[float, float]]:
    """Return (ours, bare) in seconds per APDU, round by round; ours in one slot, bare in the other."""
    import smartcard.scard as scard

    chain = [bytes((0x81, 0xE2, 0x11, number, BLOCK)) + bytes(BLOCK) for number in range(BLOCKS)]
    lists = [list(command) for command in chain]
    link = link_to(slot, NullSink())
    await link.connect()
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    code, card, protocol = scard.SCardConnect(
        context, f"{NAME} 00 0{1 - slot}", scard.SCARD_SHARE_EXCLUSIVE, scard.SCARD_PROTOCOL_T1
    )
    assert code == 0, hex(code & 0xFFFFFFFF)
    try:
        rounds = []
        for number in range(ROUNDS + 2):
            began = time.perf_counter()
            done = await link.exchange(chain, go_on)
            taken = time.perf_counter() - began
            assert len(done) == BLOCKS
            began = time.perf_counter()
            for command in lists:
                code, response = scard.SCardTransmit(card, protocol, command)
                assert code == 0
                assert response == [0x90, 0x00]
            floor = time.perf_counter() - began
            if number >= 2:
                rounds.append((taken / BLOCKS, floor / BLOCKS))
        return rounds
    finally:
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)
        scard.SCardReleaseContext(context)
        await link.close()


def apdu_ratio(folder: Path) -> tuple[float, float, float]:
    """Return the driver's time per APDU over that of pyscard's own SCardTransmit; and both in seconds. Medians.

    A chain of 60 STORE DATA of 120 bytes. Each round measures both, in the two slots of one vpcd. One client of a
    service can be twice as slow as the other for as long as it lives, whichever that is: so there are several services,
    one after the other, and the slots change sides.
    """
    rounds = []
    for number in range(SERVICES):
        with service(folder / "pcsc-apdus", Nothing(), Nothing()):
            rounds += clock.run_real(_apdus(number % 2))
    return (
        median(ours / bare for ours, bare in rounds),
        median(ours for ours, _ in rounds),
        median(b for _, b in rounds),
    )


# ----------------------------------------------------------------------------------------------------------- download


@dataclass(frozen=True)
class Split:
    """Where the wall-clock time of a download went, in seconds."""

    total: float
    card: float
    """The simulated card worked."""
    transport: float
    """pyscard, pcscd, vpcd, loopback."""
    server: float
    """The SM-DP+, in the same process, answered; without the latency of a network."""
    apdus: int

    @property
    def ours(self) -> float:
        """Return what the LPA, the card layer, the driver, its thread and the event loop took."""
        return self.total - self.card - self.transport - self.server

    @property
    def share(self) -> float:
        """Return the share of ours; the server, which is elsewhere in real life, is left out of the whole."""
        return self.ours / (self.total - self.server)


RACK = f"""
[rack]
name = "speed"
[[slot]]
name = "A1"
form_factor = "4FF"
protect = false
card = {{ driver = "pcsc", reader = "name:{NAME}" }}
"""


async def _download(folder: Path, rate: float) -> Split:
    path = folder / "rack.toml"
    path.write_text(RACK)
    world = World(load_rack(str(path)), "bench")
    order = await world.order(source())
    identity = world.pki.issue_euicc(make_eid(5), SeededRandomness("euicc"))
    server_seconds = 0.0
    card = SimCard(identity, personality("standard"), SeededRandomness("card"))
    with service(folder / "pcsc-download", card, rate=rate) as computed:
        sink = ListSink()
        slot = open_slot(world.rack.one("A1"), world, sink)
        post = slot.bearer.post

        async def timed_post(
            url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
        ) -> HttpResponse:
            nonlocal server_seconds
            began = time.perf_counter()
            try:
                return await post(url, headers, body, timeout)
            finally:
                server_seconds += time.perf_counter() - began

        slot.bearer.post = timed_post  # type: ignore[method-assign]
        try:
            await slot.start()
            sink.events.clear()
            computed()
            server_seconds = 0.0
            began = time.perf_counter()
            await slot.lpa.download(order.activation_code)
            total = time.perf_counter() - began
            apdus = [event for event in sink.events if isinstance(event, ApduEvent)]
            inside = sum(event.duration_ns for event in apdus) / 1e9
            card_seconds = computed()
            return Split(total, card_seconds, inside - card_seconds, server_seconds, len(apdus))
        finally:
            await slot.close()


def download_split(folder: Path, *, rate: float = 0.0) -> Split:
    """Return the split of a whole download over pcscd and vpcd: of several, the one with the median share of ours.

    ``rate``: 1: the card takes the time that its make takes; 0: only what the simulation computes, a hundredth of that.
    """
    rounds = 1 if rate else DOWNLOADS
    with mock.patch.dict(InProcessBearer.__init__.__kwdefaults__, latency=0.0):
        # The first one loads what is loaded once.
        splits = [clock.run_real(_download(folder, number and rate)) for number in range(rounds + 1)][1:]
    return sorted(splits, key=lambda split: split.share)[len(splits) // 2]
