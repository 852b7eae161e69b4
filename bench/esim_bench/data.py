"""The bench's own data: eSIM profiles in profiles/, racks and modules in hw/; found in a checkout, an editable install
and a wheel. And the dialect model: what differs from one module to another, read by the AT driver and by the simulated
modem alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from esim_bench import tomlfile
from esim_bench.errors import ConfigError, RigError
from esim_bench.quirks import NetworkManners as NetworkManners
from esim_bench.quirks import Quirks as Quirks

# ---------------------------------------------------------------------------------------------------- the folders


@cache
def root() -> Path:
    """Return the folder that holds profiles/ and hw/. Raises RigError when the installation lacks them."""
    packaged = Path(str(resources.files("esim_bench"))) / "_data"
    checkout = Path(__file__).resolve().parents[2]
    for place in (packaged, checkout):
        if (place / "hw" / "modules").is_dir() and (place / "profiles").is_dir():
            return place
    raise RigError(
        "profiles/ and hw/ are missing",
        expected=f"them in {packaged} or in {checkout}",
        hint="install esim-bench again, or run it from a complete checkout",
    )


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles in profiles/, sorted."""
    return _names("profiles")


def module_names() -> tuple[str, ...]:
    """Return the names of the modules in hw/modules, sorted."""
    return _names("hw/modules")


def rack_names() -> tuple[str, ...]:
    """Return the names of the racks in hw/racks, sorted."""
    return _names("hw/racks")


def profile_file(name: str) -> Path:
    """Return the file of a profile by its name. Raises ConfigError, listing the names."""
    return _file("profiles", name, "profile")


def rack_file(name: str) -> Path:
    """Return the file of a rack by its name. Raises ConfigError, listing the names."""
    return _file("hw/racks", name, "rack")


def module_file(name: str) -> Path:
    """Return the file of a module by its name. Raises ConfigError, listing the names."""
    return _file("hw/modules", name, "module")


def module(name: str) -> Dialect:
    """Return the dialect of a module: a name in hw/modules, or the path of such a file.

    Raises ConfigError: ``file:line: key: what is wrong``.
    """
    return read_dialect(Path(name)) if is_module_path(name) else _packaged_module(name)


def is_module_path(name: str) -> bool:
    """Tell whether a module is named by the path of its file."""
    return name.endswith(".toml")


@cache
def _packaged_module(name: str) -> Dialect:
    return read_dialect(module_file(name))


def read_dialect(path: Path) -> Dialect:
    """Read a dialect file. Raises ConfigError: ``file:line: key: what is wrong``."""
    return tomlfile.validate(Dialect, path, "module file")


def _names(folder: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (root() / folder).glob("*.toml")))


def _file(folder: str, name: str, what: str) -> Path:
    names = _names(folder)
    if name not in names:
        raise ConfigError(f"unknown {what}", expected=f"one of {', '.join(names) or 'none there'}", found=repr(name))
    return root() / folder / f"{name}.toml"


# ---------------------------------------------------------------------------------------------------- the dialect

Seconds = Annotated[float, Field(ge=0.0, le=3600.0, allow_inf_nan=False)]
Line = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x20-\x7e]+$")]
CmeError = Annotated[int, Field(ge=0, le=65535)] | Literal["ERROR"]
"""How a module refuses: the number of a +CME ERROR (27.007 9.2), or a bare ERROR."""


