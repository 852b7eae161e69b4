"""What a poll did and what went wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from esim_bench.codec import ipa_data
from esim_bench.codec.download_trigger import ProfileDownloadTriggerResult
from esim_bench.codec.es10_results import InstallResult
from esim_bench.codec.esipa_objects import PackageResult, PackageResultError, parse_package_result
from esim_bench.codec.euicc_package import SignedResult, parse_result
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import BenchError, CodecError


@dataclass(frozen=True, slots=True)
class Done:
    """One thing that was done."""

    kind: str
    """"package", "data", "download", "refused" (what the eIM sent made no sense), "rollback", "fallback", "return",
    "immediateEnable", "emergency", or "notification"."""
    eim_id: str = ""
    """Of the eIM that was told; "" where none was."""
    transaction_id: bytes | None = None
    """The eIM's, of the order."""
    results: tuple[str, ...] = ()
    """Names of results, e.g. ("enable ok",); of a download "ok", or what is wrong."""
    raw: bytes = field(default=b"", repr=False)
    """What the eIM was sent."""


@dataclass(slots=True)
class PollReport:
    """What came of a poll."""

    done: list[Done] = field(default_factory=list)
    errors: dict[str, BenchError] = field(default_factory=dict)
    """By eimId; "" for what is no eIM's: notifications that did not get to their servers."""

    def add(self, done: Done) -> None:
        """Note something that was done."""
        self.done.append(done)

    def fail(self, eim_id: str, error: BenchError) -> None:
        """Note the first error of an eIM."""
        self.errors.setdefault(eim_id, error)

    @property
    def ok(self) -> bool:
        """Tell whether nothing went wrong on the way; what an eIM or eUICC refused is a result, not an error."""
        return not self.errors

    def kinds(self) -> list[str]:
        """Return the kinds of what was done, in order."""
        return [one.kind for one in self.done]


def describe(raw: bytes, version: Version) -> tuple[str, ...]:
    """Return an EimPackageResult in names, such as ("enable ok", "delete iccidOrAidNotFound"). Never raises."""
    try:
        match parse_package_result(raw, version):
            case PackageResult() as both:
                result = parse_result(both.result)
                if isinstance(result, SignedResult):
                    return tuple(f"{one.function} {one.name}" for one in result.results)
                return (result.name,)
            case ipa_data.IpaEuiccData():
                return ("ok",)
            case ProfileDownloadTriggerResult() as downloaded if downloaded.install_result is not None:
                installed = InstallResult.parse(downloaded.install_result)
                return ("ok",) if installed.success else (f"{installed.reason} in {installed.command}",)
            case ProfileDownloadTriggerResult() as failed:
                return (failed.error_name,)
            case ipa_data.IpaEuiccDataError() | PackageResultError() as error:
                return (error.name,)
    except CodecError:
        pass
    return ("malformed",)
