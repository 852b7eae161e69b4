"""What surrounds the slots of a rack: a test PKI, an SM-DP+ in the same process, and the way to it.

On a simulated rack all of it comes from the seed. Each slot draws from a source of its own, so that its trace is the
same whether it runs alone or among sixty-four.
"""

from __future__ import annotations

import hashlib
import os
import random
from functools import cached_property
from pathlib import Path

from esim_bench import clock, data
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.eim_configuration import KeyData
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip import ProfilePackage
from esim_bench.codec.saip.build import BuiltProfile
from esim_bench.codec.sgp32 import Version
from esim_bench.crypto import keys
from esim_bench.crypto.certificates import Certificate
from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.keys import Curve, PrivateKey
from esim_bench.crypto.randomness import Randomness, SeededRandomness, SystemRandomness
from esim_bench.errors import RigError
from esim_bench.events import EventSink, NullSink
from esim_bench.ports import Bearer, PreloadedProfile
from esim_bench.profile_file import load_profile, read_package
from esim_bench.rack.bearer import HttpsBearer, InProcessBearer, RoutingBearer
from esim_bench.rack.model import Rack, SlotSpec
from esim_bench.rack.source import ProfileOrder, ProfileSource
from esim_bench.servers.asgi import AsgiApp, Receive, Scope, Send
from esim_bench.servers.eim import Eim, EimCredentials, SqliteEimStore
from esim_bench.servers.eim.relay import Relay
from esim_bench.servers.pki import Pki, create_pki, load_pki, make_eid
from esim_bench.servers.smdp import Smdp, SmdpCredentials, SqliteStore

SMDP_ADDRESS = "testsmdpplus1.example.com"
EIM_ADDRESS = "testeim1.example.com"
SECOND_EIM_ADDRESS = "testeim2.example.com"
EIM_ADDRESSES = (EIM_ADDRESS, SECOND_EIM_ADDRESS)
"""Names of the eIMs of this process, and at the same time their eimIds."""
_CURVES = {"p256": Curve.P256, "brainpool": Curve.BRAINPOOL}


def is_own(address: str) -> bool:
    """Tell whether an SM-DP+ address (``host[:port]``) is the one that the bench answers itself."""
    return address.rpartition(":")[0].lower() == SMDP_ADDRESS if ":" in address else address.lower() == SMDP_ADDRESS


