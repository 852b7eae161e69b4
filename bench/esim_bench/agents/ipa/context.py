"""What the parts of an IPA share: the card, the journal, the ways to its eIMs, and how a new profile is brought up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from esim_bench.agents.ipa.esipa_client import EsipaClient
from esim_bench.agents.ipa.iot_card import IotCard
from esim_bench.agents.ipa.settings import DIRECT, IpaSettings
from esim_bench.agents.ipa.state import Keeper, StateStore
from esim_bench.agents.lpa import Lpa
from esim_bench.codec.eim_configuration import EimConfigurationData, KeyData
from esim_bench.errors import AgentError, TransportError
from esim_bench.ports import Bearer

BearerFor = Callable[[KeyData | None], Bearer]
"""Makes the way to an eIM from its trustedPublicKeyDataTls; None: the device's CAs decide."""
_FQDN = 2


class Context:
    """One device: one IPA on one card."""

    def __init__(
        self,
        lpa: Lpa,
        bearer_for: BearerFor,
        settings: IpaSettings,
        state: StateStore,
        recover: Callable[[], Awaitable[None]],
        connected: Callable[[], Awaitable[bool]],
    ) -> None:
        self.lpa = lpa
        self.card = IotCard(lpa, settings.version)
        self.settings = settings
        self.keeper = Keeper(state)
        self.recover = recover
        self.connected = connected
        self.eid = b""
        """Of the card that is in the device now; read at the begin of each poll."""
        self.eims: tuple[EimConfigurationData, ...] = ()
        """Associated eIMs as last read."""
        self._bearer_for = bearer_for
        self._clients: dict[tuple[str, KeyData | None], EsipaClient] = {}

    @property
    def direct(self) -> bool:
        """Tell whether the IPA speaks to SM-DP+s itself."""
        return self.settings.has(DIRECT)

    async def look(self) -> None:
        """Read who the eUICC is, which journal is its own, and which eIMs it has."""
        self.eid = await self.card.eid()
        self.keeper.open(self.eid)
        self.eims = await self.card.eims()

    def client(self, eim: EimConfigurationData) -> EsipaClient:
        """Return the way to an eIM. Raises AgentError where it has no address."""
        # Most name the server; of an eIM whose identifier is a host name it may be left out.
        address = eim.fqdn or (eim.eim_id if eim.id_type == _FQDN else None)
        if not address:
            raise AgentError(f"eIM {eim.eim_id!r} has no address", code="noEimFqdn")
        if not can_be_polled(eim):
            raise AgentError(f"eIM {eim.eim_id!r} cannot be polled over HTTPS", code="noCommonProtocol")
        key = (address, eim.tls_key)
        if key not in self._clients:
            self._clients[key] = EsipaClient(self._bearer_for(eim.tls_key), address, self.settings)
        return self._clients[key]

    async def wait_connected(self) -> bool:
        """Tell whether the enabled profile gives connectivity, waiting for it with the usual patience."""
        for delay in self.settings.delays():
            if delay:
                await asyncio.sleep(delay)
            try:
                if await self.connected():
                    return True
            except TransportError:
                continue
        return False

    def causes(self, cause: int, but: str = "") -> dict[str, int]:
        """Return what eIMs are to be told, with a new stateChangeCause for all of them ``but`` one."""
        told: Iterable[str] = (eim.eim_id for eim in self.eims if eim.eim_id != but)
        return {**self.keeper.now.causes, **dict.fromkeys(told, cause)}


def can_be_polled(eim: EimConfigurationData) -> bool:
    """Tell whether an eIM waits to be asked over HTTPS; one that does not say is believed to."""
    return eim.protocols is None or "eimRetrieveHttps" in eim.protocols
