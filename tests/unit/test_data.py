"""profiles/ and hw/ are found, and what is wrong in a module's row is said with file, line and key."""

from pathlib import Path

import pytest

from esim_bench import data
from esim_bench.errors import ConfigError


def test_the_folders_are_found() -> None:
    assert (data.root() / "hw" / "modules").is_dir()
    assert data.rack_file("sim-3").name == "sim-3.toml"
    assert "sim-3" in data.rack_names()
    assert {"quectel-eg25", "sequans-gm02s", "sim-generic"} <= set(data.module_names())


@pytest.mark.parametrize("find", [data.module_file, data.rack_file])
@pytest.mark.parametrize("name", ["nobody", "../racks/sim-3", "", "/etc/passwd"])
def test_an_unknown_name_lists_the_known_ones(find: object, name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected one of (?!none there)"):
        find(name)  # type: ignore[operator]


@pytest.mark.parametrize("name", data.module_names())
def test_every_module_is_a_dialect(name: str) -> None:
    dialect = data.module(name)
    assert dialect.source
    assert dialect.boot.timeout_s > dialect.boot.ready_s
    assert data.module(name) is dialect


def test_lines_that_a_module_sends_unasked_are_known_by_their_beginnings() -> None:
    assert {"RDY", "+QIND:", "+QUSIM:", "+CPIN:", "POWERED DOWN"} <= set(data.module("quectel-eg25").urc_prefixes)


GOOD = """manufacturer = "M"
model = "X"
source = "a test"
[boot]
port_s = 1.0
sim_s = 1.0
ready_s = 2.0
[sim]
access = "ccho"
"""


def test_a_row_needs_little(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    dialect = data.read_dialect(path)
    assert dialect.sim.reset == "cfun"
    assert dialect.at.echo


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'access = "ccho"',
            'access = "ccha"',
            "x.toml:9: sim.access: Input should be 'ccho', 'csim', 'none' or 'probe', found 'ccha'",
        ),
        ('model = "X"', 'modell = "X"', "x.toml:2: modell: unknown key"),
        ('model = "X"\n', "", "model: missing"),
        ("ready_s = 2.0", "ready_s = 0.5", "sim_s <= ready_s"),
        ("ready_s = 2.0", "ready_s = -1", "x.toml:7: boot.ready_s: "),
        ("ready_s = 2.0", "ready_s = nan", "x.toml:7: boot.ready_s: "),
        ('access = "ccho"', 'access = "csim"\ncsim = false', "csim and csim_channels to be true"),
        ('access = "ccho"', 'access = "ccho"\nblocked_aids = ["A0"]', "sim.blocked_aids.0: "),
        ('model = "X"', "model = ", "x.toml:2: not valid TOML"),
        ('model = "X"', 'model = "a\\nb"', "x.toml:2: model: "),
    ],
)
def test_a_wrong_row_says_where_and_why(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "x.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        data.read_dialect(path)
    assert message in str(caught.value)