class World:
    """The servers of a bench and the identities of its simulated eUICCs."""

    def __init__(self, rack: Rack, seed: str, *, tls_roots: Path | None = None) -> None:
        self.rack = rack
        self.seed = seed
        self.tls_roots = tls_roots
        self.simulated = rack.simulated
        self._randomness: Randomness = SeededRandomness(f"{seed}:world") if rack.simulated else SystemRandomness()
        self._orders: dict[ProfileSource, ProfileOrder] = {}
        self._eims: dict[str, Eim] = {}
        self._eim_folder: Path | None = None
        self._eim_shift = 0

    # -------------------------------------------------------------------------------------------------- randomness

    def randomness(self, slot: str) -> Randomness:
        """Return a slot's own source of challenges and keys."""
        return SeededRandomness(f"{self.seed}:{slot}") if self.simulated else SystemRandomness()

    def rng(self, slot: str) -> random.Random:
        """Return a slot's own source of timing jitter and the like."""
        return random.Random(f"{self.seed}:{slot}") if self.simulated else random.SystemRandom()

    # --------------------------------------------------------------------------------------------------------- pki

    @cached_property
    def pki(self) -> Pki:
        """Return the test PKI: the rack's own folder, or one made from the seed."""
        if self.rack.pki_dir is not None:
            return load_pki(self.rack.pki_dir)
        return create_pki(
            SeededRandomness(f"{self.seed}:pki"), curve=Curve.P256, hosts=[SMDP_ADDRESS], now_ns=clock.VIRTUAL_EPOCH_NS
        )

    def identity(self, slot: str) -> EuiccIdentity:
        """Return the identity of a simulated slot's eUICC; its EID depends on the slot's name alone."""
        number = int.from_bytes(hashlib.sha256(slot.encode()).digest()[:5], "big") % 10**12
        return self.pki.issue_euicc(make_eid(number), SeededRandomness(f"{self.seed}:{slot}:identity"))

    @property
    def ci_key_id(self) -> bytes:
        """Return the key identifier of the CI under which our SM-DP+ signs, 20 bytes."""
        return self.pki.ci_key.key_id

    # ------------------------------------------------------------------------------------------------------ SM-DP+

    @cached_property
    def smdp(self) -> Smdp:
        """Return the SM-DP+ of this process."""
        return Smdp(
            SmdpCredentials.from_pki(self.pki),
            SqliteStore(":memory:"),
            self._randomness,
            [SMDP_ADDRESS],
            self.now_ns,
        )

    def now_ns(self) -> int:
        """Return the time by which the servers judge certificates, ns since 1970.

        In virtual time a PKI from a folder may be younger than the virtual epoch: then time starts with it, so that the
        same folder and seed give the same traces.
        """
        return clock.wall_ns() + (self._epoch_shift if clock.is_virtual() else 0)

    @cached_property
    def _epoch_shift(self) -> int:
        pki = self.pki
        youngest = max(
            Certificate.load(certificate).not_before
            for certificate in (pki.ci.certificate, pki.smdp_auth.certificate, pki.smdp_pb.certificate)
        )
        # A day on: the eUICC certificates that are issued from the folder must have begun as well.
        return max(0, int(youngest.timestamp() + 86_400) * 1_000_000_000 - clock.VIRTUAL_EPOCH_NS)

    def serves(self, address: str) -> bool:
        """Tell whether an address (``host[:port]``) is that of the SM-DP+ of this process."""
        return is_own(address)

    def bearer(self, sink: EventSink, pin: KeyData | None = None, *, keep: bool = False) -> Bearer:
        """Return a slot's way to the servers: to our own in this process, to others over HTTPS.

        ``pin``: the key or certificate by which the server is known (trustedPublicKeyDataTls); None: the roots decide.
        ``keep``: connections are kept until ``hang_up``.
        """
        hosts = {SMDP_ADDRESS: self.smdp.app, **{name: self._eim_app(name) for name in EIM_ADDRESSES}}
        own = InProcessBearer(hosts, sink)
        https = HttpsBearer(sink, roots=self.tls_roots, network=self.rack.network, pin=pin, keep=keep)
        return RoutingBearer(dict.fromkeys(hosts, own), https)

    # --------------------------------------------------------------------------------------------------------- eIMs

    def eim(self, name: str = EIM_ADDRESS) -> Eim:
        """Return an eIM of this process, one of EIM_ADDRESSES; it is made when it is first asked for."""
        if name not in self._eims:
            kept = self._eim_folder / f"{name}.sqlite" if self._eim_folder is not None else ":memory:"
            self._eims[name] = self.make_eim(name, SqliteEimStore(kept))
        return self._eims[name]

    def keep_eims(self, folder: Path) -> None:
        """Have the eIMs go on from what they left in a folder, and leave it there; ``close`` the world in the end.

        Each process's virtual time begins anew; theirs goes on behind what they have noted. Raises ConfigError.
        """
        if self._eims:
            raise RigError("an eIM is at work already", hint="keep_eims comes first")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._eim_folder = folder
        if clock.is_virtual():
            latest = max((_latest_ns(self.eim(name)) for name in EIM_ADDRESSES), default=0)
            self._eim_shift = max(0, latest + 1_000_000_000 - self.now_ns())

    def eim_now_ns(self) -> int:
        """Return the time of the eIMs, ns since 1970."""
        return self.now_ns() + self._eim_shift

    def close(self) -> None:
        """Close what is kept in files."""
        for eim in self._eims.values():
            eim.store.close()
        self._eims.clear()

    def make_eim(self, name: str, store: SqliteEimStore) -> Eim:
        """Make an eIM with a name of EIM_ADDRESSES over a store. Raises ConfigError."""
        randomness = self._randomness.fork("eim", name)
        pair = self.pki.eim if name == EIM_ADDRESS else None
        # A PKI of other people may have no eIM, and no key of the CI to make one: the bare key does as well.
        curve = _CURVES.get(self.rack.eim.curve or "", self.pki.curve)
        if pair is not None and keys.curve_of(pair.key) is not curve:
            pair = None
        key = pair.key if pair is not None else self._eim_key(name, curve, randomness.fork("key"))
        credentials = EimCredentials(
            name,
            name,
            key,
            certificate=pair.certificate if pair is not None else None,
            tls=KeyData(self.pki.tls_root, certificate=True),
        )
        bearer = self.bearer(NullSink())
        return Eim(
            credentials,
            store,
            randomness,
            self.eim_now_ns,
            trusted_cis=(self.pki.ci_key,),
            version=Version.from_text(self.rack.eim_version),
            relay=Relay(bearer, self.rack.eim.binding, device=store.find_device, now_ns=self.eim_now_ns),
            bearer=bearer,
            check_dates=not clock.is_virtual(),
        )

    def _eim_key(self, name: str, curve: Curve, randomness: Randomness) -> PrivateKey:
        if self._eim_folder is None or randomness.deterministic:
            return keys.generate(curve, randomness)
        # eUICCs know the key: it must be the same next time.
        path = self._eim_folder / f"{name}.{curve.value}.pem"
        if not path.exists():
            made = keys.private_to_pem(keys.generate(curve, randomness))
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(made)
        return keys.load_private(path.read_bytes(), str(path))

    def _eim_app(self, name: str) -> AsgiApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self.eim(name).app(scope, receive, send)

        return app

    async def order(self, source: ProfileSource) -> ProfileOrder:
        """Have a profile ready for download: released at our SM-DP+ as a test order, or as the activation code says."""
        if source not in self._orders:
            self._orders[source] = self._prepare(source)
        return self._orders[source]

    def _prepare(self, source: ProfileSource) -> ProfileOrder:
        if source.activation_code is not None:
            code = ActivationCode.parse(source.activation_code)
            return ProfileOrder(code, None, None, f"profile of {code.address}")
        built = packaged(source.package) if source.package else factory_profile(source.profile or "operational-a")
        package = ProfilePackage.parse(built.upp)
        matching_id = "BENCH-" + hashlib.sha256(built.upp + built.metadata).hexdigest()[:16].upper()
        self.smdp.release(
            built.upp, built.metadata, matching_id, confirmation_code=source.confirmation_code, test_order=True
        )
        code = ActivationCode(
            SMDP_ADDRESS, matching_id, confirmation_code_required=source.confirmation_code is not None
        )
        return ProfileOrder(code, package.iccid, package.imsi, Metadata.parse(built.metadata).profile_name)

    # ----------------------------------------------------------------------------------------------------- factory

    def preload(self, slot: SlotSpec) -> list[PreloadedProfile]:
        """Return the profiles that a simulated slot's card is born with."""
        if slot.sim is None or slot.sim.profile is None:
            return []
        built = factory_profile(slot.sim.profile)
        return [PreloadedProfile(built.metadata, built.upp, enabled=True)]


def _latest_ns(eim: Eim) -> int:
    times = [time for one in eim.devices() for time in (one.added_ns, one.seen_ns or 0, one.retry_ns)]
    times += [time for one in eim.orders() for time in (one.created_ns, one.sent_ns or 0, one.closed_ns or 0)]
    return max(times, default=0)


def factory_profile(name: str) -> BuiltProfile:
    """Build a profile of profiles/ by its name. Raises ConfigError, CodecError."""
    return load_profile(data.profile_file(name))


def packaged(path: Path) -> BuiltProfile:
    """Read a profile package, or build a profile file, and give it metadata. Raises ConfigError, CodecError."""
    if path.suffix == ".toml":
        return load_profile(path)
    package = read_package(path, deep=True)
    events = ("install", "enable", "disable", "delete")
    metadata = Metadata(
        iccid=package.iccid,
        service_provider="esim-bench",
        profile_name=(package.profile_type or path.stem)[:64],
        profile_class="operational",
        notifications=((events, SMDP_ADDRESS),),
    )
    return BuiltProfile(upp=package.raw, metadata=metadata.encode())
