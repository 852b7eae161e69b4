"""``esim-bench serve rack``: simulated slots as PC/SC readers and serial ports, for other people's software.

While it runs the slots are its own: commands by hand on them wait, and go on from the memory that it leaves. It is
steered by ``esim-bench serve control`` over a Unix socket in the rack's folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json as jsonlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from esim_bench.cli.common import JsonOption, RackOption, note, print_json, say
from esim_bench.cli.serving import is_loopback
from esim_bench.cli.session import alone
from esim_bench.errors import BenchError, ConfigError, TransportError
from esim_bench.events import NullSink
from esim_bench.ports import DriverContext, Served, ServedRack, ServeSettings, ServingDriver, load_driver
from esim_bench.rack.by_hand import FACTORY_SEED
from esim_bench.rack.model import Rack, SlotSpec, load_rack
from esim_bench.rack.parts import context_of
from esim_bench.rack.state import SimState, load_state, save_state
from esim_bench.rack.world import World
from esim_bench.store.home import home

SAVE_SECONDS: Final = 2.0
"""Between looks for cards that wrote something: so much is lost at most by a kill -9."""
ANSWER_SECONDS: Final = 10.0
_LONGEST_LINE: Final = 4096
_LONGEST_PATH: Final = 107
"""Of a Unix socket, in bytes."""
STATUS: Final = "status"
_RESERVED: Final = ("control", "reader.conf", "sys")
"""Files of the folder beside the ports."""
_SHOWN: Final = ("slot", "kind", "address", "name", "powered")

FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="Folder of the ports. Default: $ESIM_BENCH_HOME/serve/RACK."),
]


def rack(
    rack: RackOption = None,
    slot: Annotated[
        list[str] | None, typer.Option("--slot", help="Slots by name, * and ? allowed; repeatable. Default: all.")
    ] = None,
    vpcd: Annotated[
        list[str] | None,
        typer.Option(
            "--vpcd",
            metavar="HOST:PORT",
            help="Connect the cards to a vpcd that listens there, instead of waiting for one; repeatable.",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address on which the cards wait for vpcd.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65000, help="First port of the cards; 0: any free ones.")
    ] = 0x8C7B,
    rate: Annotated[
        float, typer.Option("--rate", min=0.1, max=1000.0, help="How fast the devices are: 10 boots in a tenth.")
    ] = 1.0,
    folder: FolderOption = None,
    new: Annotated[bool, typer.Option("--new", help="Begin with cards as they left the factory.")] = False,
    json: JsonOption = False,
) -> None:
    """Serve simulated slots as PC/SC readers and serial ports until Ctrl-C or SIGTERM."""
    loaded = load_rack(rack)
    specs = _simulated(loaded, slot or [])
    place = _folder(loaded, folder)
    settings = ServeSettings(place, loaded.name, _address(host), port, [_pair(text) for text in vpcd or []], rate)
    driver = load_driver("sim")
    if not isinstance(driver, ServingDriver):
        raise ConfigError("the driver cannot serve slots", expected="a ServingDriver", found="sim")
    with contextlib.ExitStack() as held:
        for spec in specs:
            held.enter_context(alone(loaded, spec))
        asyncio.run(_serve(loaded, specs, driver, settings, new=new, json=json))


def control(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND...",
            help="status | power on|off|cycle SLOT [S] | unplug|insert|hang-up SLOT | power-key|reset SLOT [S]",
        ),
    ],
    rack: RackOption = None,
    folder: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Steer a rack that is served: power, cards, keys; or ask where everything is."""
    loaded = load_rack(rack)
    place = _folder(loaded, folder, make=False)
    answer = ask(place / "control", " ".join(words))
    if "error" in answer:
        raise ConfigError(str(answer["error"]))
    if json:
        print_json(answer)
        return
    for line in _lines(answer["slots"]):
        say(line)


# ------------------------------------------------------------------------------------------------------- what to serve


