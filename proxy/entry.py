"""A request at the door: who asks, under which policy, how much of it is read, and what of it the backend gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_hex

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from proxy.access import Caller, Denied
from proxy.call import Call, Keep
from proxy.config import Config
from proxy.policy.model import Policy
from proxy.services import Services
from proxy.settings import read
from proxy.wire.dialect import Dialect
from proxy.wire.messages import BadRequest, Permits
from proxy.wire.request import Wanted

_TRACING = frozenset({"x-request-id", "traceparent", "tracestate"})  # harmless, and what operators look for
_JSON = re.compile(r"application/(?:[\w.-]+\+)?json")
_SET = "x-kindrail-set"
_NAME = re.compile(r"[\w.:/+@=,;-]{1,512}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that the door let in, with its body read."""

    turn: str
    caller: Caller
    policy: Policy
    permits: Permits
    raw: bytes
    headers: Mapping[str, str]  # those that go on to the backend
    session: str | None  # the conversation's name, from the header
    settings: Mapping[str, object]  # what the app has set for this request

    def call(
        self,
        route: str,
        request: Wanted,
        dialect: Dialect,
        named: str | None = None,
        keep: Keep | None = None,
    ) -> Call:
        """The call for the parsed request; `named`: the conversation's name, where the header has none.

        Raises `Denied` for a model that the key does not open.
        """
        check_model(self.caller, request.model)
        named = self.session or request.session or named
        return Call(
            self.turn, route, request.stream, dialect, self.policy, self.caller, self.permits, named, self.settings,
            self.headers, keep,
        )  # fmt: skip


async def enter(request: Request) -> Entry:
    """Lets a request in and reads its body. Raises `Denied`, `BadRequest`, `HTTPException`."""
    services: Services = request.app.state.services
    config: Config = request.app.state.config
    caller = await who(request)
    policy = services.live.serving(caller, request.headers.get("x-kindrail-policy"))
    raw = await _body(request, min(config.max_body, caller.limits.body or config.max_body))
    passing = _passing(request.headers, caller)
    session = request.headers.get("x-kindrail-session")
    settings = _settings(", ".join(request.headers.getlist(_SET)), policy)
    return Entry(token_hex(12), caller, policy, permits(policy, caller), raw, passing, session, settings)


async def who(request: Request) -> Caller:
    """Who asks. Raises `Denied`."""
    services: Services = request.app.state.services
    return await services.door.admit(request.headers, request.url.query)


def check_model(caller: Caller, model: str) -> None:
    """Raises `Denied` for a model that the key does not open: to it that model does not exist."""
    if not caller.may_use(model):
        words = "The model does not exist, or this key does not open it."
        raise Denied(404, words, "model_not_found", "model")


def permits(policy: Policy, caller: Caller) -> Permits:
    """What policy and key allow beyond plain text."""
    ways = policy.parts.model_dump()
    parts = {name for name, way in ways.items() if way == "pass" or (way == "keys" and name in caller.allow)}
    return Permits(policy.tools, frozenset(parts), caller.allow, policy.choices)


def _settings(header: str, policy: Policy) -> Mapping[str, object]:
    try:
        settings = read(header, policy.settings)
        policy.admit(settings)
        return settings
    except ValueError as fault:
        raise BadRequest(f"{_SET}: {fault}", _SET, "unsupported_value") from None


def _passing(headers: Mapping[str, str], caller: Caller) -> dict[str, str]:
    """The headers that go on to the backend: those for tracing, if they look like it, and what the key names."""
    traced = {name: headers[name] for name in _TRACING if _NAME.fullmatch(headers.get(name, ""))}
    return traced | {name: headers[name] for name in caller.headers if name in headers}


async def _body(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit. Raises `BadRequest`, `HTTPException`."""
    # A web page of elsewhere may post here without our leave what has a form's type or none, and then tells its origin.
    kind = request.headers.get("content-type", "" if "origin" in request.headers else "application/json")
    if not _JSON.fullmatch(kind.partition(";")[0].strip().lower()):
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
