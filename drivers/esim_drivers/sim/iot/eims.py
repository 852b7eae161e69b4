"""The eIMs that are associated with an eUICC (SGP.32 2.11.1.1.1, 5.9.4, 5.9.18, and the eCOs of 2.11.1.1).

NVM, for each eIM: ``iot/eim/<eimId, UTF-8 in hexadecimal>/config`` (EimConfigurationData without counter and token),
``/counter`` (the last accepted counterValue, 8 bytes) and ``/token`` where one was made; and ``iot/tokens``, the number
of the last association token. That one never goes back: an eIM that is deleted and associated again has another token,
so that no package of its first life holds in its second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from esim_bench.codec.eim_configuration import GENERATE_TOKEN, EimConfigurationData, EimIdInfo, KeyData
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto.keys import PublicKey, curve_of
from esim_bench.crypto.x509 import Certificate
from esim_bench.errors import CodecError, CryptoError
from esim_drivers.sim.euicc import Euicc

OK = 0
INSUFFICIENT_MEMORY = 1
EIM_NOT_FOUND = 1
NOTHING_TO_DELETE = 1
ALREADY_EXISTS = 2
LAST_EIM_DELETED = 2
CI_PK_UNKNOWN = 3
INVALID_ASSOCIATION_TOKEN = 5
COUNTER_VALUE_OUT_OF_RANGE = 6
COMMAND_ERROR = 7

TOKENS_KEY = "iot/tokens"
_ROOT = "iot/eim/"
_NUMBER_BYTES = 8
_STORED = Version.V1_3
"""In the memory an eIM keeps all members that any version has."""


@dataclass(frozen=True, slots=True)
class Eim:
    """One associated eIM."""

    configuration: EimConfigurationData
    """Without counter and token."""
    counter: int
    """The last accepted counterValue, at first the one of the association."""
    token: int | None

    @property
    def eim_id(self) -> str:
        """Return the eimId."""
        return self.configuration.eim_id

    def public_key(self) -> PublicKey | None:
        """Return the key that verifies its packages, None when it was associated without one. Raises CodecError."""
        key = self.configuration.public_key
        return public_key(key) if key is not None else None

    def shown(self) -> EimConfigurationData:
        """Return what GetEimConfigurationData tells: no counter, but the token."""
        return replace(self.configuration, association_token=self.token)


class Refused(Exception):
    """A configuration is refused with a code of addEim, updateEim or AddInitialEim."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Eims:
    """The associated eIMs. It keeps nothing in RAM; writes join the caller's transaction."""

    def __init__(self, euicc: Euicc) -> None:
        self._euicc = euicc

    # ------------------------------------------------------------------------------------------------ reading

    def all(self) -> list[Eim]:
        """Return all of them, by ascending eimId."""
        keys = self._euicc.nvm.keys(_ROOT)
        return [self._read(key.removesuffix("/config")) for key in keys if key.endswith("/config")]

    def find(self, eim_id: str) -> Eim | None:
        """Return one of them."""
        root = _root(eim_id)
        return self._read(root) if self._euicc.nvm.get(f"{root}/config") is not None else None

    @property
    def count(self) -> int:
        """Return how many there are."""
        return sum(key.endswith("/config") for key in self._euicc.nvm.keys(_ROOT))

    def listed(self) -> tuple[EimIdInfo, ...]:
        """Return them as listEim does."""
        return tuple(EimIdInfo(one.eim_id, one.configuration.id_type) for one in self.all())

    def _read(self, root: str) -> Eim:
        nvm = self._euicc.nvm
        token = nvm.get(f"{root}/token")
        return Eim(
            configuration=_parsed(nvm.get(f"{root}/config") or b""),
            counter=int.from_bytes(nvm.get(f"{root}/counter") or b"", "big"),
            token=int.from_bytes(token, "big") if token is not None else None,
        )

    # ------------------------------------------------------------------------------------------------ writing

    def set_counter(self, eim_id: str, counter: int) -> None:
        """Store the counterValue of an accepted package."""
        self._put(_root(eim_id), "counter", counter)

    def add_initial(self, configurations: Sequence[EimConfigurationData]) -> list[int | None]:
        """Associate the first eIMs, all or none; return the token of each. Raises Refused, and MemoryFailure."""
        if self.count:
            raise Refused(ALREADY_EXISTS)
        with self._euicc.nvm.transaction():
            return [self._add(configuration) for configuration in configurations]

    def add(self, configuration: EimConfigurationData) -> int | None:
        """Associate one by addEim; return its token. Raises Refused, and MemoryFailure.

        Other than the first eIMs, which may be there for downloads only, it must have a key.
        """
        if configuration.public_key is None:
            raise Refused(COMMAND_ERROR)
        with self._euicc.nvm.transaction():
            return self._add(configuration)

    def _add(self, configuration: EimConfigurationData) -> int | None:
        who, nvm = self._euicc.personality, self._euicc.nvm
        if self.find(configuration.eim_id) is not None:
            raise Refused(ALREADY_EXISTS)
        self._check(configuration)
        if configuration.counter is None:
            raise Refused(COMMAND_ERROR)
        if configuration.association_token not in (None, GENERATE_TOKEN):
            raise Refused(INVALID_ASSOCIATION_TOKEN)
        if self.count >= who.max_eims:
            raise Refused(INSUFFICIENT_MEMORY)
        stored = self._stored(configuration)
        root = _root(configuration.eim_id)
        nvm.put(f"{root}/config", stored)
        self._put(root, "counter", configuration.counter)
        if configuration.association_token is None:
            return None
        token = int.from_bytes(nvm.get(TOKENS_KEY) or b"", "big") + 1
        nvm.put(TOKENS_KEY, token.to_bytes(_NUMBER_BYTES, "big"))
        self._put(root, "token", token)
        return token

    def update(self, changes: EimConfigurationData) -> None:
        """Change the members that are there, by updateEim. Raises Refused, and MemoryFailure."""
        old = self.find(changes.eim_id)
        if old is None:
            raise Refused(EIM_NOT_FOUND)
        if changes == EimConfigurationData(changes.eim_id) or changes.association_token is not None:
            raise Refused(COMMAND_ERROR)
        self._check(changes)
        if changes.counter is not None and changes.counter < old.counter and not _is_new_key(changes, old):
            # Whoever could lower it under the same key could send old packages again.
            raise Refused(COMMAND_ERROR)
        names = ("fqdn", "id_type", "public_key", "tls_key", "protocols", "ci_pk_id", "proprietary")
        changed = {name: getattr(changes, name) for name in names if getattr(changes, name) is not None}
        new = replace(
            old.configuration,
            indirect_download=changes.indirect_download or old.configuration.indirect_download,
            **changed,
        )
        stored = self._stored(new)
        root = _root(changes.eim_id)
        with self._euicc.nvm.transaction():
            if new != old.configuration:
                self._euicc.nvm.put(f"{root}/config", stored)
            if changes.counter is not None:
                self._put(root, "counter", changes.counter)

    def delete(self, eim_id: str) -> int:
        """Forget one by deleteEim: ok, eimNotFound, or lastEimDeleted where none is left."""
        if self.find(eim_id) is None:
            return EIM_NOT_FOUND
        with self._euicc.nvm.transaction():
            for key in self._euicc.nvm.keys(f"{_root(eim_id)}/"):
                self._euicc.nvm.delete(key)
        return OK if self.count else LAST_EIM_DELETED

    def reset(self) -> int:
        """Forget all of them (eUICCMemoryReset, 5.9.5): ok 0, nothingToDelete 1."""
        keys = self._euicc.nvm.keys(_ROOT)
        with self._euicc.nvm.transaction():
            for key in keys:
                self._euicc.nvm.delete(key)
        return OK if keys else NOTHING_TO_DELETE

    # ------------------------------------------------------------------------------------------------ checks

    def _check(self, configuration: EimConfigurationData) -> None:
        """Check the members that are there. Raises Refused."""
        ci_pk_id, counter = configuration.ci_pk_id, configuration.counter
        if ci_pk_id is not None and not self._euicc.can_sign_for(ci_pk_id):
            raise Refused(CI_PK_UNKNOWN)
        if counter is not None and counter > self._euicc.personality.eim_counter_limit:
            raise Refused(COUNTER_VALUE_OUT_OF_RANGE)
        if configuration.public_key is not None:
            try:
                public_key(configuration.public_key)
            except CodecError as exc:
                raise Refused(COMMAND_ERROR) from exc

    def _stored(self, configuration: EimConfigurationData) -> bytes:
        """Return what the memory keeps. Raises Refused for members that no eIM has, and where there is no room."""
        try:
            stored = replace(configuration, counter=None, association_token=None).encode(_STORED)
        except CodecError as exc:
            raise Refused(COMMAND_ERROR) from exc
        if len(stored) > self._euicc.services.free_memory:
            raise Refused(INSUFFICIENT_MEMORY)
        return stored

    def _put(self, root: str, name: str, number: int) -> None:
        self._euicc.nvm.put(f"{root}/{name}", number.to_bytes(_NUMBER_BYTES, "big"))

    def violations(self) -> list[str]:
        """Return what is inconsistent, as sentences; [] is what has to come out after any power cut."""
        nvm = self._euicc.nvm
        found: list[str] = []
        last = int.from_bytes(nvm.get(TOKENS_KEY) or b"", "big")
        roots = dict.fromkeys(key.rpartition("/")[0] for key in nvm.keys(_ROOT))
        tokens: list[int] = []
        for root in roots:
            if nvm.get(f"{root}/config") is None or nvm.get(f"{root}/counter") is None:
                found.append(f"{root} is not whole")
                continue
            eim = self._read(root)
            if _root(eim.eim_id) != root:
                found.append(f"{root} holds the eIM {eim.eim_id}")
            if eim.counter > self._euicc.personality.eim_counter_limit:
                found.append(f"the counter of {eim.eim_id} is {eim.counter}")
            if eim.token is not None:
                tokens.append(eim.token)
        if any(not 0 < token <= last for token in tokens) or len(dict.fromkeys(tokens)) != len(tokens):
            found.append(f"association tokens {tokens}, of {last} that were made")
        if len(roots) > self._euicc.personality.max_eims:
            found.append(f"{len(roots)} eIMs are associated")
        return found


@lru_cache(maxsize=64)
def public_key(key: KeyData) -> PublicKey:
    """Return the public key of an eimPublicKeyData. Raises CodecError unless it is one on a curve of RSP."""
    try:
        if key.certificate:
            return Certificate.load(key.der).public_key
        found = serialization.load_der_public_key(key.der)
        if not isinstance(found, ec.EllipticCurvePublicKey):
            raise CodecError("public key", expected="one of an elliptic curve", found=type(found).__name__)
        curve_of(found)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise CodecError("public key", expected="SubjectPublicKeyInfo", found=key.der[:8].hex()) from exc
    except CryptoError as exc:
        raise CodecError(exc.what, expected=exc.expected, found=exc.found) from exc
    return found


def _is_new_key(changes: EimConfigurationData, old: Eim) -> bool:
    if changes.public_key is None:
        return False
    before = old.public_key()
    return before is None or public_key(changes.public_key).public_numbers() != before.public_numbers()


@lru_cache(maxsize=64)
def _parsed(raw: bytes) -> EimConfigurationData:
    return EimConfigurationData.parse(raw)


def _root(eim_id: str) -> str:
    return f"{_ROOT}{eim_id.encode().hex().upper()}"
