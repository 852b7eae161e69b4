"""Locks of devices: who holds what, what is left behind, what is taken away, what is reserved."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from esim_bench.errors import ConfigError, InUseError
from esim_bench.rack import locks, reservations
from esim_bench.rack.holder import Holder
from esim_bench.rack.locks import take

READER = "usb:1-1.2"


def lock_file(device: str = READER) -> Path:
    return locks.folder() / (locks.file_name(device) + locks.LOCK)


def left_behind(**changes: object) -> None:
    """A file that somebody wrote who holds no lock on it."""
    holder = replace(Holder.here(READER, slot="A1", note="soak test"), **changes)  # type: ignore[arg-type]
    lock_file().write_text(json.dumps(holder.document()))


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_lock_says_who_holds_it_and_is_gone_when_given_back() -> None:
    held = take([READER], slot="A1", note="soak test", run="r1")
    (state, holder) = next(iter(reservations.listing()))
    assert (state, holder.device, holder.pid, holder.slot, holder.run) == ("held", READER, os.getpid(), "A1", "r1")
    assert holder.note == "soak test"
    held.check()
    held.release()
    held.release()
    assert reservations.listing() == []
    assert not lock_file().exists()


def test_a_held_device_is_refused_with_its_holder_and_what_to_do() -> None:
    first = take([READER, "usb:1-1 port 2"], slot="A1", note="soak test")
    with pytest.raises(InUseError) as caught:
        take(["usb:1-1 port 1", "usb:1-1 port 2"], slot="X9")
    for part in ("usb:1-1 port 2", f"process {os.getpid()}", "as slot A1", "soak test", "since 20", "two slots"):
        assert part in str(caught.value)
    # All or none: what came before the held one was given back.
    take(["usb:1-1 port 1"]).release()
    first.release()
    take(["usb:1-1 port 2"]).release()


def test_what_a_dead_process_left_is_taken_over_and_told() -> None:
    left_behind(pid=dead_pid())
    held = take([READER])
    (said,) = held.stale
    assert said.startswith(f"{READER} was left locked by ")
    assert "soak test" in said
    held.release()


def test_a_number_of_a_process_that_was_used_again_holds_nothing() -> None:
    left_behind(started=1)  # our own number, but a process that started at another time
    held = take([READER])
    assert len(held.stale) == 1
    held.release()


def test_a_child_of_a_dead_holder_that_kept_the_file_open_holds_nothing() -> None:
    left_behind(pid=dead_pid())
    with lock_file().open() as inherited:
        fcntl.flock(inherited, fcntl.LOCK_EX)
        held = take([READER])
        assert "still open in a child" in held.stale[0]
        held.check()
        held.release()


def test_a_process_that_only_looks_dead_from_here_keeps_its_lock() -> None:
    # A container counts its processes for itself: the number says nothing here, the lock of the kernel does.
    left_behind(pid=dead_pid(), space="pid:[1]")
    with lock_file().open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InUseError):
            take([READER])


def test_on_a_shared_folder_another_host_is_believed_to_live() -> None:
    left_behind(host="lab-7", boot="another")
    with pytest.raises(InUseError, match=r"on lab-7.*cannot be looked at from here.*--force"):
        take([READER])
    assert reservations.listing()[0][0] == "held"


def test_a_lock_of_this_host_before_it_was_started_anew_is_stale() -> None:
    left_behind(boot="the boot before")
    assert reservations.listing()[0][0] == "stale"
    held = take([READER])
    assert held.stale
    held.release()


@pytest.mark.parametrize("rubbish", [b"", b"{", b'{"device": 1}', b"[]", b"\xff\xfe"])
def test_rubbish_in_a_file_nobody_holds_is_no_obstacle(rubbish: bytes) -> None:
    lock_file().write_bytes(rubbish)
    take([READER]).release()


def test_who_is_kicked_finds_out_and_touches_nothing_of_the_next_one() -> None:
    mine = take([READER], slot="A1")
    with pytest.raises(InUseError):
        reservations.free([READER])
    assert "taken from" in reservations.free([READER], force=True)[0]
    with pytest.raises(InUseError, match="broken by"):
        mine.check()
    next_one = take([READER], slot="B1")
    with pytest.raises(InUseError, match="as slot B1"):
        mine.check()
    assert not mine.intact
    mine.release()
    next_one.check()
    next_one.release()


def test_waiting_for_a_device(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom esim_bench.rack.locks import take\n"
        f"held = take(['{READER}'])\nprint('held', flush=True)\nsys.stdin.readline()\nheld.release()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        with pytest.raises(InUseError, match=f"end process {child.pid}"):
            take([READER], wait=0.1)
        child.stdin.write("\n")
        child.stdin.flush()
        take([READER], wait=10.0).release()


# ----------------------------------------------------------------------------------------------------- reservations


@pytest.fixture
def as_owner(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda name: monkeypatch.setenv("ESIM_BENCH_OWNER", name)


def test_a_reservation_keeps_others_out_and_its_owner_in(as_owner: Callable[[str], None]) -> None:
    as_owner("ada")
    reservations.reserve([READER], 3600.0, slot="A1", note="do not touch")
    take([READER]).release()
    reservations.reserve([READER], 7200.0, slot="A1")
    as_owner("bob")
    for attempt in (lambda: take([READER]), lambda: reservations.reserve([READER], 1.0)):
        with pytest.raises(InUseError, match=r"is reserved.*ada on .*reserved until"):
            attempt()
    with pytest.raises(InUseError):
        reservations.free([READER])
    reservations.free([READER], force=True)
    take([READER]).release()


def test_a_reservation_comes_to_its_end(as_owner: Callable[[str], None]) -> None:
    as_owner("ada")
    reservations.reserve([READER], 0.05)
    as_owner("bob")
    time.sleep(0.06)
    assert reservations.listing() == []
    take([READER]).release()


def test_what_another_works_on_cannot_be_reserved(as_owner: Callable[[str], None]) -> None:
    as_owner("ada")
    held = take([READER])
    as_owner("bob")
    with pytest.raises(InUseError, match="in use"):
        reservations.reserve([READER], 60.0)
    held.release()


# ------------------------------------------------------------------------------------------------------- the folder


def test_the_folder_is_one_for_all_users() -> None:
    place = locks.folder()
    held = take([READER])
    assert lock_file().stat().st_mode & 0o777 == 0o666
    assert place.is_dir()
    held.release()


def test_without_a_folder_of_its_own_the_machine_wide_one_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ESIM_BENCH_LOCKS")
    monkeypatch.setattr(locks, "MACHINE_WIDE", (tmp_path / "no" / "such", tmp_path / "wide"))
    assert locks.folder() == tmp_path / "wide"
    assert (tmp_path / "wide").stat().st_mode & 0o7777 == 0o777
    monkeypatch.setattr(locks, "MACHINE_WIDE", (tmp_path / "no" / "such",))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert locks.folder() == tmp_path / "esim-bench"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(ConfigError, match="ESIM_BENCH_LOCKS"):
        locks.folder()


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock_file().symlink_to(victim)
    with pytest.raises(ConfigError):
        take([READER])
    assert victim.read_text() == "precious"


def test_the_command_of_a_holder_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/esim-bench", "euicc", "download", "A1", "LPA:1$smdp$SECRET"])
    assert Holder.here(READER).command == "esim-bench euicc download"
    monkeypatch.setattr(sys, "argv", ["esim-bench", "apdu", "A1", "0020000108313233340000FFFF"])
    assert Holder.here(READER).command == "esim-bench apdu"
