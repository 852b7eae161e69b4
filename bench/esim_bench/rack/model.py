"""The rack file: what hangs on the bench, slot by slot."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from esim_bench import data, tomlfile
from esim_bench.agents.ipa.settings import IpaSettings
from esim_bench.errors import ConfigError
from esim_bench.ports import FormFactor, Proof
from esim_bench.rack.network import CONNECT_TIMEOUT, ENVIRONMENT, RETRIES, Network

IotVersion = Literal["1.2", "1.0.1"]
_IOT = "sgp32-"
RACK_VARIABLE = "ESIM_BENCH_RACK"
DEFAULT_RACK = "sim-3"


def _form_factor(value: object) -> object:
    if isinstance(value, str):
        for known in FormFactor:
            if known.value.lower() == value.lower():
                return known
        raise ValueError(f"expected one of {', '.join(known.value for known in FormFactor)}")
    return value


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnownGood(_Table):
    """A ``known_good`` table: the card that the self-test believes to be good, so that what fails is the rig."""

    eid: Annotated[str, Field(pattern=r"^\d{32}$")] | None = None
    iccid: Annotated[str, Field(pattern=r"^\d{18,20}$")] | None = None
    """For a card without eUICC, or one whose ISD-R the slot does not reach."""

    @model_validator(mode="after")
    def _something(self) -> KnownGood:
        if self.eid is None and self.iccid is None:
            raise ValueError("expected eid, iccid, or both")
        return self


class RackHead(_Table):
    """The ``[rack]`` table."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str = ""
    pki: str | None = None
    """Simulated slots get their eUICC certificates from this test PKI (a folder made by ``esim-bench pki init``)."""
    known_good: KnownGood | None = None
    """The bench's good card, which is put into a slot for ``rack check --self-test``."""


class NetworkTable(_Table):
    """The ``[network]`` table: the way to servers outside this process."""

    proxy: Annotated[str, Field(min_length=1)] = ENVIRONMENT
    """"environment", "none", or the URL of a proxy."""
    connect_timeout: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = CONNECT_TIMEOUT
    timeout: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = RETRIES
    binding: Literal["json", "asn1"] = "json"
    """How the LPA speaks ES9+ (SGP.22 6.5, 6.6)."""


class DriverTable(BaseModel):
    """A ``card``, ``modem`` or ``power`` table: the driver's name, and keys that the driver itself checks."""

    model_config = ConfigDict(extra="allow", frozen=True)
    driver: Annotated[str, Field(min_length=1)]

    def settings(self) -> dict[str, Any]:
        """Return the keys that are the driver's own."""
        return dict(self.model_extra or {})


Length = Annotated[float, Field(ge=0.0, le=3600.0, allow_inf_nan=False)]
"""Seconds in a rack file."""


class PowerTable(DriverTable):
    """A ``power`` table: the driver and its keys, and what the rack asks of every cut."""

    proof: Proof | None = None
    """What proves that the power is off; by default what the slot has: reader, meter, boot lines of the module."""
    proof_timeout_s: Annotated[float, Field(gt=0.0, le=3600.0, allow_inf_nan=False)] | None = None
    """How long the proof is waited for; by default 10 s, boot lines as long as the module may take to boot."""
    off_s: Length | None = None
    """The least time without power; by default 2 s."""
    on_s: Length | None = None
    """The least time with power before the next cut; by default 0.5 s."""
    usb: Annotated[str, Field(pattern=r"^\d+-\d+(\.\d+)*$")] | None = None
    """Where the USB device hangs that goes with the power (``1-1.3``), for the proof usb-gone; by default that of the
    modem's port or of the reader."""


class ObserveTable(DriverTable):
    """An entry of a slot's ``observe`` list: the driver of a sniffer, a debug UART or a meter, and its keys."""

    required: bool = False
    """Without it a run says nothing of worth: an observer that does not start, or is lost, makes it ERROR."""


class EimTable(_Table):
    """The ``[eim]`` table: the bench's own eIM (SGP.32)."""

    version: IotVersion | None = None
    """Of what it speaks and signs; by default that of the rack's slots, 1.2 where they differ."""
    binding: Literal["json", "asn1"] = "json"
    """How it speaks ES9+ in indirect downloads."""
    curve: Literal["p256", "brainpool"] | None = None
    """Of its signing key; by default that of the rack's PKI."""


