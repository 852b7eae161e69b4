"""What all functions of a simulated eUICC share: who it is, what it keeps, its signatures, and the time they take."""

from __future__ import annotations

from dataclasses import dataclass, field

from esim_bench.codec.sgp32 import Version
from esim_bench.codec.tlv import encode, parse_all
from esim_bench.crypto import ecdsa
from esim_bench.crypto.identity import CiKey, EuiccIdentity, SigningIdentity
from esim_bench.crypto.keys import PublicKey
from esim_bench.crypto.randomness import Randomness
from esim_bench.ports import FormFactor
from esim_drivers.sim.application import CardServices
from esim_drivers.sim.iot.standards import CONSUMER_ONLY, Standards
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import Personality

SIGNATURE = 0x5F37
_LPA_SUPPORT, _IPA_SUPPORT = 0x83, 0x84
"""Members of TERMINAL CAPABILITY."""


class StatusError(Exception):
    """A function ends with a bare status word instead of a response."""

    def __init__(self, sw: int) -> None:
        super().__init__(f"{sw:04X}")
        self.sw = sw


@dataclass(slots=True)
class Euicc:
    """One eUICC; ``seconds`` adds up what the running command costs besides its bytes and its NVM writes."""

    services: CardServices
    identity: EuiccIdentity
    personality: Personality
    randomness: Randomness
    form_factor: FormFactor
    standards: Standards = CONSUMER_ONLY
    ipae_activated: bool = False
    """Whether IpaeActivation has handed over to the IPA in the eUICC, until the next reset (SGP.32 3.8.4)."""
    seconds: float = 0.0

    nvm: Nvm = field(init=False)
    """The persistent memory."""

    def __post_init__(self) -> None:
        """Find the memory: it is asked for dozens of times in each command."""
        self.nvm = self.services.nvm

    @property
    def knows_ecall(self) -> bool:
        """Tell whether profiles with ecallIndication are Emergency Profiles to it (SGP.32 1.1 and later)."""
        return self._is_iot(Version.V1_2) and self.personality.ecall_supported

    @property
    def knows_fallback(self) -> bool:
        """Tell whether it has the fallback mechanism (SGP.32 1.1 and later)."""
        return self._is_iot(Version.V1_2) and self.personality.fallback_supported

    def _is_iot(self, version: Version) -> bool:
        return self.standards.iot is not None and self.standards.iot >= version

    @property
    def ipae_active(self) -> bool:
        """Tell whether its own IPA is the active one (SGP.32 3.8.2, 3.8.4): the device has named none, or handed over.

        A device with an LPA is in charge of an eUICC that is a consumer one as well.
        """
        if not self.personality.ipae_supported or not self._is_iot(Version.V1_2):
            return False
        claims = {_IPA_SUPPORT: 0x01, _LPA_SUPPORT: 0xFF if self.standards.consumer else 0x00}
        declared = parse_all(self.services.terminal_capability or b"", "TERMINAL CAPABILITY")
        named = any(item.value[:1] and item.value[0] & claims.get(item.tag, 0) for item in declared)
        return self.ipae_activated or not named

    def take_seconds(self) -> float:
        """Return the time since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    def signing(self, ci_key_id: bytes | None) -> SigningIdentity:
        """Return the signing identity of a CI, or the preferred one when there is none of that CI."""
        for one in self.identity.signing:
            if one.ci_key_id == ci_key_id:
                return one
        return self.identity.signing[0]

    def can_sign_for(self, ci_key_id: bytes) -> bool:
        """Tell whether a CI is in euiccCiPKIdListForSigning."""
        return any(one.ci_key_id == ci_key_id for one in self.identity.signing)

    def trusted(self, ci_key_id: bytes | None) -> CiKey | None:
        """Return the CI key of euiccCiPKIdListForVerification with that identifier."""
        return next((ci for ci in self.identity.trusted if ci.key_id == ci_key_id), None)

    def sign(self, signing: SigningIdentity, data: bytes) -> bytes:
        """Sign with SK.EUICC.ECDSA; returns the TLV 5F37."""
        self.seconds += self.personality.sign_seconds
        signature = ecdsa.sign(signing.private_key, data, deterministic=self.randomness.deterministic)
        return encode(SIGNATURE, signature)

    def verify(self, public_key: PublicKey, signature: bytes, data: bytes) -> None:
        """Verify r || s. Raises CryptoError."""
        self.seconds += self.personality.verify_seconds
        ecdsa.verify(public_key, signature, data)
