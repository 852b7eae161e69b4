"""An SM-DP+ in a process of its own, a slot that downloads from it over TLS by activation code."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-c", "from esim_bench.cli.main import main; main()"]

RACK = """\
[rack]
name = "two"
pki = "pki"

[[slot]]
name = "A1"
form_factor = "4FF"
sim = { personality = "4ff" }
"""


def bench(folder: Path, *arguments: str) -> tuple[int, Any, str]:
    environment = {**os.environ, "ESIM_BENCH_HOME": str(folder / "home")}
    done = subprocess.run(
        [*COMMAND, *arguments, "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, Any]]:
    assert bench(tmp_path, "pki", "init", "pki")[0] == 0
    (tmp_path / "rack.toml").write_text(RACK)
    arguments = [
        "serve",
        "smdp",
        "--pki",
        "pki",
        "--port",
        "0",
        "--profile",
        "operational-a",
        "--matching-id",
        "TEST-1",
        "--json",
    ]
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            text = ""
            for line in process.stdout:
                text += line
                if line.startswith("}"):
                    break
            yield json.loads(text)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0


def test_a_slot_downloads_over_tls(server: dict[str, Any], tmp_path: Path) -> None:
    (code,) = server["activation_codes"]
    exit_code, document, error = bench(
        tmp_path, "euicc", "download", "A1", code, "--tls-roots", server["ca"], "--rack", "rack.toml"
    )
    assert exit_code == 0, error
    assert len(document["installed"]) == 1
    _, profiles, _ = bench(tmp_path, "euicc", "profiles", "A1", "--rack", "rack.toml")
    assert [profile["state"] for profile in profiles] == ["disabled"]


def test_a_server_without_a_known_root_is_refused_with_the_reason(server: dict[str, Any], tmp_path: Path) -> None:
    (code,) = server["activation_codes"]
    exit_code, document, _ = bench(tmp_path, "euicc", "download", "A1", code, "--rack", "rack.toml")
    assert exit_code == 3
    assert "certificate was refused" in document["error"]["message"]
    assert "--tls-roots" in document["error"]["message"]
