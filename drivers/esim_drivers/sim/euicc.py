"""What all functions of a simulated eUICC share: who it is, what it keeps, its signatures, and the time they take."""

from __future__ import annotations

from dataclasses import dataclass

from esim_bench.codec.tlv import encode
from esim_bench.crypto import ecdsa
from esim_bench.crypto.identity import CiKey, EuiccIdentity, SigningIdentity
from esim_bench.crypto.keys import PublicKey
from esim_bench.crypto.randomness import Randomness
from esim_bench.ports import FormFactor
from esim_drivers.sim.application import CardServices
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import Personality

SIGNATURE = 0x5F37


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
    seconds: float = 0.0

    @property
    def nvm(self) -> Nvm:
        """Return the persistent memory."""
        return self.services.nvm

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
