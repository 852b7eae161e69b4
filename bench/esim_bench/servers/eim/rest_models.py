"""What the REST API takes: validated JSON, made into what the eIM orders. Loaded with the API alone."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from esim_bench.codec import es10
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.euicc_operations import (
    AddEim,
    ConfigureImmediateEnable,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    Operation,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    UnsetFallbackAttribute,
    UpdateEim,
)
from esim_bench.codec.identifiers import iccid_to_bytes
from esim_bench.codec.ipa_data import TAGS, TAGS_1_0, allowed_tags
from esim_bench.codec.notification_search import Search
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CodecError
from esim_bench.servers.eim.orders import DataOrder, DownloadOrder, Order, PackageOrder

MAX_OPERATIONS: Final = 64
MAX_BASE64: Final = 16 * 1024
MAX_COUNTER: Final = (1 << 62) - 1
MAX_TOKEN: Final = (1 << 63) - 1


def _iccid(text: str) -> str:
    try:
        iccid_to_bytes(text)
    except CodecError as exc:
        raise ValueError(str(exc)) from exc
    return text


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError("not base64") from exc
    return text


Eid = Annotated[str, Field(pattern=r"^[0-9]{32}$", description="32 digits")]
Iccid = Annotated[str, AfterValidator(_iccid), Field(max_length=20, description="18 to 20 digits, as printed")]
Base64 = Annotated[str, AfterValidator(_base64), Field(max_length=MAX_BASE64)]
Hex = Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2})+$", max_length=128)]
Address = Annotated[str, Field(min_length=1, max_length=255)]
EimId = Annotated[str, Field(min_length=1, max_length=128)]


class Model(BaseModel):
    """Unknown members are mistakes, and texts are not numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


# --------------------------------------------------------------------------------------------------------- operations


class _OfProfile(Model):
    iccid: Iccid


class EnableModel(_OfProfile):
    """PSMO enable."""

    op: Literal["enable"]
    rollback: bool = False

    def operation(self) -> Operation:
        """Return what it stands for."""
        return Enable(iccid_to_bytes(self.iccid), self.rollback)


class DisableModel(_OfProfile):
    """PSMO disable."""

    op: Literal["disable"]

    def operation(self) -> Operation:
        """Return what it stands for."""
        return Disable(iccid_to_bytes(self.iccid))


class DeleteModel(_OfProfile):
    """PSMO delete."""

    op: Literal["delete"]

    def operation(self) -> Operation:
        """Return what it stands for."""
        return Delete(iccid_to_bytes(self.iccid))


class ListProfileInfoModel(Model):
    """PSMO listProfileInfo: all profiles, or one; with the usual members, or those of ``tags``."""

    op: Literal["listProfileInfo"]
    iccid: Iccid | None = None
    tags: Hex | None = None

    def operation(self) -> Operation:
        """Return what it stands for."""
        search = iccid_to_bytes(self.iccid) if self.iccid is not None else None
        tags = bytes.fromhex(self.tags) if self.tags is not None else None
        return ListProfileInfo(es10.get_profiles_info(search, tags))


class GetRatModel(Model):
    """PSMO getRAT."""

    op: Literal["getRAT"]

    def operation(self) -> Operation:
        """Return what it stands for."""
        return GetRat()


class ConfigureImmediateEnableModel(Model):
    """PSMO configureImmediateEnable (configureAutoEnable in v1.0)."""

    op: Literal["configureImmediateEnable"]
    enabled: bool = False
    smdp_oid: Annotated[str, Field(pattern=r"^[0-2](\.[0-9]{1,18})+$", max_length=100)] | None = None
    smdp_address: Address | None = None

    def operation(self) -> Operation:
        """Return what it stands for."""
        return ConfigureImmediateEnable(self.enabled, self.smdp_oid, self.smdp_address)


class SetFallbackAttributeModel(_OfProfile):
    """PSMO setFallbackAttribute (v1.1)."""

    op: Literal["setFallbackAttribute"]

    def operation(self) -> Operation:
        """Return what it stands for."""
        return SetFallbackAttribute(iccid_to_bytes(self.iccid))


class UnsetFallbackAttributeModel(Model):
    """PSMO unsetFallbackAttribute (v1.1)."""

    op: Literal["unsetFallbackAttribute"]

    def operation(self) -> Operation:
        """Return what it stands for."""
        return UnsetFallbackAttribute()


class SetDefaultDpAddressModel(Model):
    """PSMO setDefaultDpAddress (v1.1); an empty address removes it."""

    op: Literal["setDefaultDpAddress"]
    address: Annotated[str, Field(max_length=255)]

    def operation(self) -> Operation:
        """Return what it stands for."""
        return SetDefaultDpAddress(self.address)


class AddEimModel(Model):
    """ECO addEim: the EimConfigurationData that the other eIM gave."""

    op: Literal["addEim"]
    configuration: Base64

    def operation(self) -> Operation:
        """Return what it stands for."""
        return AddEim(EimConfigurationData.parse(base64.b64decode(self.configuration)))


class UpdateEimModel(Model):
    """ECO updateEim: an EimConfigurationData of what changes."""

    op: Literal["updateEim"]
    configuration: Base64

    def operation(self) -> Operation:
        """Return what it stands for."""
        return UpdateEim(EimConfigurationData.parse(base64.b64decode(self.configuration)))


class DeleteEimModel(Model):
    """ECO deleteEim."""

    op: Literal["deleteEim"]
    eim_id: EimId

    def operation(self) -> Operation:
        """Return what it stands for."""
        return DeleteEim(self.eim_id)


