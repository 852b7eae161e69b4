"""What can be ordered of an eUICC and its IPA, and how an order is kept: as the bytes that will go out, unsigned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from esim_bench.codec import ipa_data, tlv
from esim_bench.codec.download_trigger import ProfileDownloadTrigger
from esim_bench.codec.euicc_operations import Operation, Psmo, UnknownOperation, parse_eco, parse_psmo
from esim_bench.codec.euicc_package import ECO_LIST, PSMO_LIST
from esim_bench.codec.ipa_data import IpaEuiccDataRequest
from esim_bench.codec.notification_search import Search
from esim_bench.codec.sgp32 import SEQUENCE, Version
from esim_bench.errors import CodecError

PACKAGE: Final = "package"
DOWNLOAD: Final = "download"
DATA: Final = "data"
CERTIFICATE_TAGS: Final = (0xA5, 0xA6)
"""EUM and eUICC certificate in a tag list."""
INFO_TAGS: Final = (0xBF20, 0xBF22, 0xA8, 0xA9)
"""EUICCInfo1, EUICCInfo2, ipaCapabilities, deviceInfo."""


@dataclass(frozen=True, slots=True)
class PackageOrder:
    """An eUICC Package: PSMOs or eCOs, never both, executed in order up to the first that fails."""

    operations: tuple[Operation, ...]

    def encode(self, version: Version) -> bytes:
        """Return the list (A0 or A1). Raises CodecError."""
        kinds = {isinstance(operation, Psmo) for operation in self.operations}
        if len(kinds) != 1 or any(isinstance(operation, UnknownOperation) for operation in self.operations):
            raise CodecError("operations of a package", expected="one or more PSMOs, or one or more eCOs")
        tag = PSMO_LIST if kinds.pop() else ECO_LIST
        return tlv.encode(tag, *(operation.encode(version) for operation in self.operations))

    @classmethod
    def parse(cls, body: bytes) -> PackageOrder:
        """Read what ``encode`` made. Raises CodecError."""
        item = tlv.parse(body, "operations")
        parse_one = parse_psmo if item.tag == PSMO_LIST else parse_eco
        return cls(tuple(parse_one(child, Version.V1_3) for child in item.children()))


@dataclass(frozen=True, slots=True)
class DownloadOrder:
    """A ProfileDownloadTrigger: by an activation code, from the default SM-DP+, or by way of an SM-DS."""

    activation_code: str | None = None
    default_smdp: bool = False
    smds: bool = False
    smds_address: str | None = None
    held: bool = False
    """The activation code stays with the eIM: the trigger is empty and the relay adds address and MatchingID (for IPAs
    with eimDownloadDataHandling)."""

    def trigger(self, transaction: bytes | None) -> ProfileDownloadTrigger:
        """Return the trigger as it goes out."""
        if self.held:
            return ProfileDownloadTrigger(transaction_id=transaction)
        return ProfileDownloadTrigger(
            self.activation_code, self.default_smdp, self.smds, self.smds_address, transaction
        )  # fmt: skip

    def encode(self, version: Version) -> bytes:
        """Return it for the store: 30 { BF54, 80 NULL where the code is held }. Raises CodecError."""
        sources = (self.activation_code is not None) + self.default_smdp + self.smds
        if sources != 1 or (self.held and self.activation_code is None):
            found = "none" if not sources else "several, or a held one without activation code"
            raise CodecError("source of a download", expected="activation code, default SM-DP+ or SM-DS", found=found)
        held = tlv.encode(0x80, b"") if self.held else b""
        return tlv.encode(SEQUENCE, replace(self, held=False).trigger(None).encode(), held)

    @classmethod
    def parse(cls, body: bytes) -> DownloadOrder:
        """Read what ``encode`` made. Raises CodecError."""
        trigger, *held = tlv.parse(body, "download").children()
        source = ProfileDownloadTrigger.parse(trigger.raw)
        return cls(source.activation_code, source.default_smdp, source.smds, source.smds_address, bool(held))


@dataclass(frozen=True, slots=True)
class DataOrder:
    """An IpaEuiccDataRequest."""

    tags: tuple[int, ...]
    """Of ``ipa_data.allowed_tags`` of the version."""
    ci_pk_id: bytes | None = None
    """Whose certificates are meant: key identifier of a CI."""
    notifications: Search | None = None
    """Which notifications; None: all."""
    results: int | None = None
    """Sequence number of one EuiccPackageResult; None: all."""

    def request(self, transaction: bytes | None = None) -> IpaEuiccDataRequest:
        """Return the request as it goes out."""
        return IpaEuiccDataRequest(self.tags, self.ci_pk_id, self.notifications, self.results, transaction)

    def encode(self, version: Version) -> bytes:
        """Return it for the store: a BF52. Raises CodecError, also for tags that the version does not allow."""
        request = self.request()
        wrong = request.wrong_tags(version)
        if wrong or not self.tags:
            expected = ", ".join(f"{tag:X}" for tag in ipa_data.allowed_tags(version))
            raise CodecError("tag list", expected=expected, found=" ".join(f"{tag:X}" for tag in wrong) or "nothing")
        return request.encode(version)

    @classmethod
    def parse(cls, body: bytes) -> DataOrder:
        """Read what ``encode`` made. Raises CodecError."""
        request = IpaEuiccDataRequest.parse(body)
        return cls(request.tags, request.ci_pk_id, request.notifications, request.package_results_seq)


Order = PackageOrder | DownloadOrder | DataOrder


def kind_of(order: Order) -> str:
    """Return PACKAGE, DOWNLOAD or DATA."""
    return PACKAGE if isinstance(order, PackageOrder) else DOWNLOAD if isinstance(order, DownloadOrder) else DATA


@lru_cache(maxsize=128)
def parse_order(kind: str, body: bytes) -> Order:
    """Read a kept order. Raises CodecError."""
    if kind == PACKAGE:
        return PackageOrder.parse(body)
    return DownloadOrder.parse(body) if kind == DOWNLOAD else DataOrder.parse(body)


def introduction_order(ci_pk_id: bytes | None = None, *, all_of_it: bool = True) -> DataOrder:
    """Return the request for the chain by which results are verified, and for what downloads by way of the eIM need."""
    return DataOrder((*CERTIFICATE_TAGS, *INFO_TAGS) if all_of_it else CERTIFICATE_TAGS, ci_pk_id)


def results_order(version: Version) -> DataOrder:
    """Return the request for all results that the eUICC still has."""
    if version < Version.V1_2:
        return DataOrder((*CERTIFICATE_TAGS, 0xBF2B), notifications=Search(package_results=True))
    return DataOrder((0xA2,))