def _simulated(rack: Rack, patterns: Sequence[str]) -> list[SlotSpec]:
    chosen = rack.select(patterns)
    specs = [spec for spec in chosen if spec.simulated]
    if patterns and len(specs) != len(chosen):
        real = ", ".join(spec.name for spec in chosen if not spec.simulated)
        raise ConfigError("only simulated slots are served", expected="slots with a sim table", found=real)
    taken = [spec.name for spec in specs if spec.name in _RESERVED]
    if taken:
        raise ConfigError("a slot cannot be served by this name", expected="another name", found=taken[0])
    if not specs:
        raise ConfigError("nothing to serve", where=str(rack.path), expected="slots with a sim table", found="none")
    return specs


def _folder(rack: Rack, chosen: Path | None, *, make: bool = True) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.-]|^\.+", "_", rack.name)
    folder = (chosen or home() / "serve" / name).absolute()
    if make:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _address(host: str) -> str:
    address = "127.0.0.1" if host == "localhost" else host
    try:
        ipaddress.IPv4Address(address)
    except ValueError as exc:
        raise ConfigError("not an address to listen on", expected="an IPv4 address", found=repr(host)) from exc
    if not is_loopback(address):
        note(f"warning: whoever reaches {address} can use and change the cards")
    return address


def _pair(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65535:
        raise ConfigError("not the address of a vpcd", where="--vpcd", expected="HOST:PORT", found=repr(text))
    return host, int(port)


@dataclass(frozen=True, slots=True)
class _Card:
    """A card that is served: its world, what its device kept, and how it was last saved."""

    spec: SlotSpec
    context: DriverContext
    seed: str
    remembered: SimState | None


def _cards(rack: Rack, specs: Sequence[SlotSpec], *, new: bool) -> list[_Card]:
    worlds: dict[str, World] = {}
    cards = []
    for spec in specs:
        remembered = None if new else load_state(rack, spec.name)
        seed = remembered.seed if remembered else FACTORY_SEED
        world = worlds.setdefault(seed, World(rack, seed))
        context = context_of(spec, world, NullSink(), remembered.nvm if remembered else None)
        cards.append(_Card(spec, context, seed, remembered))
    return cards


# ------------------------------------------------------------------------------------------------------------- serving


async def _serve(
    rack: Rack, specs: Sequence[SlotSpec], driver: ServingDriver, settings: ServeSettings, *, new: bool, json: bool
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    cards = _cards(rack, specs, new=new)
    saver = Saver(rack, cards)
    async with _control_socket(settings.folder / "control") as steering:
        spec_tables = [(card.spec.sim.model_dump() if card.spec.sim else {}, card.context) for card in cards]
        served = await driver.serve(spec_tables, settings)
        try:
            steering.on_line = lambda line: steer(served, line)
            _announce(rack, served, settings, json)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SAVE_SECONDS):
                        await stop.wait()
                saver.save(served)
            note("ending")
        finally:
            await served.close()
            saver.save(served)


class Saver:
    """Writes down what cards remember, each time they wrote something."""

    def __init__(self, rack: Rack, cards: Sequence[_Card]) -> None:
        self._rack = rack
        self._cards = cards
        self._saved: dict[str, int] = {}
        self._digests: dict[str, bytes] = {}

    def save(self, served: ServedRack) -> None:
        """Write down the cards that changed since the last call."""
        for card in self._cards:
            name = card.spec.name
            writes, snapshot = served.state(name)
            if self._saved.get(name) == writes:
                continue
            nvm = snapshot()
            digest = hashlib.sha256(nvm).digest()
            if self._digests.get(name) != digest:
                flash = card.remembered.flash if card.remembered else {}
                save_state(self._rack, name, SimState(card.seed, nvm, flash))
            self._saved[name], self._digests[name] = writes, digest


def _announce(rack: Rack, served: ServedRack, settings: ServeSettings, wants_json: bool) -> None:
    """Say what is where; the last line says that all of it can be used."""
    slots = served.served()
    for line in _lines([_shown(one) for one in slots]):
        note(line)
    readers = [one for one in slots if one.kind == "reader"]
    if readers and settings.vpcd:
        note("the cards connect to vpcd by themselves, again and again")
    if readers and served.reader_config:
        path = settings.folder / "reader.conf"
        path.write_text(served.reader_config)
        note(f"for pcscd, also in {path}:")
        for line in served.reader_config.splitlines():
            note(f"  {line}")
    note(f"control: esim-bench serve control ... (socket {settings.folder / 'control'})")
    if wants_json:
        print_json(
            {
                "rack": rack.name,
                "rack_file": str(rack.path.resolve()),
                "folder": str(settings.folder),
                "control": str(settings.folder / "control"),
                "reader_config": served.reader_config,
                "slots": [_shown(one) for one in slots],
            }
        )
        sys.stdout.flush()
    note("ready; stop with Ctrl-C")


def _shown(served: Served) -> dict[str, Any]:
    return {**{name: getattr(served, name) for name in _SHOWN}, **served.details}


def _lines(slots: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for slot in slots:
        state = [] if slot["powered"] else ["no power"]
        state += [f"{name} {slot[name]}" for name in ("card", "modem") if name in slot]
        kind = "reader" if slot["kind"] == "reader" else f"{slot['module']}, port"
        name = f" ({slot['name']})" if slot["name"] else ""
        lines.append(
            f"{slot['slot']}: {slot['form_factor']}, {kind} {slot['address']}{name}: {', '.join(state) or 'on'}"
        )
    return lines


# ------------------------------------------------------------------------------------------------------------- control


def steer(served: ServedRack, line: str) -> dict[str, Any]:
    """Do what a line of the control socket says; return the answer's document. Raises BenchError."""
    words = line.split()
    if words and words[0] == "power":
        words = words[1:]
    if words != [STATUS]:
        if len(words) not in (2, 3):
            raise ConfigError("not a command", expected="status, or ACTION SLOT [SECONDS]", found=repr(line))
        try:
            seconds = float(words[2]) if len(words) == 3 else None
        except ValueError as exc:
            raise ConfigError("not a time", expected="seconds", found=repr(words[2])) from exc
        served.act(words[1], words[0], seconds)
    return {"slots": [_shown(one) for one in served.served()]}


def ask(path: Path, line: str) -> dict[str, Any]:
    """Send a line to a control socket; return the answer. Raises TransportError when nobody serves there."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            connection.sendall(line.encode() + b"\n")
            with connection.makefile("rb") as answers:
                document = jsonlib.loads(answers.readline() or b"null")
    except (OSError, ValueError) as exc:
        hint = "esim-bench serve rack must run, with the same --rack and --folder"
        raise TransportError(f"nobody serves this rack: {exc}", where=str(path), hint=hint) from exc
    if not isinstance(document, dict):
        raise TransportError("the server gave no answer", where=str(path), hint="did it just end?")
    return document


class _Steering:
    """The control socket's side of the server: one line in, one document out, as often as wanted."""

    def __init__(self) -> None:
        self.on_line: Callable[[str], dict[str, Any]] | None = None
        self.open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            while line := await reader.readline():
                writer.write(jsonlib.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        if self.on_line is None:
            return {"error": "not ready yet"}
        try:
            return self.on_line(line.decode("utf-8", "replace").strip())
        except BenchError as exc:
            return {"error": str(exc)}


@contextlib.asynccontextmanager
async def _control_socket(path: Path) -> AsyncIterator[_Steering]:
    _make_room(path)
    steering = _Steering()
    server = await asyncio.start_unix_server(steering.serve, path, limit=_LONGEST_LINE)
    os.chmod(path, 0o600)
    try:
        yield steering
    finally:
        server.close()
        for writer in tuple(steering.open):
            writer.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _make_room(path: Path) -> None:
    """Remove the socket of a server that was killed. Raises ConfigError for one that lives, for a name too long."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigError(
            "the folder's name is too long for a socket in it",
            where=str(path),
            expected=f"at most {_LONGEST_PATH} bytes",
            hint="choose a shorter one: --folder DIR",
        )
    if path.exists():
        with contextlib.suppress(TransportError):
            ask(path, STATUS)
            raise ConfigError(
                "something is served there already", where=str(path.parent), hint="choose another --folder"
            )
        path.unlink(missing_ok=True)