USUAL_LIMITS: Final = {"+COPS": 180.0, "+CFUN": 30.0, "+CGATT": 140.0, "+CUSD": 60.0, "+CMGS": 120.0}
"""Seconds after which commands are given up that makers allow more time than others."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Urc(_Table):
    """An unsolicited line, ``at_s`` seconds after what causes it."""

    line: Line
    at_s: Seconds = 0.0


def dialect_toml(tables: Mapping[str, Any]) -> str:
    """Write a module file. Raises ConfigError where the tables are not those of a dialect."""
    try:
        Dialect.model_validate(tables)
    except ValidationError as exc:
        wrong = exc.errors(include_url=False)[0]
        key = ".".join(map(str, wrong["loc"]))
        raise ConfigError("not a module file", found=f"{key}: {wrong['msg']}") from exc
    lines = [f"{key} = {_toml(value)}" for key, value in tables.items() if not isinstance(value, Mapping)]
    for name, table in tables.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        inner = [_toml(one) for one in value]
        return "[\n" + "".join(f"  {one},\n" for one in inner) + "]" if len(inner) > 1 else f"[{''.join(inner)}]"
    # Strings, numbers and booleans of JSON are those of TOML.
    return json.dumps(value, ensure_ascii=False)


class AtManners(_Table):
    """The ``[at]`` table: how the line itself behaves."""

    echo: bool = True
    """Whether commands are echoed after a boot."""
    line_limit: Annotated[int, Field(ge=40, le=65536)] | None = None
    """The most characters of one command line, its CR not counted; None: more than any APDU needs."""
    baud: Annotated[int, Field(ge=300)] | None = None
    """Speed of a UART; None: a USB port, where characters take no time."""
    answer_s: Seconds = 0.005
    """What any answer takes."""
    jitter_s: Seconds = 0.005
    """What an answer may take longer, by chance."""
    timeout_s: Seconds = 15.0
    """When a plain command is given up."""
    apdu_timeout_s: Seconds = 120.0
    """When an APDU is given up: key generation and installation take their time, a few hundred ms are not enough."""
    errors: Literal["plain", "numeric", "verbose"] = "plain"
    """+CMEE after a boot."""
    test_commands: bool = True
    """Whether ``=?`` of the APDU commands answers OK; it says nothing of whether they work."""
    limits: dict[Annotated[str, Field(pattern=r"^[+%#^$*!][A-Z0-9]+$")], Seconds] = {}
    """When single commands are given up, by name (``"+COPS"``), beyond what ``USUAL_LIMITS`` says."""
    urcs: tuple[Line, ...] = ()
    """Beginnings of unsolicited lines, beyond the usual ones and the ones that the tables below name."""


class Boot(_Table):
    """The ``[boot]`` table: from power on (or reset) to a SIM that is ready."""

    port_s: Seconds
    """From when commands are taken; what comes earlier is lost."""
    sim_s: Seconds
    """When the modem powers the SIM."""
    ready_s: Seconds
    """When the SIM is ready (``+CPIN: READY``) at the earliest."""
    cfun: Literal[0, 1, 4] = 1
    """+CFUN after a boot; with 0 the SIM stays without power until somebody sends AT+CFUN=1."""
    jitter_s: Seconds = 0.0
    """How much later each of these may come, by chance; enough of it changes the order of the lines."""
    urcs: tuple[Urc, ...] = ()
    """Lines of a boot with a SIM; ``at_s`` counts from power on."""
    timeout_s: Seconds = 60.0
    """When waiting for all this is given up."""

    @model_validator(mode="after")
    def _in_order(self) -> Boot:
        if not self.sim_s <= self.ready_s:
            raise ValueError("expected sim_s <= ready_s")
        return self


class SimAccess(_Table):
    """The ``[sim]`` table: how a host reaches the card."""

    access: Literal["ccho", "csim", "none", "probe"]
    """``ccho``: AT+CCHO, AT+CGLA, AT+CCHC; ``csim``: AT+CSIM alone, with channels; ``none``: neither reaches an
    application; ``probe``: nobody knows, and the driver finds out by trying. A simulated module of ``probe`` has all.
    """
    csim: bool = True
    """Whether AT+CSIM works at all."""
    csim_channels: bool = True
    """Whether AT+CSIM reaches logical channels other than the basic one."""
    handle: Literal["counter", "hex16"] = "counter"
    """Looks of the session handle: a number, or 16 hexadecimal digits. It is opaque, never a channel number."""
    bare_handle: bool = False
    """Whether the answer to AT+CCHO is the handle alone, without ``+CCHO:``."""
    quoted: bool = True
    """Whether hexadecimal text in answers stands in quotes."""
    cchc: Literal["ok", "prefix", "none"] = "ok"
    """AT+CCHC: a bare OK, an extra ``+CCHC`` line before it, or no such command."""
    cchc_unknown: Literal["ok", "error"] = "error"
    """What AT+CCHC says to a handle that is not open."""
    max_data: Annotated[int, Field(ge=16, le=255)] = 255
    """The most command data bytes (Lc) that work; the line limit may allow less."""
    get_response: Literal["host", "modem"] = "host"
    """Who follows 61xx and 6Cxx."""
    proactive_status: Literal["kept", "hidden"] = "hidden"
    """What the host sees of 91xx: itself, or 9000. The modem fetches the command in any case."""
    blocked_aids: tuple[Annotated[str, Field(pattern=r"^([0-9A-F]{2}){5,16}$")], ...] = ()
    """Applications that the firmware refuses to open, by the beginning of their AIDs."""
    open_tries: Annotated[int, Field(ge=1, le=100)] = 10
    """How often opening an application is tried: right after a switch the card is not ready for it."""
    open_wait_s: Seconds = 0.25
    least_data: Annotated[int, Field(ge=1, le=255)] = 32
    """Shorter blocks than this are not tried where a module turns out to refuse those of ``max_data``."""
    close_at_start: tuple[Annotated[int, Field(ge=1, le=19)], ...] | None = None
    """Handles or channels to close when the card is attached: left open by others they hang some modems. None: handles
    1 to 3 where they are numbers, nothing else.
    """
    reset: Literal["cfun", "reboot", "none"] = "cfun"
    """What resets the SIM: AT+CFUN=0 and =1, the reboot command (the whole modem), or nothing but a loss of power."""
    reboot_command: Line = "AT+CFUN=1,1"
    iccid_command: Line = "AT+CCID"
    select_command: Line | None = None
    """Chooses the SIM of this slot where the module has several; taken in AT+CFUN=0 at the latest."""
    hot_plug: bool = True
    """Whether a card that is inserted is noticed; if not, the SIM's power is switched (AT+CFUN) until one is there."""
    urcs: tuple[Urc, ...] = ()
    """Lines of a SIM that comes up again (CFUN=1, REFRESH); ``at_s`` counts from its power or reset."""
    removed_urcs: tuple[Line, ...] = ()
    """Lines when the card is pulled."""
    inserted_urcs: tuple[Line, ...] = ()
    """Lines when a card is inserted, before those of a SIM that comes up."""
    absent_urcs: tuple[Line, ...] = ()
    """Lines when the SIM is powered and there is no card."""
    restart_s: Seconds = 2.0
    """From power or reset of the SIM until it is ready again, outside of a boot."""
    refresh_s: Seconds = 0.5
    """From the REFRESH that was fetched until the modem resets the SIM; sessions die then."""


