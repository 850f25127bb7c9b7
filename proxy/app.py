"""The front door: routes, limits, and one shape for every error.

Routes are an allow-list. Whatever is not named here answers 404: a model server has more doors that generate text
than one would think, and each would be a way round the rails.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio.client import Pipeline
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.access import Denied
from proxy.call import Body, Call
from proxy.chat import STORE_DOWN, Exchange
from proxy.config import Config
from proxy.embed import embed
from proxy.entry import check_model, enter, who
from proxy.kept import KeptResponse
from proxy.limits import Limited
from proxy.reply import Fault, Reply, StreamReply, WholeReply
from proxy.services import Services
from proxy.sessions import BadName
from proxy.store import StoreDown
from proxy.turn import BackendFault
from proxy.wire import completions, embeddings, request, responses
from proxy.wire.completions import Completions, TextRequest
from proxy.wire.dialect import Chat
from proxy.wire.messages import BadRequest
from proxy.wire.request import ChatRequest
from proxy.wire.responses_events import Responses

log = logging.getLogger("kindrail.app")

_UNKNOWN: Body = {"role": "assistant", "content": ""}  # in the place of an item that the store cannot bring


def create_app(config: Config, services: Services) -> Starlette:
    """The application that apps talk to."""
    routes = [
        Route("/v1/chat/completions", _chat, methods=["POST"]),
        Route("/v1/completions", _completions, methods=["POST"]),
        Route("/v1/responses", _responses, methods=["POST"]),
        Route("/v1/responses/{id}", _forget, methods=["DELETE"]),
        Route("/v1/embeddings", _embeddings, methods=["POST"]),
        Route("/v1/models", _models, methods=["GET"]),
        Route("/v1/models/{id:path}", _model, methods=["GET"]),
        *_health_routes(),
        *([] if config.admin_port is not None else [Route("/metrics", _metrics)]),
    ]
    return _application(config, services, routes)


def create_admin_app(config: Config, services: Services) -> Starlette:
    """The application on the admin port: what operators read and apps need not."""
    return _application(config, services, [*_health_routes(), Route("/metrics", _metrics)])


def _application(config: Config, services: Services, routes: list[Route]) -> Starlette:
    handlers: dict[Any, Any] = {
        HTTPException: _http_fault,
        BadRequest: _bad_request,
        BadName: _bad_name,
        Denied: _denied,
        Limited: _limited,
        BackendFault: _backend_fault,
        StoreDown: _store_down,
    }
    app = Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(_Unforeseen)])
    app.router.redirect_slashes = False  # a redirect would tell of routes that are not served
    app.state.config = config
    app.state.services = services
    return app


def _health_routes() -> list[Route]:
    return [Route("/healthz", _healthz), Route("/readyz", _readyz)]


# -- routes that answer with text: each parses its body, and the turn is the same --------------------------------------


async def _chat(asked: Request) -> Response:
    entry = await enter(asked)
    chat = request.parse(entry.raw, entry.permits)
    return _turn(asked, entry.call("chat.completions", chat, Chat()), chat)


async def _completions(asked: Request) -> Response:
    entry = await enter(asked)
    text = completions.parse(entry.raw, entry.permits)
    return _turn(asked, entry.call("completions", text, Completions()), text)


async def _responses(asked: Request) -> Response:
    """What the request refers to is found before the line sees it, and belongs to the key's tenant."""
    services: Services = asked.app.state.services
    entry = await enter(asked)
    wanted = responses.read(entry.raw)
    before, items, named, refusal = None, dict.fromkeys(wanted.references, _UNKNOWN), None, None
    try:
        before, items, named = await services.kept.find(entry.caller.tenant, wanted.previous, wanted.references)
    except StoreDown:  # a child in danger is answered all the same, and nobody else
        refusal = STORE_DOWN
    except responses.NotKept as fault:
        refusal = Fault(404, _error(str(fault), fault.param, fault.code))
    body = responses.as_chat(wanted, before.messages if before else (), items)
    dialect = Responses(wanted, entry.turn, int(time.time()))

    def keep(pipe: Pipeline, talk: Sequence[Body], answer: Body, session: str) -> None:
        messages = [*responses.without_instructions(wanted, talk), answer]
        kept = KeptResponse(messages, session)
        seconds = entry.policy.keep.sessions
        services.kept.put(pipe, entry.caller.tenant, f"resp_{entry.turn}", kept, dialect.items_kept(answer), seconds)

    chat = request.check(body, entry.permits)
    call = entry.call("responses", chat, dialect, named, keep if wanted.store else None)
    return _turn(asked, replace(call, refusal=refusal), chat)


def _turn(asked: Request, call: Call, parsed: ChatRequest | TextRequest) -> Response:
    services: Services = asked.app.state.services
    return _Turn(Exchange(services, call, parsed), call, services, asked.app.state.config.keep_alive)


# -- the other routes --------------------------------------------------------------------------------------------------


async def _forget(asked: Request) -> Response:
    """Deletes what is kept of a response."""
    services: Services = asked.app.state.services
    caller = await who(asked)
    name = asked.path_params["id"]
    if not await services.kept.forget(caller.tenant, name):
        raise responses.not_kept("previous_response_id")
    return JSONResponse({"id": name, "object": "response", "deleted": True})


