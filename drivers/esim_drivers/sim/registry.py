"""The ISD-P registry of a simulated eUICC (SGP.22 2.4.5): which profiles there are, and which one is enabled.

In the NVM, one key each: ``euicc/isdp/<AID>/state``, ``/metadata``, ``/nickname``, ``/issuer`` (the CI under which the
profile came), ``/dp`` (dpProprietaryData), ``/factory``; and ``euicc/enabled``, the AID of the enabled profile.
The files of a profile are the installer's and live under ``isdp/<AID>/``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from esim_bench.codec.es10 import ISDP_AID_PREFIX
from esim_bench.codec.tlv import Tlv, iterate
from esim_bench.errors import CodecError, ConfigError
from esim_bench.ports import PreloadedProfile
from esim_drivers.sim.installer import PeError, ProfileInstaller, remove_profile
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import Personality
from esim_drivers.sim.profile_metadata import ProfileMetadata

ENABLED_KEY = "euicc/enabled"
BEFORE_TEST_KEY = "euicc/before-test"
ROLLBACK_KEY = "iot/rollback"
"""The profile that ES10b.ProfileRollback goes back to; its presence is the authorisation."""
FALLBACK_KEY = "iot/fallback/profile"
"""The profile that has the fallback attribute."""
BEFORE_FALLBACK_KEY = "iot/fallback/before"
"""The profile that was enabled before the fallback; there only while it lasts."""
BEFORE_EMERGENCY_KEY = "iot/emergency/before"
"""The profile that was enabled before the Emergency Profile, if one was; there only while that one is enabled."""
_REMEMBERED = (BEFORE_TEST_KEY, ROLLBACK_KEY, FALLBACK_KEY, BEFORE_FALLBACK_KEY, BEFORE_EMERGENCY_KEY)
_ROOT = "euicc/isdp/"
_FIRST_NUMBER = 0x0010
_LAST_NUMBER = 0xFFFF


class ProfileState(IntEnum):
    """ProfileState (SGP.22, ASN.1)."""

    DISABLED = 0
    ENABLED = 1


@dataclass(frozen=True, slots=True)
class IsdP:
    """One installed profile."""

    aid: bytes
    state: ProfileState
    metadata: ProfileMetadata
    nickname: str | None
    issuer: bytes | None
    """Key identifier of the CI under which it was downloaded; None for a factory profile."""
    dp_data: bytes | None
    """dpProprietaryData (B8) as it came with ConfigureISDP."""
    factory: bool

    @property
    def enabled(self) -> bool:
        """Tell whether it is the enabled profile."""
        return self.state is ProfileState.ENABLED


class Registry:
    """The ISD-Ps in an NVM. It keeps nothing itself; writes join the caller's transaction."""

    def __init__(self, nvm: Nvm) -> None:
        self._nvm = nvm

    # ------------------------------------------------------------------------------------------------ reading

    def profiles(self) -> list[IsdP]:
        """Return all installed profiles by ascending AID."""
        keys = (key for key in self._nvm.keys(_ROOT) if key.endswith("/state"))
        return [self._read(bytes.fromhex(key.split("/")[2])) for key in keys]

    def find(self, aid: bytes | None = None, iccid: bytes | None = None) -> IsdP | None:
        """Return the profile of an ISD-P AID or ICCID."""
        if aid is not None and iccid is None:
            return self._read(aid) if self._nvm.get(_key(aid, "state")) is not None else None
        for profile in self.profiles():
            if profile.aid == aid or profile.metadata.iccid == iccid:
                return profile
        return None

    def enabled(self) -> IsdP | None:
        """Return the enabled profile."""
        aid = self._nvm.get(ENABLED_KEY)
        return self.find(aid=aid) if aid is not None else None

    def free_aid(self) -> bytes:
        """Return the lowest ISD-P AID that is not in use. Raises CodecError when none is left."""
        used = {int.from_bytes(profile.aid[13:15], "big") for profile in self.profiles()}
        for number in range(_FIRST_NUMBER, _LAST_NUMBER + 1):
            if number not in used:
                return isdp_aid(number)
        raise CodecError("no ISD-P AID is free")

    def _read(self, aid: bytes) -> IsdP:
        state, metadata, nickname, issuer, dp_data, factory = map(self._nvm.get, _keys(aid))
        return IsdP(
            aid=aid,
            state=ProfileState(int.from_bytes(state or b"", "big")),
            metadata=_metadata(metadata or b""),
            nickname=nickname.decode() if nickname is not None else None,
            issuer=issuer,
            dp_data=dp_data,
            factory=factory is not None,
        )

    # ------------------------------------------------------------------------------------------------ writing

    def add(
        self,
        aid: bytes,
        metadata: ProfileMetadata,
        *,
        issuer: bytes | None,
        dp_data: bytes | None,
        factory: bool = False,
    ) -> None:
        """Register a profile in state disabled."""
        self._nvm.put(_key(aid, "metadata"), metadata.raw)
        if issuer is not None:
            self._nvm.put(_key(aid, "issuer"), issuer)
        if dp_data is not None:
            self._nvm.put(_key(aid, "dp"), dp_data)
        if factory:
            self._nvm.put(_key(aid, "factory"), b"\x01")
        self._nvm.put(_key(aid, "state"), bytes((ProfileState.DISABLED,)))

    def set_enabled(self, aid: bytes | None) -> None:
        """Make one profile the enabled one (None: none); the one before becomes disabled."""
        with self._nvm.transaction():
            before = self._nvm.get(ENABLED_KEY)
            if before is not None:
                self._nvm.put(_key(before, "state"), bytes((ProfileState.DISABLED,)))
            if aid is None:
                self._nvm.delete(ENABLED_KEY)
            else:
                self._nvm.put(_key(aid, "state"), bytes((ProfileState.ENABLED,)))
                self._nvm.put(ENABLED_KEY, aid)

    def set_nickname(self, aid: bytes, nickname: str) -> None:
        """Give a profile a nickname; an empty one removes it."""
        if nickname:
            self._nvm.put(_key(aid, "nickname"), nickname.encode())
        else:
            self._nvm.delete(_key(aid, "nickname"))

    def remove(self, aid: bytes) -> None:
        """Remove a profile: its files, then all that the registry knows of it."""
        with self._nvm.transaction():
            remove_profile(self._nvm, aid)
            if self._nvm.get(ENABLED_KEY) == aid:
                # With it goes the way back from it.
                for key in (ENABLED_KEY, ROLLBACK_KEY, BEFORE_FALLBACK_KEY, BEFORE_EMERGENCY_KEY):
                    self._nvm.delete(key)
            if self._nvm.get(FALLBACK_KEY) == aid:
                self._nvm.delete(BEFORE_FALLBACK_KEY)
            for key in _REMEMBERED:
                if self._nvm.get(key) == aid:
                    self._nvm.delete(key)
            for key in self._nvm.keys(f"{_ROOT}{aid.hex().upper()}/"):
                self._nvm.delete(key)

    def remembered(self, key: str) -> IsdP | None:
        """Return the profile that is remembered under a key such as ROLLBACK_KEY."""
        aid = self._nvm.get(key)
        return self.find(aid=aid) if aid is not None else None

    # ------------------------------------------------------------------------------------------------ invariants

    def violations(self) -> list[str]:
        """Return what is inconsistent in the registry, as sentences; [] is what has to come out after any power cut."""
        found: list[str] = []
        profiles = self.profiles()
        enabled = [profile.aid for profile in profiles if profile.enabled]
        marked = self._nvm.get(ENABLED_KEY)
        if len(enabled) > 1:
            found.append(f"{len(enabled)} profiles are enabled: {', '.join(aid.hex().upper() for aid in enabled)}")
        if enabled[:1] != ([marked] if marked is not None else []):
            found.append(f"{ENABLED_KEY} is {marked.hex().upper() if marked else 'absent'}, the states say otherwise")
        iccids = [profile.metadata.iccid for profile in profiles]
        if len(dict.fromkeys(iccids)) != len(iccids):
            found.append("two profiles have the same ICCID")
        known = {profile.aid.hex().upper() for profile in profiles}
        for root, part in ((_ROOT, 2), ("isdp/", 1)):
            owners = dict.fromkeys(key.split("/")[part].upper() for key in self._nvm.keys(root))
            found += [f"{root}{owner} belongs to no profile" for owner in owners if owner not in known]
        found += [f"{key} names no profile" for key in _REMEMBERED if self._nvm.get(key) and not self.remembered(key)]
        return found


