"""The front door: routes, limits, and one shape for every error.

Routes are an allow-list. Whatever is not named here answers 404: a model server has more doors that generate text
than one would think, and each would be a way round the rails.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from redis.asyncio.client import Pipeline
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proxy.access import Denied
from proxy.call import Body, Call
from proxy.chat import Exchange
from proxy.config import Config
from proxy.embed import embed
from proxy.entry import check_model, enter, who
from proxy.errors import HANDLERS, Unforeseen, of_request
from proxy.kept import KeptResponse
from proxy.reply import STORE_DOWN
from proxy.services import Services
from proxy.store import StoreDown
from proxy.turn import BackendFault, Health, Several
from proxy.watched import Watched, answer
from proxy.wire import completions, embeddings, request, responses
from proxy.wire.completions import Completions, TextRequest
from proxy.wire.dialect import Chat
from proxy.wire.messages import BadRequest
from proxy.wire.request import ChatRequest
from proxy.wire.responses_events import Responses

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
    app = Starlette(routes=routes, exception_handlers=HANDLERS, middleware=[Middleware(Unforeseen)])
    app.router.redirect_slashes = False  # a redirect would tell of routes that are not served
    app.state.config = config
    app.state.services = services
    return app


def _health_routes() -> list[Route]:
    return [Route("/healthz", _healthz), Route("/readyz", _readyz)]


# -- routes that answer with text: each parses its body, and the turn is the same --------------------------------------


async def _chat(asked: Request) -> Response:
    entry = await enter(asked)
    refusal = None
    try:
        chat = request.parse(entry.raw, entry.permits)
    except BadRequest as fault:  # a child in danger is answered all the same, and nobody else
        told = request.texts_alone(entry.raw, entry.permits)
        if told is None:
            raise
        chat, refusal = told, of_request(fault)
    return _turn(asked, replace(entry.call("chat.completions", chat, Chat()), refusal=refusal), chat)


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
        refusal = of_request(fault)
    body = responses.as_chat(wanted, before.messages if before else (), items)
    dialect = Responses(wanted, entry.turn, int(time.time()))

    def keep(pipe: Pipeline, talk: Sequence[Body], answer: Body, session: str) -> None:
        messages = [*responses.without_instructions(wanted, talk), answer]
        kept = KeptResponse(messages, session)
        seconds = entry.policy.keep.sessions
        services.kept.put(pipe, entry.caller.tenant, f"resp_{entry.turn}", kept, dialect.items_kept(answer), seconds)

    try:
        chat = request.check(body, entry.permits)
    except BadRequest as fault:
        raise responses.in_own_words(fault) from None
    call = entry.call("responses", chat, dialect, named, keep if wanted.store else None)
    return _turn(asked, replace(call, refusal=refusal), chat)


def _turn(asked: Request, call: Call, parsed: ChatRequest | TextRequest) -> Response:
    services: Services = asked.app.state.services
    exchange = Exchange(services, call, parsed)
    return Watched(services.metrics, partial(answer, exchange, call, asked.app.state.config.keep_alive))


# -- the other routes --------------------------------------------------------------------------------------------------


async def _forget(asked: Request) -> Response:
    """Deletes what is kept of a response."""
    services: Services = asked.app.state.services
    caller = await who(asked)
    name = asked.path_params["id"]
    if not await services.kept.forget(caller.tenant, name):
        raise responses.not_kept("response_id")
    return JSONResponse({"id": name, "object": "response", "deleted": True})


async def _embeddings(asked: Request) -> Response:
    services: Services = asked.app.state.services
    entry = await enter(asked)
    wanted = embeddings.parse(entry.raw, entry.permits)
    call = entry.call("embeddings", wanted, Chat())
    return Watched(services.metrics, partial(embed, services, call, wanted))


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
    """Whether a turn could be served now, under which policies, and how their last reload went."""
    services: Services = request.app.state.services
    faults: dict[str, str] = {}
    try:
        await services.store.ping()
    except StoreDown as fault:
        faults["store"] = str(fault)
    states: dict[str, Health] = {}
    try:
        if isinstance(services.backend, Several):
            states = await services.backend.health()
        else:
            await services.backend.models()
    except BackendFault as fault:
        faults["backend"] = str(fault)
    some_down = "down" in states.values()
    if some_down and "up" not in states.values():
        faults["backend"] = "None of the model servers answers."
    status = "unready" if faults else "degraded" if some_down else "ready"
    told = {"status": status, **_policies(services)}
    more = {"backends": states, "faults": faults}
    return JSONResponse({**told, **{name: value for name, value in more.items() if value}}, 503 if faults else 200)


def _policies(services: Services) -> Body:
    """The policies in service, and the last reload: a refused one with its first fault."""
    live, last = services.live, services.reload
    digests = {policy.label: policy.digest[:12] for policy in live.policies.values()}
    told: Body = {"policy": live.policy.label, "digest": live.policy.digest[:12], "policies": digests}
    if last:
        at = datetime.fromtimestamp(last.at, UTC).isoformat(timespec="seconds")
        told["reload"] = {"at": at, "result": last.result, **({"fault": last.fault} if last.fault else {})}
    return told


async def _metrics(request: Request) -> Response:
    return Response(request.app.state.services.metrics.page(), media_type="text/plain; version=0.0.4")
