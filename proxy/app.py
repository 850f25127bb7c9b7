"""The front door: routes, limits, and one shape for every error.

Routes are an allow-list. Whatever is not named here answers 404: a model server has more doors that generate text
than one would think, and each would be a way round the rails.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from proxy.audit import Audit
from proxy.backends import open_backend
from proxy.chat import Exchange, Services
from proxy.config import Config
from proxy.keys import load_keys
from proxy.metrics import Metrics
from proxy.policy.model import Policy
from proxy.reply import Reply, StreamReply, WholeReply, send_json
from proxy.sessions import Sessions
from proxy.store import StoreDown, open_store
from proxy.turn import Backend, BackendFault
from proxy.wire.request import BadRequest, ChatRequest, parse

log = logging.getLogger("kindrail.app")

_TEND_EVERY = 3600.0  # seconds between two rounds in which records past their time are let go


def create_app(config: Config, policy: Policy, backend: Backend | None = None) -> Starlette:
    """The application that apps talk to. It opens store and backend as it starts and closes them as it stops.

    backend: one to use in the place of the configured one.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        keys = load_keys(config.data, config.secret_file)
        store = await open_store(config.redis_url or None, config.data)
        model = backend or open_backend(config)
        audit = Audit(store, keys)
        app.state.services = services = Services(policy, model, store, Sessions(store, keys), audit, Metrics())
        tending = asyncio.create_task(_tend(audit))
        try:
            yield
        finally:
            tending.cancel()
            await asyncio.gather(*services.closing, return_exceptions=True)
            await model.close()
            await store.close()

    routes = [
        Route("/v1/chat/completions", _chat, methods=["POST"]),
        Route("/v1/models", _models, methods=["GET"]),
        *_health_routes(),
        *([] if config.admin_port is not None else [Route("/metrics", _metrics)]),
    ]
    app = Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _http_fault, Exception: _unforeseen}
    )
    app.router.redirect_slashes = False  # a redirect would tell of routes that are not served
    app.state.config = config
    return app


def create_admin_app(app: Starlette) -> Starlette:
    """The application on the admin port: what operators read and apps need not."""
    admin = Starlette(
        routes=[*_health_routes(), Route("/metrics", _metrics)], exception_handlers={HTTPException: _http_fault}
    )
    admin.state = app.state
    return admin


def _health_routes() -> list[Route]:
    return [Route("/healthz", _healthz), Route("/readyz", _readyz)]


# -- routes ------------------------------------------------------------------------------------------------------------


async def _chat(request: Request) -> Response:
    """The checked request as a response that runs the turn."""
    services: Services = request.app.state.services
    config: Config = request.app.state.config
    try:
        chat = parse(await _body(request, config.max_body))
        exchange = Exchange(services, chat, request.headers.get("x-kindrail-session") or chat.session)
        return _Turn(exchange, chat, services.metrics, config.keep_alive)
    except BadRequest as fault:
        return _refused(services, 400, str(fault), fault.param, fault.code)


async def _models(request: Request) -> Response:
    try:
        return JSONResponse(await request.app.state.services.backend.models())
    except BackendFault as fault:
        return JSONResponse({"error": fault.error}, fault.status)


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _readyz(request: Request) -> Response:
    """Whether a turn could be served now, and under which policy."""
    services: Services = request.app.state.services
    faults: dict[str, str] = {}
    try:
        await services.store.ping()
    except StoreDown as fault:
        faults["store"] = str(fault)
    try:
        await services.backend.models()
    except BackendFault as fault:
        faults["backend"] = str(fault)
    ready = {
        "status": "unready" if faults else "ready",
        "policy": services.policy.label,
        "digest": services.policy.digest[:12],
    }
    return JSONResponse({**ready, **({"faults": faults} if faults else {})}, 503 if faults else 200)


async def _metrics(request: Request) -> Response:
    return Response(request.app.state.services.metrics.page(), media_type="text/plain; version=0.0.4")


class _Turn(Response):
    """The response that is a turn: it runs while the client listens, and is cancelled when the client goes."""

    def __init__(self, exchange: Exchange, request: ChatRequest, metrics: Metrics, keep_alive: float) -> None:
        self._exchange = exchange
        self._request = request
        self._metrics = metrics
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None  # every request of an ASGI server runs in a task
        gone = asyncio.Event()
        watcher = asyncio.create_task(_cancel_when_gone(receive, gone, task))
        with self._metrics.running.track_inprogress():
            try:
                await self._run(send)
            except asyncio.CancelledError:
                if not gone.is_set():
                    raise
                task.uncancel()
            finally:
                watcher.cancel()

    async def _run(self, send: Send) -> None:
        try:
            await self._exchange.prepare()
        except ValueError as fault:  # the session's name
            error = _error(str(fault), "x-kindrail-session", "invalid_session")
            return await send_json(send, 400, {"error": error}, {})
        headers = self._exchange.headers
        stream = self._request.stream
        reply: Reply = StreamReply(send, headers, self._keep_alive) if stream else WholeReply(send, headers)
        try:
            await self._exchange.answer(reply)
        except Exception as fault:
            _log_unforeseen(fault)
            await reply.fault(500, _internal())
        finally:
            reply.close()


async def _cancel_when_gone(receive: Receive, gone: asyncio.Event, task: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
    task.cancel()


async def _body(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit. Raises `BadRequest`, `HTTPException`."""
    too_large = HTTPException(413, f"The body is larger than {limit} bytes.")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large
            parts.append(part)
    except ClientDisconnect:
        raise BadRequest("The body ended early.") from None
    return b"".join(parts)


async def _tend(audit: Audit) -> None:
    while True:
        with suppress(StoreDown):  # the next round does it; turns report the fault meanwhile
            await audit.tend()
        await asyncio.sleep(_TEND_EVERY)


# -- errors ------------------------------------------------------------------------------------------------------------


def _error(
    message: str, param: str | None = None, code: str | None = None, kind: str = "invalid_request_error"
) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": param, "code": code}


def _internal() -> dict[str, Any]:
    return _error("Kindrail failed; the operator's log names the place.", None, "internal_error", "server_error")


def _refused(
    services: Services, status: int, message: str, param: str | None = None, code: str | None = None
) -> Response:
    services.metrics.refused.labels(str(status)).inc()
    return JSONResponse({"error": _error(message, param, code)}, status)


async def _http_fault(request: Request, fault: Exception) -> Response:
    """Unknown routes, wrong methods, bodies too large."""
    assert isinstance(fault, HTTPException)  # registered for nothing else
    words = {
        404: ("Kindrail does not serve this route.", "unknown_route"),
        405: ("This route does not take this method.", "method_not_allowed"),
        413: (fault.detail, "body_too_large"),
    }
    message, code = words.get(fault.status_code, (fault.detail, None))
    return JSONResponse({"error": _error(message, None, code)}, fault.status_code, fault.headers)


async def _unforeseen(request: Request, fault: Exception) -> Response:
    _log_unforeseen(fault)
    return JSONResponse({"error": _internal()}, 500)


def _log_unforeseen(fault: Exception) -> None:
    """Where it happened, and what kind of thing; an exception's own words may quote a child's."""
    places = " < ".join(
        f"{frame.filename}:{frame.lineno}" for frame in reversed(traceback.extract_tb(fault.__traceback__)[-4:])
    )
    log.error("unforeseen %s at %s", type(fault).__name__, places)
