"""The front door: routes, limits, and one shape for every error.

Routes are an allow-list. Whatever is not named here answers 404: a model server has more doors that generate text
than one would think, and each would be a way round the rails.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from proxy.chat import Exchange
from proxy.config import Config
from proxy.metrics import Metrics
from proxy.reply import Reply, StreamReply, WholeReply
from proxy.services import Services
from proxy.sessions import BadName
from proxy.store import StoreDown
from proxy.turn import BackendFault
from proxy.wire.request import BadRequest, ChatRequest, parse

log = logging.getLogger("kindrail.app")


def create_app(config: Config, services: Services) -> Starlette:
    """The application that apps talk to."""
    routes = [
        Route("/v1/chat/completions", _chat, methods=["POST"]),
        Route("/v1/models", _models, methods=["GET"]),
        *_health_routes(),
        *([] if config.admin_port is not None else [Route("/metrics", _metrics)]),
    ]
    return _application(config, services, routes)


def create_admin_app(config: Config, services: Services) -> Starlette:
    """The application on the admin port: what operators read and apps need not."""
    return _application(config, services, [*_health_routes(), Route("/metrics", _metrics)])


def _application(config: Config, services: Services, routes: list[Route]) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_fault, Exception: _unforeseen})
    app.router.redirect_slashes = False  # a redirect would tell of routes that are not served
    app.state.config = config
    app.state.services = services
    return app


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
    except BadName as fault:
        return _refused(services, 400, str(fault), "x-kindrail-session", "invalid_session")


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
        replies: list[Reply] = []

        def reply_with(headers: dict[str, str]) -> Reply:
            stream = self._request.stream
            replies.append(StreamReply(send, headers, self._keep_alive) if stream else WholeReply(send, headers))
            return replies[0]

        try:
            await self._exchange.run(reply_with)
        except Exception as fault:  # whatever was not foreseen is told to nobody but the log, and there without words
            _log_unforeseen(fault)
            await (replies[0] if replies else WholeReply(send, {})).fault(500, _internal())
        finally:
            for reply in replies:
                reply.close()


async def _cancel_when_gone(receive: Receive, gone: asyncio.Event, task: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
    task.cancel()


async def _body(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit. Raises `BadRequest`, `HTTPException`."""
    kind = request.headers.get("content-type", "application/json")
    if "json" not in kind:  # nor may a web page of elsewhere post a form here
        raise HTTPException(415, "The content-type must be application/json.")
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
    request.app.state.services.metrics.refused.labels(str(fault.status_code)).inc()
    words = {
        404: ("Kindrail does not serve this route.", "unknown_route"),
        405: ("This route does not take this method.", "method_not_allowed"),
        413: (fault.detail, "body_too_large"),
        415: (fault.detail, "unsupported_media_type"),
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
