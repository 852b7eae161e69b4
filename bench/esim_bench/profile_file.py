"""Profiles as files: the readable ones of profiles/, in TOML, and packages in DER."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from esim_bench import tomlfile
from esim_bench.codec.saip.build import BuiltProfile, build_profile
from esim_bench.codec.saip.document import ProfileError
from esim_bench.codec.saip.package import MAX_PACKAGE, ProfilePackage
from esim_bench.errors import CodecError, ConfigError

Hex = Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2})*$", max_length=65536)]
Digits = Annotated[str, Field(pattern=r"^[0-9]+$", max_length=20)]
Attempts = Annotated[int, Field(ge=1, le=15)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Identity(_Table):
    """The ``[profile]`` table: what the profile is, and whose."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    provider: Annotated[str, Field(min_length=1, max_length=32)]
    profile_class: Annotated[Literal["operational", "provisioning", "test"], Field(alias="class")] = "operational"
    version: Annotated[str, Field(pattern=r"^[0-9]{1,2}\.[0-9]{1,2}$")] = "2.3"
    """Of the package format: what an eUICC must support to install it."""
    iccid: Digits
    imsi: Digits
    mcc: Digits
    mnc: Digits
    spn: Annotated[str, Field(min_length=1, max_length=16)]
    msisdn: Annotated[str, Field(pattern=r"^\+?[0-9]{3,20}$")] | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")] = "en"
    emergency: Annotated[list[Digits], Field(min_length=1, max_length=16)] = ["112"]
    fallback_allowed: bool = False
    """Whether an eIM may make it the Fallback Profile of an IoT eUICC (SGP.32)."""
    ecall: bool = False
    """Whether it is the Emergency Profile of an IoT eUICC (SGP.32)."""


class Aka(_Table):
    """The ``[aka]`` table: the algorithm that answers the network, and its keys. Test keys only."""

    algorithm: Literal["milenage", "usim-test"]
    k: Hex
    opc: Hex | None = None


class Code(_Table):
    """A ``[[pin]]`` or ``[[puk]]``."""

    name: str
    value: Digits
    attempts: Attempts | None = None


class PinCode(Code):
    """A ``[[pin]]``: PIN1, PIN2, ADM1 to ADM10."""

    enabled: bool = True


class Notification(_Table):
    """A ``[[notification]]``: on what the eUICC reports to whom."""

    events: Annotated[list[Literal["install", "enable", "disable", "delete"]], Field(min_length=1)]
    address: Annotated[str, Field(min_length=1, max_length=255)]


class Ota(_Table):
    """The ``[ota]`` table: the AES key set of the operator's security domain. Test keys only."""

    version: Annotated[int, Field(ge=1, le=15)] = 1
    kic: Hex
    kid: Hex
    kik: Hex


class Connectivity(_Table):
    """The ``[connectivity]`` table: how an IoT device reaches the network with this profile."""

    apn: Annotated[str, Field(min_length=1, max_length=99)]
    user: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    password: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class File(_Table):
    """One file of ``[files]``; an empty table creates it as its template has it."""

    hex: Hex | None = None
    text: Annotated[str, Field(max_length=4096)] | None = None
    records: Annotated[list[Hex], Field(max_length=254)] | None = None
    size: Annotated[int, Field(ge=1, le=32767)] | None = None
    """Bytes; of a file of records, how many of them. Default: the template's, or what the content needs."""
    record_length: Annotated[int, Field(ge=1, le=255)] | None = None


class ProfileFile(_Table):
    """A profile file. See profiles/README.md."""

    profile: Identity
    aka: Aka
    pin: list[PinCode]
    puk: list[Code] = []
    notification: list[Notification] = []
    ota: Ota | None = None
    connectivity: Connectivity | None = None
    files: dict[str, File] = {}

    def document(self) -> dict[str, Any]:
        """Return the tables as ``build_profile`` takes them."""
        return self.model_dump(by_alias=True, exclude_none=True)


def load_profile(path: Path) -> BuiltProfile:
    """Read a profile file and build the profile. Raises ConfigError: ``file:line: key: what is wrong``."""
    check_size(path, "profile file")
    document = tomlfile.validate(ProfileFile, path, "profile file").document()
    try:
        return build_profile(document)
    except ProfileError as exc:
        _, text = tomlfile.load(path, "profile file")
        raise ConfigError(f"{path}:{tomlfile.line_of(text, exc.key)}: {exc}") from exc
    except CodecError as exc:
        raise ConfigError(str(exc), where=str(path)) from exc


def read_package(path: Path, *, deep: bool = False, ordered: bool = True) -> ProfilePackage:
    """Read a profile package, as ``ProfilePackage.parse`` does. Raises ConfigError, CodecError naming the file."""
    check_size(path, "profile package")
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"cannot read the profile package: {exc.strerror}", where=str(path)) from exc
    try:
        return ProfilePackage.parse(data, deep=deep, ordered=ordered)
    except CodecError as exc:
        where = f"{path}: {exc.where}" if exc.where else str(path)
        raise CodecError(exc.what, expected=exc.expected, found=exc.found, where=where, hint=exc.hint) from exc


def check_size(path: Path, what: str) -> None:
    """Refuse what can't be a profile before it is read. Raises ConfigError."""
    try:
        status = path.stat()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise ConfigError(f"cannot read the {what}: {reason}", where=str(path)) from exc
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"cannot read the {what}", where=str(path), expected="a file", found="something else")
    if status.st_size > MAX_PACKAGE:
        raise ConfigError(
            f"{what} too large", where=str(path), expected=f"at most {MAX_PACKAGE} bytes", found=status.st_size
        )
