"""The command line starts at once: modules are loaded when their command is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from esim_bench.cli.lazy import COMMANDS, load


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says_of_itself(name: str) -> None:
    command = load(name, COMMANDS[name])
    assert command.name == name
    text = " ".join((command.help or "").split())
    assert text.startswith(COMMANDS[name].help)


def test_help_loads_no_codec_and_no_network() -> None:
    script = (
        "import sys\n"
        "from esim_bench.cli.main import invoke\n"
        "assert invoke(['--help']) == 0\n"
        "heavy = {'asn1tools', 'cryptography', 'fastapi', 'httpx', 'pydantic', 'uvicorn'}\n"
        "heavy |= {'ssl', 'asyncio', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_the_web_framework_is_loaded_by_a_served_eim_alone() -> None:
    script = (
        "import sys, esim_bench.cli.serve, esim_bench.servers.eim\nprint({'fastapi', 'starlette'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
