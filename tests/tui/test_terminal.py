"""The screen in a real terminal: tmux, with a new user at its keys."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 60.0


class Terminal:
    """One tmux server of our own, with one pane."""

    def __init__(self, tmux: str, socket: Path, size: tuple[int, int]) -> None:
        self._tmux = (tmux, "-f", "/dev/null", "-S", str(socket))
        columns, rows = (str(number) for number in size)
        self._run("new-session", "-d", "-x", columns, "-y", rows, "exec /bin/sh")
        self._run("set-option", "-g", "remain-on-exit", "on")
        self._run("set-option", "-g", "escape-time", "0")

    def _run(self, *arguments: str) -> str:
        # A terminal's size is the terminal's own.
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        return subprocess.run(
            [*self._tmux, *arguments], capture_output=True, text=True, check=True, timeout=20, env=environment
        ).stdout

    def start(self, arguments: str) -> None:
        """Start the bench in the shell."""
        command = Path(sys.executable).with_name("esim-bench")
        self.type(f"{command} {arguments}; echo ended with $?")
        self.keys("Enter")

    def keys(self, *keys: str) -> None:
        """Press keys, by their names in tmux."""
        for key in keys:
            self._run("send-keys", key)
            time.sleep(0.1)  # as fast as a hand

    def type(self, text: str) -> None:
        self._run("send-keys", "-l", text)

    @property
    def shown(self) -> str:
        return self._run("capture-pane", "-p")

    def until(self, pattern: str, seconds: float = PATIENCE) -> str:
        """Wait until the screen shows something, and return the screen."""
        end = time.monotonic() + seconds
        while not re.search(pattern, shown := self.shown):
            if time.monotonic() > end:
                raise AssertionError(f"waited for {pattern!r}; shown:\n{shown}")
            time.sleep(0.05)
        return shown

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=20, check=False)


@pytest.fixture
def terminal(need_tool: Callable[[str], str], tmp_path: Path) -> Iterator[Terminal]:
    one = Terminal(need_tool("tmux"), tmp_path / "tmux", (120, 40))
    yield one
    one.close()


@pytest.mark.slow
def test_a_new_user_in_a_terminal(terminal: Terminal) -> None:
    """Which profile is enabled, a download whose power is cut, the APDU where it was, a switch; and out again."""
    terminal.start("tui --demo --rate 30")

    # The rack is there at once, and tells which profile is enabled.
    terminal.until("A1 4FF")
    terminal.until(r"┃ ◆ Bootstrap Global")

    # A download into A1, cut in its middle.
    terminal.keys("Enter")
    terminal.until("1 Overview")
    terminal.until(r"● enabled +Bootstrap Global")
    terminal.keys("l")
    terminal.until("Download a profile to A1")
    terminal.type("operational-a")
    terminal.until("✓ Profile operational-a of the bench")
    terminal.keys("Tab", "Tab", "Tab", "Tab", "Space")
    terminal.until("✓.*Cut the power in the middle")
    terminal.keys("Tab", "Enter")
    shown = terminal.until(r"power off \(card gone\)")
    shown = terminal.until("the power was cut during: downloading a profile")
    assert "power it on" in shown

    # The trace ends where it happened.
    terminal.keys("t")
    shown = terminal.until("power cut by hand during")
    rows = [line for line in shown.splitlines() if re.match(r" +\d\d:\d\d:\d\d\.\d", line)]
    place = next(at for at, line in enumerate(rows) if "power cut by hand" in line)
    assert "ES10b.LoadBoundProfilePackage" in rows[place - 1]
    assert "power off" in rows[place + 1]
    terminal.keys("Escape")

    # With power again, the half profile is not there; a whole download and a switch.
    terminal.until("2 Profiles")
    terminal.keys("o")
    terminal.until("Power of A1")
    terminal.keys("n")
    terminal.until("● power on")
    terminal.keys("l")
    terminal.until("Download a profile to A1")
    terminal.type("operational-a")
    terminal.until("✓ Profile operational-a of the bench")
    terminal.keys("Enter")
    shown = terminal.until(r"○ disabled +8988211000000000011 +Operational A")
    assert re.search(r"● enabled +8988211000000000003", shown)
    terminal.keys("Down", "e")
    terminal.until(r"● enabled +8988211000000000011 +Operational A")
    terminal.until(r"A1 +4FF · simulated +● power on +● Operational A")

    # Everything has an end, and the terminal is the shell's again.
    terminal.keys("C-q")
    shown = terminal.until("ended with 0")
    assert "Traceback" not in shown


def commands_with(mark: str) -> list[str]:
    """Return the processes whose environment names our home: the screen, its desk, its runs."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                if mark.encode() in (place / "environ").read_bytes():
                    found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [one for one in found if "esim" in one and "pytest" not in one]


@pytest.mark.slow
def test_a_terminal_that_is_closed_takes_the_screen_with_it(terminal: Terminal) -> None:
    """As when the window is closed: no process stays behind, neither the screen's nor the desk's."""
    terminal.start("tui --demo --rate 30")
    terminal.until(r"┃ ◆ Bootstrap Global")
    mark = os.environ["ESIM_BENCH_HOME"]
    assert [one for one in commands_with(mark) if "desk.service" in one]
    terminal.close()
    end = time.monotonic() + PATIENCE
    while left := commands_with(mark):
        assert time.monotonic() < end, left
        time.sleep(0.1)
