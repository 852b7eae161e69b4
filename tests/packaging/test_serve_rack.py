"""``esim-bench serve rack`` as a process of its own, used by programs that know nothing of the bench."""

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from esim_bench.cli.serve_rack import ask
from esim_drivers.sim.pcscd import Pcscd
from esim_drivers.sim.vpcd import LIBRARY

BENCH = str(Path(sys.executable).with_name("esim-bench"))
RACK = """
[rack]
name = "lab"

[[slot]]
name = "A1"
form_factor = "4FF"
sim = { personality = "standard", profile = "bootstrap-global" }

[[slot]]
name = "B1"
form_factor = "4FF"
module = "quectel-eg25"
sim = { personality = "standard", profile = "bootstrap-global" }
"""

# What the notes say of other people's LPAs: TERMINAL CAPABILITY, channel 1, STORE DATA without Le, GET RESPONSE.
FOREIGN_LPA = """
import sys
from smartcard.System import readers
from smartcard.Exceptions import NoCardException
from smartcard.util import toHexString

card = next(one for one in readers() if one.name == sys.argv[1]).createConnection()
try:
    card.connect()
except NoCardException:
    print("no card")
    sys.exit()

def send(text):
    data, sw1, sw2 = card.transmit(list(bytes.fromhex(text)))
    while sw1 == 0x61:
        more, sw1, sw2 = card.transmit([int(text[1], 16), 0xC0, 0, 0, sw2])
        data += more
    assert (sw1, sw2) == (0x90, 0), (text, sw1, sw2)
    return bytes(data).hex()

send("80AA00000AA9088100820101830107")
assert send("0070000001") == "01"
send("01A4040010A0000005591010FFFFFFFF8900000100")
print(send("81E2910006BF3E035C015A"))
"""


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [BENCH, "serve", "rack", "--json", "--port", "0", "--rate", "50", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    try:
        assert process.stdout is not None
        lines = []
        while (line := process.stdout.readline()) not in ("", "}\n"):
            lines.append(line)
        if not line:
            assert process.stderr is not None
            pytest.fail(f"the server ended: {process.stderr.read()}")
        yield process, json.loads("".join([*lines, line]))
    finally:
        process.kill()
        process.communicate(timeout=10)


def bench(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([BENCH, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


class Port:
    """A program that opens a serial port by its path and types AT commands."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def say(self, line: str, seconds: float = 5.0) -> str:
        os.write(self.fd, line.encode() + b"\r")
        heard, end = b"", time.monotonic() + seconds
        while time.monotonic() < end and not heard.rstrip().endswith((b"OK", b"ERROR")) and b"+CME" not in heard:
            if select.select([self.fd], [], [], 0.2)[0]:
                heard += os.read(self.fd, 4096)
        return heard.decode("latin-1")

    def apdu(self, handle: str, command: str) -> str:
        answer = self.say(f'AT+CGLA={handle},{len(command)},"{command}"').split('"')[-2]
        if answer[-4:-2] == "61":
            return answer[:-4] + self.apdu(handle, f"00C00000{answer[-2:]}")
        return answer

    def say_until(self, line: str, wanted: str) -> str:
        end = time.monotonic() + 20
        while wanted not in (answer := self.say(line, 0.5)):
            assert time.monotonic() < end, answer
        return answer


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    path = tmp_path / "lab.toml"
    path.write_text(RACK)
    return path


def test_other_peoples_programs_use_a_served_rack(lab: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--rack", str(lab)) as (process, document):
        reader, port = document["slots"]
        assert [reader["kind"], port["kind"], port["module"]] == ["reader", "port", "Quectel EG25"]
        assert reader["address"].startswith("127.0.0.1:")
        assert document["reader_config"] == (Path(document["folder"]) / "reader.conf").read_text()

        # A serial port: the modem boots, and opens the ISD-R for us.
        at = Port(port["address"])
        at.say_until("AT+CPIN?", "READY")
        handle = at.say('AT+CCHO="A0000005591010FFFFFFFF8900000100"').split("+CCHO: ")[1].split()[0]
        assert port["eid"] in at.apdu(handle, "80E2910006BF3E035C015A").lower()
        # SetDefaultDpAddress: something that the card must still know afterwards.
        name = b"foreign.example.com".hex().upper()
        request = f"BF3F{len(name) // 2 + 2:02X}80{len(name) // 2:02X}{name}"
        assert "BF3F03800100" in at.apdu(handle, f"80E29100{len(request) // 2:02X}{request}")

        # Commands by hand keep off while others use the slot; the port goes with its power.
        code, _, err = bench("serve", "control", "power", "off", "B1", "--rack", str(lab))
        assert (code, err) == (0, "")
        assert not os.path.lexists(port["address"])
        assert select.select([at.fd], [], [], 5)[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0

    assert not os.path.lexists(document["control"])
    code, out, err = bench("euicc", "default-address", "B1", "--rack", str(lab), "--json")
    assert (code, err) == (0, "")
    assert "foreign.example.com" in out


def say_eid(service: Pcscd, expected: str, name: str = "esim-bench lab 00 00") -> None:
    """Have a foreign LPA ask for the EID until it gets what is expected."""
    end = time.monotonic() + 15
    while True:
        command = [sys.executable, "-c", FOREIGN_LPA, name]
        environment = {**os.environ, **service.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
        if expected in done.stdout:
            return
        assert time.monotonic() < end, done.stdout + done.stderr
        time.sleep(0.2)


@pytest.fixture
def service(need_tool: Callable[[str], str], tmp_path: Path) -> Callable[[str], Pcscd]:
    """Return what makes a PC/SC service with the readers of a reader.conf."""
    need_tool("pcscd")
    if not LIBRARY.exists():
        pytest.skip("vsmartcard-vpcd is not installed")
    pytest.importorskip("smartcard")
    (tmp_path / "pcsc").mkdir()
    return lambda readers: Pcscd(tmp_path / "pcsc", readers)


def test_a_reader_that_connects_to_a_served_card(lab: Path, tmp_path: Path, service: Callable[[str], Pcscd]) -> None:
    with serving(tmp_path, "--rack", str(lab), "--slot", "A*") as (_, document):
        (reader,) = document["slots"]
        with service(document["reader_config"]) as running:
            say_eid(running, reader["eid"], reader["name"])
            # Where vpcd connects a card stays where it is: better refused than not seen.
            code, _, err = bench("serve", "control", "unplug", "A1", "--rack", str(lab))
            assert code == 2
            assert "--vpcd" in err


def test_a_card_is_pulled_and_put_back(lab: Path, tmp_path: Path, service: Callable[[str], Pcscd]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1] & ~1
    with serving(tmp_path, "--rack", str(lab), "--slot", "A*", "--vpcd", f"127.0.0.1:{port}") as (_, document):
        (reader,) = document["slots"]
        with service(document["reader_config"]) as running:
            say_eid(running, reader["eid"])
            for action, expected in (
                *(("unplug", "no card"), ("insert", reader["eid"])),
                *(("off", "no card"), ("on", reader["eid"])),
            ):
                ask(Path(document["control"]), f"{action} A1")
                say_eid(running, expected)


def test_what_is_served_twice_or_cannot_be_served_is_said(lab: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--rack", str(lab), "--slot", "B*") as (_, document):
        assert [one["slot"] for one in document["slots"]] == ["B1"]
        assert stat.S_IMODE(Path(document["control"]).stat().st_mode) == 0o600
        code, _, err = bench("serve", "rack", "--rack", str(lab), "--slot", "A1")
        assert (code, "served there already" in err) == (2, True), err
        code, _, err = bench("serve", "control", "unplug", "A1", "--rack", str(lab))
        assert (code, "expected one of B1" in err) == (2, True), err
    # Killed: what it left is in nobody's way.
    with serving(tmp_path, "--rack", str(lab), "--slot", "B*"):
        pass
    code, _, err = bench("serve", "control", "status", "--rack", str(lab))
    assert code == 3
    assert "serve rack must run" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--slot", "Z9"], "no slot of this name"),
        (["--host", "example.com"], "an IPv4 address"),
        (["--vpcd", "35963"], "expected HOST:PORT"),
        (["--folder", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_mistakes_are_told_before_anything_is_served(lab: Path, arguments: list[str], expected: str) -> None:
    code, _, err = bench("serve", "rack", "--rack", str(lab), *arguments)
    assert code == 2
    assert expected in err


def test_more_cards_than_a_vpcd_has_slots_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "three.toml"
    slots = "".join(f'[[slot]]\nname = "A{n}"\nform_factor = "4FF"\nsim = {{}}\n' for n in (1, 2, 3))
    path.write_text(f'[rack]\nname = "three"\n{slots}')
    code, _, err = bench("serve", "rack", "--rack", str(path), "--vpcd", "127.0.0.1:35963")
    assert code == 2
    assert "at most 2" in err
