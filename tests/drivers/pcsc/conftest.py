"""A PC/SC service of the test's own: the real pcscd with the real vpcd, and simulated eUICCs in its readers."""

import contextlib
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esim_bench import clock
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.errors import BenchError
from esim_bench.events import EventSink, NullSink
from esim_bench.servers.pki import Pki, create_pki, make_eid
from esim_drivers.pcsc import Options, PcscCard, library
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.pcscd import Pcscd
from esim_drivers.sim.personality import personality
from esim_drivers.sim.vpcd import VirtualReader, VpcdHost, reader_conf

NAME = "esim-bench test"


class PcscLab:
    """A pcscd with two virtual readers, ``NAME 00 00`` and ``NAME 00 01``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._ends = contextlib.ExitStack()
        self.reader = VirtualReader(rate=0)
        self.second = VirtualReader(rate=0)
        self.pcscd: Pcscd

    def start(self, card: object | None, *, pulling: bool = False) -> "PcscLab":
        """Have a card in the first reader. ``pulling``: cards can come and go, which takes the service 0.4 s to see."""
        if card is not None:
            self.reader.insert(card)
        readers = [self.reader, self.second]
        if pulling:
            port = free_ports()
            host = VpcdHost.connecting(readers, port=port)
            conf = reader_conf(NAME, port)
        else:
            host = VpcdHost.listening(readers)
            conf = reader_conf(NAME, host.port, address=host.address)
        self._ends.callback(host.close)
        self.pcscd = Pcscd(self._folder, conf)
        self._ends.callback(self.pcscd.stop)
        for name, value in self.pcscd.environment.items():
            self._monkeypatch.setenv(name, value)
        self.pcscd.start()
        return self

    def open(self, sink: EventSink | None = None, **options: object) -> PcscCard:
        """Return a link to the card in the first reader."""
        spec = {"reader": f"name:{NAME} 00 00", "wait_s": 5.0, "card_wait_s": 3.0, **options}
        return PcscCard(Options.parse(spec, "card"), sink or NullSink(), "A1")

    def close(self) -> None:
        self._ends.close()


def free_ports() -> int:
    """Return the first of two ports in a row that are free, away from those that the kernel hands out."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port


@pytest.fixture
def pcsc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PcscLab]:
    """Return a PC/SC service that is not yet started; skip where its parts are missing, or fail with CI=true."""
    try:
        library.load()
        Pcscd(tmp_path, reader_conf(NAME, 1))
    except BenchError as exc:
        if os.environ.get("CI") == "true":
            pytest.fail(str(exc))
        pytest.skip(str(exc))
    lab = PcscLab(tmp_path, monkeypatch)
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def pcsc_pki() -> Pki:
    return create_pki(SeededRandomness("pcsc"), hosts=["testsmdpplus1.example.com"], now_ns=clock.VIRTUAL_EPOCH_NS)


@pytest.fixture
def euicc(pcsc_pki: Pki) -> Callable[..., SimCard]:
    """Return the maker of simulated eUICCs; each takes the name of a personality."""

    def make(name: str = "standard") -> SimCard:
        identity = pcsc_pki.issue_euicc(make_eid(7), SeededRandomness("identity"))
        return SimCard(identity, personality(name), SeededRandomness("card"))

    return make