class IpaTable(_Table):
    """A slot's ``ipa`` table: what the IPA in the device does (SGP.32)."""

    version: IotVersion | None = None
    """By default that of a simulated slot's eUICC, else 1.2."""
    binding: Literal["asn1", "json"] = "asn1"
    """How it speaks ESipa."""
    features: list[str] = ["directRsp", "indirectRsp"]
    """What it can do: names of ipaFeatures."""
    immediate_enable: bool = False
    """Enable a profile as soon as it was downloaded directly, where the eUICC's configuration allows it."""
    register_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Seconds that a modem is given to register after each start; then the device goes on without a network."""

    @field_validator("features")
    @classmethod
    def _known_features(cls, value: list[str]) -> list[str]:
        try:
            IpaSettings(features=tuple(value))
        except ConfigError as exc:
            raise ValueError(f"expected {exc.expected}") from exc
        return value


class SimTable(_Table):
    """The ``sim`` table of a simulated slot."""

    personality: str = "standard"
    profile: str | None = None
    """The profile (from profiles/) that the card is born with, enabled."""
    rsp: Annotated[list[Literal["sgp22", "sgp32-1.0.1", "sgp32-1.2"]], Field(min_length=1)] = ["sgp22"]
    """The standards of its eUICC: SGP.22, one version of SGP.32, or both."""
    quirks: dict[str, Any] = {}
    """What its module does beside what its row of hw/modules says: keys of that file's ``[quirks]`` table."""

    @field_validator("quirks")
    @classmethod
    def _known_quirks(cls, value: dict[str, Any]) -> dict[str, Any]:
        data.Quirks.model_validate(value)
        return value

    @field_validator("rsp")
    @classmethod
    def _one_of_each(cls, value: list[str]) -> list[str]:
        if sum(name.startswith(_IOT) for name in value) > 1:
            raise ValueError("expected sgp22, one version of sgp32, or both")
        return value

    @property
    def iot(self) -> IotVersion | None:
        """Return the version of SGP.32 of the eUICC."""
        found = next((name for name in self.rsp if name.startswith(_IOT)), None)
        return None if found is None else "1.0.1" if found == "sgp32-1.0.1" else "1.2"