@lru_cache(maxsize=256)
def _metadata(raw: bytes) -> ProfileMetadata:
    return ProfileMetadata.parse(raw)


def isdp_aid(number: int) -> bytes:
    """Return the AID of the ISD-P with a number: bytes 14 and 15 of the 16."""
    return ISDP_AID_PREFIX + number.to_bytes(2, "big") + b"\x00"


def _key(aid: bytes, name: str) -> str:
    return f"{_ROOT}{aid.hex().upper()}/{name}"


@lru_cache(maxsize=256)
def _keys(aid: bytes) -> list[str]:
    """Return the keys of all that is known of a profile."""
    return [_key(aid, name) for name in ("state", "metadata", "nickname", "issuer", "dp", "factory")]


def preload(
    nvm: Nvm,
    profiles: Sequence[PreloadedProfile],
    personality: Personality,
    installer: Callable[[Nvm, bytes, Personality], ProfileInstaller] = ProfileInstaller,
) -> None:
    """Install the profiles that a card is born with, in order; the last one that says so is the enabled one.

    Raises ConfigError when a profile cannot be installed: the rack names a package that this eUICC refuses.
    """
    registry = Registry(nvm)
    for index, profile in enumerate(profiles):
        where = f"factory profile {index + 1}"
        try:
            metadata = ProfileMetadata.parse(profile.metadata)
            elements: list[Tlv] = list(iterate(profile.package, where))
        except CodecError as exc:
            raise ConfigError(exc.what, where=where, expected=exc.expected, found=exc.found) from exc
        if registry.find(iccid=metadata.iccid) is not None:
            raise ConfigError("two factory profiles with one ICCID", where=where, found=metadata.iccid.hex())
        aid = registry.free_aid()
        with nvm.transaction():
            work = installer(nvm, aid, personality)
            for element in elements:
                try:
                    work.element(element.raw)
                except PeError as exc:
                    raise ConfigError(
                        "the simulated eUICC refuses a profile element",
                        where=where,
                        expected="a package that it supports",
                        found=f"status {exc.status} at element {exc.identification}",
                    ) from exc
            work.finish()
            registry.add(aid, metadata, issuer=None, dp_data=None, factory=True)
            if profile.enabled:
                registry.set_enabled(aid)