class Switch(_Table):
    """The ``[switch]`` table: what a module needs beside the reset of its SIM to live with another profile."""

    prepare: tuple[Line, ...] = ()
    """Commands before the first reset of the SIM, as the choice of a generic operator configuration; a refused one
    is no error.
    """
    iccid_s: Seconds = 15.0
    """How long after a reset the module may go on telling the ICCID of the profile before."""


class Expect(_Table):
    """The ``[expect]`` table: what comes of a test of eSIM functions through this module."""

    access: Literal["works", "none"] = "works"
    cause: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Why there is no access."""

    @model_validator(mode="after")
    def _none_has_a_cause(self) -> Expect:
        if (self.access == "none") != (self.cause is not None):
            raise ValueError("expected a cause with access none, and with nothing else")
        return self


class Refusals(_Table):
    """The ``[errors]`` table: how the module refuses."""

    unknown: CmeError = "ERROR"
    parameters: CmeError = 50
    no_application: CmeError = 13
    blocked: CmeError = 3
    no_channel: CmeError = 20
    dead_session: CmeError = 50
    csim_channel: CmeError = 0
    sim_off: CmeError = 13
    sim_busy: CmeError = 14
    no_sim: CmeError = 10
    sim_failure: CmeError = 13
    pin: CmeError = 11
    line_too_long: CmeError = "ERROR"


class PowerTimes(_Table):
    """The ``[power]`` table: PWR_ON and RESET_N pulls in milliseconds, the rest in seconds."""

    on_pull_ms: Annotated[int, Field(ge=0, le=60000)] | None = None
    off_pull_ms: Annotated[int, Field(ge=0, le=60000)] | None = None
    reset_hold_ms: Annotated[int, Field(ge=0, le=60000)] | None = None
    minimum_awake_s: Seconds = 0.0
    """How long the module must have been up before it is switched off in order."""
    power_down_s: Seconds = 0.0
    """How long an orderly power-down takes at most."""
    down_command: Line | None = None
    """The command that powers the module down in order."""
    down_urc: Line | None = None
    """The line that ends an orderly power-down; the supply must stay until then."""


class Dialect(_Table):
    """One module: who it says it is, how it speaks, how long things take. A file of hw/modules."""

    manufacturer: Line
    model: Line
    revision: Line = "unknown"
    integrated: bool = False
    """Whether the eUICC is inside the module's SoC (an iSIM)."""
    source: Annotated[str, Field(min_length=1)]
    """Where the row comes from, and which of it is an estimate."""
    notes: tuple[str, ...] = ()
    """What else is known of this module."""
    at: AtManners = AtManners()
    boot: Boot
    sim: SimAccess
    switch: Switch = Switch()
    expect: Expect = Expect()
    errors: Refusals = Refusals()
    power: PowerTimes = PowerTimes()
    network: NetworkManners = NetworkManners()
    quirks: Quirks = Quirks()
    """For the simulated module alone."""

    @field_validator("notes")
    @classmethod
    def _notes_say_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(note.strip() for note in value):
            raise ValueError("expected text in each note")
        return value

    @model_validator(mode="after")
    def _a_way_to_the_card(self) -> Dialect:
        if self.sim.access == "csim" and not (self.sim.csim and self.sim.csim_channels):
            raise ValueError("sim.access is csim: expected csim and csim_channels to be true")
        if self.sim.access == "none" and self.expect.access != "none":
            raise ValueError("sim.access is none: expected an [expect] table that says so, with the cause")
        return self

    @property
    def urc_prefixes(self) -> tuple[str, ...]:
        """Return the beginnings of all lines that this module sends unasked: what stands before the colon, or all."""
        lines = [urc.line for urc in (*self.boot.urcs, *self.sim.urcs)]
        lines += (*self.sim.removed_urcs, *self.sim.inserted_urcs, *self.sim.absent_urcs, *self.quirks.noise)
        if self.power.down_urc is not None:
            lines.append(self.power.down_urc)
        return tuple(dict.fromkeys((*self.at.urcs, *_heads(lines))))


def _heads(lines: Sequence[str]) -> list[str]:
    return [line.split(":", 1)[0] + ":" if ":" in line else line for line in lines]
