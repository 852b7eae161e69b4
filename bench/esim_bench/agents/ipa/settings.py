"""What an IPA can do and how patient it is: configured, because that is how testers find bad eIMs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from esim_bench.codec.sgp32 import Version
from esim_bench.errors import ConfigError

if TYPE_CHECKING:
    from esim_bench.codec.ipa_data import IpaCapabilities

Binding = Literal["asn1", "json"]

DIRECT: Final = "directRspServerCommunication"
INDIRECT: Final = "indirectRspServerCommunication"
EIM_DOWNLOAD_DATA: Final = "eimDownloadDataHandling"
EIM_CTX_PARAMS1: Final = "eimCtxParams1Generation"
EIM_METADATA: Final = "eimProfileMetadataVerification"
MINIMIZE: Final = "minimizeEsipaBytes"
FEATURES: Final = (DIRECT, INDIRECT, EIM_DOWNLOAD_DATA, EIM_CTX_PARAMS1, EIM_METADATA, MINIMIZE)
"""Those of ``codec.ipa_data``: reading a rack file is no reason to load the codecs."""
ALIASES: Final = {"directRsp": DIRECT, "indirectRsp": INDIRECT}
"""Short names of features, for rack files."""


@dataclass(frozen=True, slots=True)
class IpaSettings:
    """One IPA's abilities and figures. Raises ConfigError for what makes no sense."""

    version: Version = Version.V1_2
    """Of ESipa; what an eUICC or an eIM says is understood in all versions."""
    binding: Binding = "asn1"
    features: tuple[str, ...] = (DIRECT, INDIRECT)
    """Of FEATURES, or ALIASES of them."""
    user_agent: str = "esim-bench"
    """Follows "gsma-rsp-ipad;" in User-Agent; empty: nothing follows."""
    tries: int = 3
    """How often something is tried that the way to a server, or an attachment, may fail."""
    first_delay: float = 2.0
    """Seconds before the second try; each further one waits twice as long, as far as ``longest_delay``."""
    longest_delay: float = 60.0
    timeout: float = 60.0
    """Seconds for one function of ESipa."""
    most_packages: int = 64
    """Packages of one eIM in one poll: an eIM that always has one more is left for the next time."""
    immediate_enable: bool = False
    """Enable a profile as soon as it was downloaded directly, where the eUICC's configuration allows it."""
    fallback_on_loss: bool = True
    """Where a poll finds no connectivity at all, switch to the Fallback Profile, if there is one."""
    network: bytes | None = None
    """rPLMN to tell, 3 bytes as in EF.LOCI; None: not told."""

    def __post_init__(self) -> None:
        """Check the figures, and give features their standard names."""
        features = tuple(dict.fromkeys(ALIASES.get(name, name) for name in self.features))
        unknown = next((name for name in features if name not in FEATURES), None)
        if unknown is not None:
            known = ", ".join((*FEATURES, *ALIASES))
            raise ConfigError("feature of an IPA", expected=f"one of {known}", found=repr(unknown))
        object.__setattr__(self, "features", features)
        if self.tries < 1 or self.most_packages < 1:
            figures = (self.tries, self.most_packages)
            raise ConfigError("tries and packages of an IPA", expected="1 or more", found=figures)
        if self.first_delay < 0 or self.longest_delay < self.first_delay or self.timeout <= 0:
            seconds = (self.first_delay, self.longest_delay, self.timeout)
            raise ConfigError("seconds of an IPA", expected="0 <= first <= longest, timeout > 0", found=seconds)
        if self.network is not None and len(self.network) != 3:
            raise ConfigError("rPLMN", expected="3 bytes", found=self.network.hex())
        if not self.user_agent.isprintable() or not self.user_agent.isascii():
            raise ConfigError("User-Agent of an IPA", expected="printable ASCII", found=repr(self.user_agent))

    def has(self, feature: str) -> bool:
        """Tell whether the IPA has a feature."""
        return feature in self.features

    @property
    def capabilities(self) -> IpaCapabilities:
        """Return what an eIM is told: features, and that packages are fetched over HTTPS."""
        from esim_bench.codec.ipa_data import IpaCapabilities

        return IpaCapabilities(self.features, ("ipaRetrieveHttps",))

    def delays(self) -> Iterator[float]:
        """Yield the seconds to wait before each try: 0 first, no jitter, so that a simulated run repeats itself."""
        yield 0.0
        delay = self.first_delay
        for _ in range(self.tries - 1):
            yield min(delay, self.longest_delay)
            delay *= 2