async def _embeddings(asked: Request) -> Response:
    services: Services = asked.app.state.services
    entry = await enter(asked)
    wanted = embeddings.parse(entry.raw, entry.permits)
    vectors, headers = await embed(services, entry.call("embeddings", wanted, Chat()), wanted)
    return JSONResponse(vectors, headers=headers)


async def _models(asked: Request) -> Response:
    """The backend's models, as far as the key opens them."""
    caller = await who(asked)
    listed = await asked.app.state.services.backend.models()
    open_ones = [one for one in _each(listed) if caller.may_use(str(one.get("id")))]
    return JSONResponse({**listed, "data": open_ones})


async def _model(asked: Request) -> Response:
    caller, name = await who(asked), asked.path_params["id"]
    check_model(caller, name)
    listed = await asked.app.state.services.backend.models()
    for one in _each(listed):
        if one.get("id") == name:
            return JSONResponse(one)
    raise Denied(404, "The model does not exist.", "model_not_found", "model")


def _each(listed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The models of a list, as far as they are some."""
    return [one for one in listed.get("data") or () if isinstance(one, dict)]


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
    policy = services.live.policy
    ready = {"status": "unready" if faults else "ready", "policy": policy.label, "digest": policy.digest[:12]}
    return JSONResponse({**ready, **({"faults": faults} if faults else {})}, 503 if faults else 200)


async def _metrics(request: Request) -> Response:
    return Response(request.app.state.services.metrics.page(), media_type="text/plain; version=0.0.4")


class _Turn(Response):
    """The response that is a turn: it runs while the client listens, and is cancelled when the client goes."""

    def __init__(self, exchange: Exchange, call: Call, services: Services, keep_alive: float) -> None:
        self._exchange = exchange
        self._call = call
        self._metrics = services.metrics
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
            dialect = self._call.dialect
            if self._call.stream:
                replies.append(StreamReply(send, headers, dialect, self._keep_alive))
            else:
                replies.append(WholeReply(send, headers, dialect))
            return replies[0]

        try:
            await self._exchange.run(reply_with)
        except Exception as fault:  # whatever was not foreseen is told to nobody but the log, and there without words
            _log_unforeseen(fault)
            reply = replies[0] if replies else WholeReply(send, {}, self._call.dialect)
            await reply.fault(Fault(500, _internal()))
        finally:
            for reply in replies:
                reply.close()


async def _cancel_when_gone(receive: Receive, gone: asyncio.Event, task: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
    task.cancel()


# -- errors ------------------------------------------------------------------------------------------------------------


def _error(
    message: str, param: str | None = None, code: str | None = None, kind: str = "invalid_request_error"
) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": param, "code": code}


def _internal() -> dict[str, Any]:
    return _error("Kindrail failed; the operator's log names the place.", None, "internal_error", "server_error")


def _refusal(asked: Request, fault: Fault) -> Response:
    asked.app.state.services.metrics.refused.labels(str(fault.status)).inc()
    return JSONResponse({"error": fault.error}, fault.status, dict(fault.headers))


async def _bad_request(asked: Request, fault: BadRequest) -> Response:
    status = 404 if isinstance(fault, responses.NotKept) else 400
    return _refusal(asked, Fault(status, _error(str(fault), fault.param, fault.code)))


async def _bad_name(asked: Request, fault: BadName) -> Response:
    return _refusal(asked, Fault(400, _error(str(fault), "x-kindrail-session", "invalid_session")))


async def _denied(asked: Request, fault: Denied) -> Response:
    return _refusal(asked, Fault(fault.status, fault.error, fault.headers))


async def _limited(asked: Request, fault: Limited) -> Response:
    return _refusal(asked, Fault(fault.status, fault.error, fault.headers))


async def _backend_fault(asked: Request, fault: BackendFault) -> Response:
    return _refusal(asked, Fault(fault.status, fault.error, fault.headers))


async def _store_down(asked: Request, fault: StoreDown) -> Response:
    words = "The store does not answer. Try again in a moment."
    return _refusal(asked, Fault(503, _error(words, None, "store_unavailable", "server_error")))


async def _http_fault(request: Request, fault: Exception) -> Response:
    """Unknown routes, wrong methods, bodies too large."""
    assert isinstance(fault, HTTPException)  # registered for nothing else
    words = {
        404: ("Kindrail does not serve this route.", "unknown_route"),
        405: ("This route does not take this method.", "method_not_allowed"),
        413: (fault.detail, "body_too_large"),
        415: (fault.detail, "unsupported_media_type"),
    }
    message, code = words.get(fault.status_code, (fault.detail, None))
    return _refusal(request, Fault(fault.status_code, _error(message, None, code), fault.headers or {}))


class _Unforeseen:
    """Nothing that was not foreseen goes past it: the server around it would log an exception with its words."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as fault:
            _log_unforeseen(fault)
            await JSONResponse({"error": _internal()}, 500)(scope, receive, send)


def _log_unforeseen(fault: Exception) -> None:
    """Where it happened, and what kind of thing; an exception's own words may quote a child's."""
    places = " < ".join(
        f"{frame.filename}:{frame.lineno}" for frame in reversed(traceback.extract_tb(fault.__traceback__)[-4:])
    )
    log.error("unforeseen %s at %s", type(fault).__name__, places)
