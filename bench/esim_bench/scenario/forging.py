"""Packages as an attacker would make them: signed with any key, for any eUICC, with any counter, or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esim_bench.codec import euicc_package, tlv
from esim_bench.codec.euicc_operations import ListProfileInfo, Operation
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto import ecdsa
from esim_bench.crypto.keys import PrivateKey, curve_of, generate
from esim_bench.crypto.randomness import Randomness
from esim_bench.servers.eim import Eim

HARMLESS: Sequence[Operation] = (ListProfileInfo(),)


@dataclass(frozen=True, slots=True)
class Forger:
    """Signs packages as the eIM of an eUICC would; what is told otherwise is the forgery."""

    eim: Eim
    eid: bytes
    randomness: Randomness

    def package(
        self,
        operations: Sequence[Operation] = HARMLESS,
        *,
        eim_id: str | None = None,
        eid: bytes | None = None,
        counter: int | None = None,
        key: PrivateKey | None = None,
        token: int | None = None,
        transaction: bytes | None = None,
        psmo: bool | None = None,
    ) -> bytes:
        """Return an EuiccPackageRequest (BF51). ``token``: another one than the eUICC's. ``psmo``: where no operation
        tells that it is one. Raises CodecError."""
        device = self.eim.device(self.eid)
        signed = euicc_package.package_signed(
            self.eim.credentials.eim_id if eim_id is None else eim_id,
            self.eid if eid is None else eid,
            device.counter if counter is None else counter,
            operations,
            transaction,
            self.eim.version if self.eim.version < Version.V1_2 else Version.V1_2,
            euicc_package.PSMO_LIST if psmo else None,
        )
        data = euicc_package.to_be_signed(signed, device.token if token is None else token)
        signature = ecdsa.sign(key or self.eim.signing_key(self.eid), data, deterministic=self.randomness.deterministic)
        return euicc_package.package_request(signed, signature)

    def stranger(self) -> PrivateKey:
        """Return a key on the eIM's curve that no eUICC was told of."""
        return generate(curve_of(self.eim.signing_key(self.eid)), self.randomness.fork("stranger"))


def flipped(raw: bytes, at: int) -> bytes:
    """Return bytes with the lowest bit of one of them changed."""
    at %= len(raw)
    return raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]


def without_signature(package: bytes) -> bytes:
    """Return a package that ends before its signature, in a whole data object."""
    return tlv.encode(euicc_package.TAG, tlv.parse(package).children()[0].raw)