class SlotSpec(_Table):
    """One device under test."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$")]
    form_factor: Annotated[FormFactor, BeforeValidator(_form_factor)]
    module: str | None = None
    """A name in hw/modules, or the path of such a file (relative to the rack file)."""
    card: DriverTable | None = None
    modem: DriverTable | None = None
    power: PowerTable | None = None
    observe: list[ObserveTable] = []
    """What listens beside the slot; its events come into the same trace."""
    sim: SimTable | None = None
    ipa: IpaTable | None = None
    known_good: KnownGood | None = None
    """Instead of the rack's: a soldered eUICC that is known to be good."""
    protect: bool | None = None
    isd_r: Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}){5,16}$")] | None = None
    """AID of the ISD-R, where the eUICC does not keep to the standard's and a modem stands before it."""

    @property
    def iot(self) -> bool:
        """Tell whether the device has an IPA: its rack file says so, or its simulated eUICC is one for IoT."""
        return self.ipa is not None or (self.sim is not None and self.sim.iot is not None)

    @property
    def iot_version(self) -> IotVersion:
        """Return the version of SGP.32 that the device speaks."""
        if self.ipa is not None and self.ipa.version is not None:
            return self.ipa.version
        return (self.sim.iot if self.sim is not None else None) or "1.2"

    @property
    def simulated(self) -> bool:
        """Tell whether the slot is simulated."""
        return self.sim is not None

    @property
    def protected(self) -> bool:
        """Tell whether destructive commands are refused: the default for every slot that is not simulated."""
        return not self.simulated if self.protect is None else self.protect

    @field_validator("module")
    @classmethod
    def _known_module(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not data.is_module_path(value) and value not in data.module_names():
            raise ValueError(f"expected the path of a .toml file, or one of {', '.join(data.module_names())}")
        return value

    @model_validator(mode="after")
    def _one_way_to_the_card(self) -> SlotSpec:
        if self.sim is not None and (self.card or self.modem or self.power):
            raise ValueError("a simulated slot has no card, modem or power table: expected sim alone")
        if self.sim is not None and self.sim.quirks and self.module is None:
            raise ValueError("quirks are those of a module: expected a module")
        if self.sim is not None and self.observe:
            raise ValueError("nothing real hangs at a simulated slot: expected no observe list")
        if self.sim is None and self.card is None and self.modem is None:
            raise ValueError("no way to the card: expected a card, modem or sim table")
        return self


class RackFile(_Table):
    """A whole rack file."""

    rack: RackHead
    network: NetworkTable = NetworkTable()
    eim: EimTable = EimTable()
    slot: Annotated[list[SlotSpec], Field(min_length=1, max_length=512)]

    @model_validator(mode="after")
    def _unique_names(self) -> RackFile:
        seen: set[str] = set()
        for slot in self.slot:
            if slot.name.lower() in seen:
                raise ValueError(f"slot names must be unique, {slot.name!r} comes twice")
            seen.add(slot.name.lower())
        return self


def _with_module(slot: SlotSpec, rack: Path) -> SlotSpec:
    """Return a slot whose module's file, where it names one, was found and read. Raises ConfigError."""
    if slot.module is None or not data.is_module_path(slot.module):
        return slot
    path = (rack.parent / Path(slot.module).expanduser()).resolve()
    data.module(str(path))
    return slot.model_copy(update={"module": str(path)})


class Rack:
    """A rack file that was read and found good."""

    def __init__(self, path: Path, model: RackFile) -> None:
        self.path = path
        self.name = model.rack.name
        self.head = model.rack
        self.network = Network(**model.network.model_dump())
        self.slots: tuple[SlotSpec, ...] = tuple(_with_module(slot, path) for slot in model.slot)
        self.eim = model.eim

    @property
    def simulated(self) -> bool:
        """Tell whether every slot is simulated, so that virtual time can be used."""
        return all(slot.simulated for slot in self.slots)

    @property
    def eim_version(self) -> IotVersion:
        """Return the version of SGP.32 of the bench's own eIM."""
        versions = {slot.iot_version for slot in self.slots if slot.iot}
        return self.eim.version or (versions.pop() if len(versions) == 1 else "1.2")

    @property
    def pki_dir(self) -> Path | None:
        """Return the folder of the rack's own test PKI, if it names one (relative to the rack file)."""
        return (self.path.parent / self.head.pki) if self.head.pki else None

    def select(self, patterns: Sequence[str] = ()) -> list[SlotSpec]:
        """Return the slots whose names match any of the patterns (``*`` and ``?``), all without patterns.

        Raises ConfigError when a pattern matches no slot.
        """
        if not patterns:
            return list(self.slots)
        chosen: list[SlotSpec] = []
        for pattern in patterns:
            matching = [slot for slot in self.slots if fnmatch.fnmatchcase(slot.name.lower(), pattern.lower())]
            if not matching:
                names = ", ".join(slot.name for slot in self.slots)
                raise ConfigError(
                    "no slot of this name", where=str(self.path), expected=f"one of {names}", found=repr(pattern)
                )
            chosen += [slot for slot in matching if slot not in chosen]
        return sorted(chosen, key=self.slots.index)

    def one(self, name: str) -> SlotSpec:
        """Return the slot of a name. Raises ConfigError when there is none, or several match."""
        found = self.select([name])
        if len(found) != 1:
            raise ConfigError("one slot needed", expected="a single slot", found=", ".join(slot.name for slot in found))
        return found[0]


def load_rack(name: str | os.PathLike[str] | None = None) -> Rack:
    """Read a rack file: by path, or by its name in hw/racks; by default $ESIM_BENCH_RACK, else the packaged one.

    Raises ConfigError: ``file:line: key: what is wrong, what was expected``.
    """
    chosen = os.fspath(name) if name is not None else os.environ.get(RACK_VARIABLE) or DEFAULT_RACK
    path = Path(chosen)
    if not path.exists() and re.fullmatch(r"[A-Za-z0-9_-]+", chosen):
        path = data.rack_file(chosen)
    return Rack(path, tomlfile.validate(RackFile, path, "rack file"))