class ListEimModel(Model):
    """ECO listEim."""

    op: Literal["listEim"]

    def operation(self) -> Operation:
        """Return what it stands for."""
        return ListEim()


OperationModel = Annotated[
    EnableModel
    | DisableModel
    | DeleteModel
    | ListProfileInfoModel
    | GetRatModel
    | ConfigureImmediateEnableModel
    | SetFallbackAttributeModel
    | UnsetFallbackAttributeModel
    | SetDefaultDpAddressModel
    | AddEimModel
    | UpdateEimModel
    | DeleteEimModel
    | ListEimModel,
    Field(discriminator="op"),
]


# ------------------------------------------------------------------------------------------------------------- orders


class PackageModel(Model):
    """An eUICC Package: PSMOs or eCOs, never both."""

    kind: Literal["package"]
    operations: Annotated[list[OperationModel], Field(min_length=1, max_length=MAX_OPERATIONS)]

    def order(self, version: Version) -> Order:
        """Return what it stands for. Raises CodecError."""
        return PackageOrder(tuple(one.operation() for one in self.operations))


class DownloadModel(Model):
    """A profile download: by an activation code, from the default SM-DP+, or by way of an SM-DS."""

    kind: Literal["download"]
    activation_code: SecretStr | None = Field(default=None, max_length=255)
    default_smdp: bool = False
    smds: bool = False
    smds_address: Address | None = None
    held: Annotated[bool, Field(description="The code stays with the eIM (IPAs with eimDownloadDataHandling).")] = False

    @model_validator(mode="after")
    def _one_source(self) -> DownloadModel:
        if (self.activation_code is not None) + self.default_smdp + self.smds != 1:
            raise ValueError("one of activation_code, default_smdp and smds is needed, and no more")
        return self

    def order(self, version: Version) -> Order:
        """Return what it stands for."""
        code = self.activation_code.get_secret_value() if self.activation_code is not None else None
        return DownloadOrder(code, self.default_smdp, self.smds, self.smds_address, self.held)


class DataModel(Model):
    """Data of the eUICC and its IPA (IpaEuiccDataRequest)."""

    kind: Literal["data"]
    tags: Annotated[
        list[str],
        Field(
            min_length=1,
            max_length=16,
            description="Names, or tags in hexadecimal: "
            + ", ".join(f"{name} ({tag:X})" for tag, name in {**TAGS_1_0, **TAGS}.items()),
        ),
    ]
    ci_pk_id: Hex | None = None
    notifications_seq: Annotated[int, Field(ge=0, le=MAX_TOKEN)] | None = None
    notifications_events: list[Literal["install", "enable", "disable", "delete"]] | None = Field(
        default=None, max_length=4
    )
    results_seq: Annotated[int, Field(ge=0, le=MAX_TOKEN)] | None = None

    @model_validator(mode="after")
    def _one_search(self) -> DataModel:
        if self.notifications_seq is not None and self.notifications_events is not None:
            raise ValueError("notifications_seq or notifications_events, not both")
        return self

    def order(self, version: Version) -> Order:
        """Return what it stands for. Raises CodecError."""
        known = allowed_tags(version)
        by_name = {name: tag for tag, name in known.items()} | {f"{tag:X}": tag for tag in known}
        wrong = next((name for name in self.tags if name not in by_name and name.upper() not in by_name), None)
        if wrong is not None:
            raise CodecError("tags", expected=", ".join(known.values()), found=repr(wrong[:40]))
        search = None
        if self.notifications_seq is not None or self.notifications_events is not None:
            events = tuple(self.notifications_events) if self.notifications_events is not None else None
            search = Search(seq=self.notifications_seq, events=events)
        return DataOrder(
            tuple(by_name.get(name) or by_name[name.upper()] for name in self.tags),
            bytes.fromhex(self.ci_pk_id) if self.ci_pk_id is not None else None,
            search,
            self.results_seq,
        )


OrderModel = Annotated[PackageModel | DownloadModel | DataModel, Field(discriminator="kind")]


# ----------------------------------------------------------------------------------------------------------- inventory


class DeviceModel(Model):
    """An eUICC for the inventory; of one that is known, what changes."""

    eid: Eid
    label: Annotated[str, Field(max_length=200)] | None = None
    indirect: Annotated[bool, Field(description="Offer downloads by way of the eIM.")] | None = None
    ci_pk_id: Hex | None = None
    euicc_certificate: Base64 | None = None
    eum_certificate: Base64 | None = None

    @model_validator(mode="after")
    def _both(self) -> DeviceModel:
        if (self.euicc_certificate is None) != (self.eum_certificate is None):
            raise ValueError("euicc_certificate and eum_certificate come together")
        return self

    @property
    def certificates(self) -> tuple[bytes, bytes] | None:
        """Return both certificates, DER."""
        if self.euicc_certificate is None or self.eum_certificate is None:
            return None
        return base64.b64decode(self.euicc_certificate), base64.b64decode(self.eum_certificate)


class ConfigurationModel(Model):
    """What the EimConfigurationData is to say."""

    generate_token: bool = True
    counter: Annotated[int, Field(ge=0, le=MAX_COUNTER)] | None = None


class AssociationModel(Model):
    """What the eUICC answered to AddInitialEim."""

    token: Annotated[int, Field(ge=0, le=MAX_TOKEN)] | None = None
    counter: Annotated[int, Field(ge=0, le=MAX_COUNTER)] | None = None
