"""One shape for every error: OpenAI's, with words of the house's own and none of anybody's text."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.access import Denied
from proxy.limits import Limited
from proxy.reply import STORE_DOWN, Fault
from proxy.sessions import BadName
from proxy.store import StoreDown
from proxy.turn import BackendFault
from proxy.wire.messages import BadRequest

log = logging.getLogger("kindrail.app")

INTERNAL = Fault(
    500,
    {
        "message": "Kindrail failed; the operator's log names the place.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    },
)


def of_request(fault: BadRequest) -> Fault:
    """The fault that a request's own is."""
    return Fault(fault.status, _error(str(fault), fault.param, fault.code))


def _error(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}


def _told(asked: Request, fault: Fault) -> Response:
    asked.app.state.services.metrics.refused.labels(str(fault.status)).inc()
    return JSONResponse({"error": fault.error}, fault.status, dict(fault.headers))


async def _bad_request(asked: Request, fault: BadRequest) -> Response:
    return _told(asked, of_request(fault))


async def _bad_name(asked: Request, fault: BadName) -> Response:
    return _told(asked, Fault(400, _error(str(fault), "x-kindrail-session", "invalid_session")))


async def _with_status(asked: Request, fault: Denied | Limited | BackendFault) -> Response:
    return _told(asked, Fault(fault.status, fault.error, fault.headers))


async def _store_down(asked: Request, fault: StoreDown) -> Response:
    return _told(asked, STORE_DOWN)


async def _http(asked: Request, fault: HTTPException) -> Response:
    """Unknown routes, wrong methods, bodies too large."""
    words = {
        404: ("Kindrail does not serve this route.", "unknown_route"),
        405: ("This route does not take this method.", "method_not_allowed"),
        413: (fault.detail, "body_too_large"),
        415: (fault.detail, "unsupported_media_type"),
    }
    message, code = words.get(fault.status_code, (fault.detail, None))
    return _told(asked, Fault(fault.status_code, _error(message, None, code), fault.headers or {}))


HANDLERS: dict[Any, Any] = {
    HTTPException: _http,
    BadRequest: _bad_request,
    BadName: _bad_name,
    Denied: _with_status,
    Limited: _with_status,
    BackendFault: _with_status,
    StoreDown: _store_down,
}


class Unforeseen:
    """Nothing that was not foreseen goes past it: the server around it would log an exception with its words."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as fault:
            log_unforeseen(fault)
            await JSONResponse({"error": INTERNAL.error}, INTERNAL.status)(scope, receive, send)


def log_unforeseen(fault: Exception) -> None:
    """Where it happened, and what kind of thing; an exception's own words may quote a child's."""
    places = " < ".join(
        f"{frame.filename}:{frame.lineno}" for frame in reversed(traceback.extract_tb(fault.__traceback__)[-4:])
    )
    log.error("unforeseen %s at %s", type(fault).__name__, places)
