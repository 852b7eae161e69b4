"""The REST API of an eIM for lab automation: inventory, associations, orders, results. Loads FastAPI: import it late.

Everything is below ``/api/v1`` and needs the bearer token, the description (``openapi.json``) as well. Errors are
``{"error": "..."}``: 401 no or a wrong token, 404 unknown, 409 not now, 413 and 408 body too large or slow, 422 not
what the model says, 429 too many wrong tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, FastAPI, HTTPException, Path, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

import esim_bench
from esim_bench.codec import es10_iot
from esim_bench.crypto import keys
from esim_bench.crypto.randomness import Randomness, SystemRandomness
from esim_bench.errors import BenchError, CodecError, ConfigError, CryptoError
from esim_bench.servers.asgi import AsgiApp
from esim_bench.servers.eim import rest_views as views
from esim_bench.servers.eim.core import Eim
from esim_bench.servers.eim.rest_guard import MAX_BODY, PREFIX, guarded
from esim_bench.servers.eim.rest_models import AssociationModel, ConfigurationModel, DeviceModel, Eid, OrderModel
from esim_bench.servers.eim.store import Device, EimOrder

MAX_LIST: Final = 1000

State = Literal["queued", "sent", "done", "failed", "cancelled", "lost"]
EidPath = Annotated[str, Path(pattern=r"^[0-9]{32}$", description="EID, 32 digits")]
EidQuery = Annotated[Eid | None, Query(description="Of one eUICC only")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIST)]
Offset = Annotated[int, Query(ge=0, le=1 << 62)]
After = Annotated[int, Query(ge=0, le=1 << 62, description="Orders after this id")]
OrderId = Annotated[int, Path(ge=1, le=1 << 62)]
Answer = dict[str, Any]


class Error(BaseModel):
    """What an error says."""

    error: str


_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Error, "description": text}
    for status, text in (
        (401, "No token, or a wrong one"),
        (404, "Unknown"),
        (409, "Not in this state"),
        (422, "Not what the model says"),
        (429, "Too many wrong tokens"),
    )
}


def rest_app(
    eim: Eim,
    token: str,
    now_ns: Callable[[], int],
    *,
    randomness: Randomness | None = None,
    max_body: int = MAX_BODY,
    body_seconds: float | None = None,
) -> AsgiApp:
    """Make the ASGI application.

    ``token``: the bearer token. ``now_ns``: by which wrong tokens are counted. ``randomness``: for new signing keys;
    None: the operating system's. ``body_seconds``: how long a client may take for a request body; None: for ever.
    """
    application = FastAPI(
        title="esim-bench eIM",
        version=esim_bench.__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        # A redirection would have clients send their token twice, and bodies to nowhere.
        redirect_slashes=False,
        responses=_ERRORS,
        # The guard has looked at the token already; this is for the description.
        dependencies=[Security(HTTPBearer(auto_error=False))],
    )
    application.include_router(_inventory(eim, randomness or SystemRandomness()), prefix=PREFIX)
    application.include_router(_orders(eim), prefix=PREFIX)
    application.include_router(_records(eim), prefix=PREFIX)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(StarletteHTTPException, _refused)
    application.add_exception_handler(BenchError, _failed)
    application.add_exception_handler(Exception, _broken)
    return guarded(application, token, now_ns, max_body=max_body, body_seconds=body_seconds)


def _inventory(eim: Eim, randomness: Randomness) -> APIRouter:
    router = APIRouter(tags=["inventory"])

    @router.get("/eim")
    def show_eim() -> Answer:
        """Tell who this eIM is."""
        who = eim.credentials
        return {"eim_id": who.eim_id, "id_type": who.id_type, "fqdn": who.fqdn, "version": eim.version.text}

    @router.get("/devices")
    def list_devices(limit: Limit = 100, offset: Offset = 0) -> Answer:
        """List eUICCs in the order they were added."""
        devices = eim.devices()
        return {"total": len(devices), "devices": [views.device(one) for one in devices[offset : offset + limit]]}

    @router.post("/devices", status_code=201)
    def add_device(wanted: DeviceModel) -> Answer:
        """Add an eUICC; of one that is known, change what is given."""
        device = eim.add_device(
            bytes.fromhex(wanted.eid),
            label=wanted.label,
            indirect=wanted.indirect,
            certificates=wanted.certificates,
            ci_pk_id=bytes.fromhex(wanted.ci_pk_id) if wanted.ci_pk_id is not None else None,
        )
        return views.device(device)

    @router.get("/devices/{eid}")
    def show_device(eid: EidPath) -> Answer:
        """Show an eUICC with what the eIM believes of it."""
        return views.device(_device(eim, eid), with_view=True)

    @router.post("/devices/{eid}/configuration")
    def configuration(eid: EidPath, wanted: Annotated[ConfigurationModel | None, Body()] = None) -> Answer:
        """Make the EimConfigurationData by which an eUICC gets to know this eIM (AddInitialEim, addEim)."""
        device, options = _device(eim, eid), wanted or ConfigurationModel()
        made = eim.configuration(device.eid, generate_token=options.generate_token, counter=options.counter)
        request = es10_iot.add_initial_eim([made], eim.version)
        return views.configuration(made, made.encode(eim.version), request)

    @router.put("/devices/{eid}/association")
    def associate(eid: EidPath, told: AssociationModel) -> Answer:
        """Tell that an eUICC knows this eIM, and with which associationToken: packages go out from now on."""
        return views.device(eim.associated(_device(eim, eid).eid, told.token, told.counter))

    @router.post("/devices/{eid}/rotation", status_code=201)
    def rotate(eid: EidPath) -> Answer:
        """Order a new signing key for one eUICC; the eIM makes it, on the curve of its first one."""
        device = _device(eim, eid)
        key = keys.generate(keys.curve_of(eim.credentials.signing_key), randomness)
        return views.order(eim.rotate(device.eid, key), whole=True)

    return router


def _orders(eim: Eim) -> APIRouter:
    router = APIRouter(tags=["orders"])

    @router.post("/devices/{eid}/orders", status_code=201)
    def create_order(eid: EidPath, wanted: OrderModel) -> Answer:
        """Order an eUICC Package, a download, or data."""
        device, order = _device(eim, eid), wanted.order(eim.version)
        # What cannot be made in this version is a mistake in the request; what else is refused depends on the state.
        order.encode(eim.version)
        return views.order(eim.order(device.eid, order), whole=True)

    @router.get("/orders")
    def list_orders(eid: EidQuery = None, state: State | None = None, after: After = 0, limit: Limit = 100) -> Answer:
        """List orders, oldest first; ``after`` goes on from the last one of the page before."""
        found = [
            one for one in eim.orders(_of(eim, eid)) if one.id > after and (state is None or one.state.value == state)
        ]
        return {"more": len(found) > limit, "orders": [views.order(one) for one in found[:limit]]}

    @router.get("/orders/{order_id}")
    def show_order(order_id: OrderId) -> Answer:
        """Show an order with the results that came."""
        return views.order(_order(eim, order_id), whole=True)

    @router.post("/orders/{order_id}/cancel")
    def cancel_order(order_id: OrderId) -> Answer:
        """Cancel an order that has no result yet; one that was sent may be executed all the same."""
        return views.order(eim.cancel(_order(eim, order_id).id), whole=True)

    return router


def _records(eim: Eim) -> APIRouter:
    router = APIRouter(tags=["results"])

    @router.get("/results")
    def list_results(eid: Annotated[Eid, Query()], limit: Limit = 100) -> Answer:
        """List the verified results of an eUICC, the newest ``limit`` of them, oldest first."""
        found = eim.store.results(_device(eim, eid).eid)
        return {"total": len(found), "results": [views.result_record(one) for one in found[-limit:]]}

    @router.get("/notifications")
    def list_notifications(eid: EidQuery = None, limit: Limit = 100) -> Answer:
        """List verified notifications and how far their delivery is; the newest ``limit`` of them, oldest first."""
        found = eim.store.notifications(_of(eim, eid))
        return {"total": len(found), "notifications": [views.notification(one) for one in found[-limit:]]}

    @router.get("/audit")
    def audit(eid: EidQuery = None, limit: Limit = 100) -> Answer:
        """Tell what happened: added, ordered, sent, closed, results, notifications; the newest, oldest first."""
        only = _of(eim, eid)
        devices = [eim.device(only)] if only is not None else list(eim.devices())
        events = views.audit(
            devices,
            eim.orders(only),
            (result for device in devices for result in eim.store.results(device.eid)),
            eim.store.notifications(only),
        )
        return {"total": len(events), "events": events[-limit:]}

    return router


# ------------------------------------------------------------------------------------------------------------- errors


def _device(eim: Eim, eid: str) -> Device:
    try:
        return eim.device(bytes.fromhex(eid))
    except ConfigError as exc:
        raise HTTPException(404, "no such eUICC in the inventory") from exc


def _of(eim: Eim, eid: str | None) -> bytes | None:
    return None if eid is None else _device(eim, eid).eid


def _order(eim: Eim, order_id: int) -> EimOrder:
    try:
        return eim.find_order(order_id)
    except ConfigError as exc:
        raise HTTPException(404, "no such order") from exc


async def _invalid(request: Request, exc: Exception) -> JSONResponse:
    # What was sent is not repeated: there may be a secret in it.
    found = exc.errors() if isinstance(exc, RequestValidationError) else []
    texts = [f"{'.'.join(map(str, one['loc'][1:])) or 'body'}: {one['msg']}" for one in found[:10]]
    return JSONResponse({"error": "; ".join(texts)[:2000]}, 422)


async def _refused(request: Request, exc: Exception) -> JSONResponse:
    if not isinstance(exc, StarletteHTTPException):
        raise exc
    return JSONResponse({"error": str(exc.detail)}, exc.status_code, headers=exc.headers)


async def _failed(request: Request, exc: Exception) -> JSONResponse:
    match exc:
        case ConfigError():
            return JSONResponse({"error": str(exc)}, 409)
        case CodecError() | CryptoError():
            return JSONResponse({"error": str(exc)}, 422)
    raise exc


async def _broken(request: Request, exc: Exception) -> JSONResponse:
    # The framework raises it again afterwards: the guard writes it to the log.
    return JSONResponse({"error": "internal error"}, 500)
