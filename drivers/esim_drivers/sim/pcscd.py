"""A PC/SC service of one's own: a pcscd process with its own readers and its own socket, beside the system's.

Clients find it by the environment variable PCSCLITE_CSOCK_NAME, which the library reads once in a process: whatever is
started by one process has the same socket, one after the other. The socket is handed to pcscd as systemd does
(LISTEN_FDS), so clients may connect before it is ready. Where the kernel lets us it runs in a mount namespace of its
own, and then needs no root and leaves nothing in /run.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final

from esim_bench.errors import ConfigError, TransportError

SOCKET_VARIABLE: Final = "PCSCLITE_CSOCK_NAME"
_DROPDIR_VARIABLE: Final = "PCSCLITE_HP_DROPDIR"
_LONGEST_PATH: Final = 107
"""Of a Unix socket, in bytes."""
_HAND_OVER: Final = """
import os, sys
fd = int(sys.argv[1])
os.dup2(fd, 3)
os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""
_PRIVATE_RUN: Final = ("sh", "-c", 'mount -t tmpfs none /run && mkdir /run/pcscd && exec "$0" "$@"')


class Pcscd:
    """One pcscd process. ``start`` it; ``kill`` and ``start`` again is how a service crashes and is restarted."""

    def __init__(self, folder: Path, readers: str) -> None:
        """``folder``: an existing one for its files; ``readers``: its reader.conf.

        Raises ConfigError when pcscd is not installed, or the path of the socket is too long.
        """
        self.folder = folder
        self.socket = socket_path()
        if len(os.fsencode(self.socket)) > _LONGEST_PATH:
            raise ConfigError("a socket of PC/SC", expected=f"at most {_LONGEST_PATH} bytes", found=str(self.socket))
        self._program = shutil.which("pcscd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
        if self._program is None:
            raise ConfigError("pcscd is not installed", hint="apt install pcscd")
        self._config = folder / "reader.conf.d"
        self._config.mkdir(exist_ok=True)
        # No driver for real readers: this service must not take those of the system's.
        (folder / "drivers").mkdir(exist_ok=True)
        (self._config / "readers").write_text(readers)
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        """Who starts while another thread still ends it must not lose the new socket to that one's tidying up."""

    @property
    def log(self) -> Path:
        """Return the file with what pcscd says."""
        return self.folder / "pcscd.log"

    @property
    def environment(self) -> dict[str, str]:
        """Return what a client's environment must have to find this service."""
        return {SOCKET_VARIABLE: str(self.socket)}

    @property
    def running(self) -> bool:
        """Tell whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; clients may connect from now on. Raises TransportError when one runs already at this socket."""
        with self._turn:
            self._start()

    def _start(self) -> None:
        if self.running or _answers(self.socket):
            raise TransportError(
                "a PC/SC service runs already", found=str(self.socket), hint=f"stop it, or unset {SOCKET_VARIABLE}"
            )
        assert self._program is not None
        self.socket.unlink(missing_ok=True)
        command = [*_namespace(), self._program, "--foreground", "--config", str(self._config)]
        if "--disable-polkit" in _help(self._program):
            command.append("--disable-polkit")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, self.log.open("ab") as log:
            listener.bind(str(self.socket))
            listener.listen(64)
            number = listener.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-IS", "-c", _HAND_OVER, str(number), *command],
                pass_fds=(number,),
                env={**os.environ, _DROPDIR_VARIABLE: str(self.folder / "drivers")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Kill it: no goodbye to anybody. The next client finds no service."""
        self._end(kill=True)

    def stop(self) -> None:
        """Ask it to end, and see to it."""
        self._end(kill=False)

    def _end(self, *, kill: bool) -> None:
        with self._turn:
            self._end_now(kill=kill)

    def _end_now(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is not None:
            (process.kill if kill else process.terminate)()
            try:
                process.wait(2.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10.0)
        with contextlib.suppress(OSError):
            self.socket.unlink(missing_ok=True)

    def __enter__(self) -> Pcscd:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


@cache
def socket_path() -> Path:
    """Return where the services of this process have their socket: where its clients look, else a place of its own."""
    chosen = os.environ.get(SOCKET_VARIABLE)
    if chosen:
        return Path(chosen)
    # Short: tests have folders with long names.
    folder = Path(tempfile.mkdtemp(prefix="pcscd-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "pcscd.comm"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


@cache
def _namespace() -> tuple[str, ...]:
    """Return the command that gives a program a /run of its own; nothing where the kernel forbids it."""
    for way in (("unshare", "--mount"), ("unshare", "--map-root-user", "--mount")):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run([*way, *_PRIVATE_RUN, "true"], capture_output=True, timeout=10, check=False)
            if done.returncode == 0:
                return (*way, *_PRIVATE_RUN)
    return ()


@cache
def _help(program: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run([program, "--help"], capture_output=True, timeout=10, text=True, check=False).stdout
    return ""
