"""EuiccPackageResults that wait in an eUICC for their delivery (SGP.32 2.11.2.1, 5.9.11, 5.9.12).

NVM: ``iot/result/<sequence number>``, each as it was signed. They are numbered by the counter of the notifications.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from esim_bench.codec import euicc_package, tlv
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.sgp32 import SEQUENCE, Members, Version, eim_id, eim_id_of, integer, transaction_id
from esim_bench.codec.sgp32 import transaction_id_of as transaction_of
from esim_drivers.sim.euicc import Euicc
from esim_drivers.sim.notifications import SEQUENCE_KEY

_ROOT = "iot/result/"
_OWNER = "eUICC package in progress"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose package it is: all that its result needs, whatever becomes of the eIM meanwhile."""

    eim_id: str
    counter: int
    transaction: bytes | None
    token: int | None
    """The association token as it was when the package came."""
    ci_pk_id: bytes | None
    """The CI under which the eUICC signs for this eIM."""
    seq: int | None = None
    """The number of its result, once there is one."""

    def encode(self) -> bytes:
        """Return it as it is kept in the memory (30)."""
        return tlv.encode(
            SEQUENCE,
            eim_id(self.eim_id),
            integer(0x81, self.counter),
            transaction_id(0x82, self.transaction),
            integer(0x83, self.seq) if self.seq is not None else b"",
            integer(0x84, self.token) if self.token is not None else b"",
            tlv.encode(0x88, self.ci_pk_id) if self.ci_pk_id is not None else b"",
        )

    @classmethod
    def parse(cls, raw: bytes) -> Owner:
        """Read it. Raises CodecError."""
        members = Members.of(raw, SEQUENCE, _OWNER)
        name, counter = eim_id_of(members.take(0x80)), members.take(0x81).integer()
        transaction = transaction_of(members.optional(0x82))
        seq, token, ci = members.optional(0x83), members.optional(0x84), members.optional(0x88)
        return cls(
            name,
            counter,
            transaction,
            token.integer() if token else None,
            ci.value if ci else None,
            seq.integer() if seq else None,
        )


class PackageResults:
    """The stored results. It keeps nothing in RAM; writes join the caller's transaction."""

    def __init__(self, euicc: Euicc, version: Version) -> None:
        self._euicc = euicc
        self._version = version

    # ------------------------------------------------------------------------------------------------ reading

    def all(self) -> list[bytes]:
        """Return all of them (BF51), the oldest first."""
        nvm = self._euicc.nvm
        return [nvm.get(key) or b"" for key in nvm.keys(_ROOT)]

    def find(self, seq: int) -> bytes | None:
        """Return the one of a sequence number."""
        return self._euicc.nvm.get(_key(seq))

    # ------------------------------------------------------------------------------------------------ writing

    def remove(self, seq: int) -> bool:
        """Remove one; False when there is none of that number."""
        found = self.find(seq) is not None
        self._euicc.nvm.delete(_key(seq))
        return found

    def make(self, owner: Owner, results: list[OperationResult], *, stored: bool = True) -> tuple[Owner, bytes]:
        """Sign a result under the next sequence number and store it; return the owner with that number, and the BF51.

        One that is not ``stored`` can only be had as the answer of the running command. Raises MemoryFailure.
        """
        nvm = self._euicc.nvm
        number = int.from_bytes(nvm.get(SEQUENCE_KEY) or b"", "big")
        owner = replace(owner, seq=number)
        signed = euicc_package.result_signed(
            owner.eim_id, owner.counter, number, results, owner.transaction, self._version
        )
        raw = euicc_package.signed_result(signed, self.sign(owner, signed))
        nvm.put(SEQUENCE_KEY, (number + 1).to_bytes(4, "big"))
        if stored:
            self._make_room(len(raw))
            nvm.put(_key(number), raw)
        return owner, raw

    def _make_room(self, size: int) -> None:
        """Drop the oldest ones until another one finds room.

        A single one always finds it, as the notification of a deleted profile does: a full card must be able to say so.
        """
        nvm, most = self._euicc.nvm, self._euicc.personality.max_package_results
        free = self._euicc.services.free_memory
        keys = nvm.keys(_ROOT)
        while keys and (len(keys) >= most or free < size):
            free += len(nvm.get(keys[0]) or b"")
            nvm.delete(keys.pop(0))

    # ------------------------------------------------------------------------------------------------ signing

    def sign(self, owner: Owner, signed: bytes) -> bytes:
        """Return the signature, r || s, over a signed part and the eIM's association token."""
        identity = self._euicc.signing(owner.ci_pk_id)
        signature = self._euicc.sign(identity, euicc_package.to_be_signed(signed, owner.token))
        return tlv.parse(signature).value

    def error(self, owner: Owner, code: int) -> bytes:
        """Return a signed error (BF51); nothing is stored."""
        signed = euicc_package.error_signed(owner.eim_id, owner.counter, code, owner.transaction, self._version)
        return euicc_package.signed_error(signed, self.sign(owner, signed))

    def violations(self) -> list[str]:
        """Return what is inconsistent, as sentences."""
        nvm = self._euicc.nvm
        following = int.from_bytes(nvm.get(SEQUENCE_KEY) or b"", "big")
        found: list[str] = []
        for key in nvm.keys(_ROOT):
            result = euicc_package.parse_result(nvm.get(key) or b"")
            number = int(key.removeprefix(_ROOT))
            if not isinstance(result, euicc_package.SignedResult) or result.seq != number or number >= following:
                found.append(f"{key} holds another result")
            if nvm.get(f"notification/{number:010d}") is not None:
                found.append(f"{number} is the number of a result and of a notification")
        return found


def _key(seq: int) -> str:
    return f"{_ROOT}{seq:010d}"
