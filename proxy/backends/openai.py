"""A model server that speaks OpenAI's API: vLLM, TGI, whose ways `_tgi.py` puts right, and anything alike.

One rule of patience: from one event to the next at most `between_events` seconds pass (to the first: `first_event`).
Keep-alive comments are no events and buy no time, so that a server that only says it is alive keeps no child waiting.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal

import aiohttp
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from proxy.backends import _tgi
from proxy.backends._errors import event_of, parse, refuse, unreadable
from proxy.backends._kind import Kind, kind_of
from proxy.turn import Ask, BackendFault, Delta
from proxy.wire import sse

_KNOWS: dict[Kind, frozenset[str]] = {
    "vllm": frozenset({"repetition_penalty", "top_k", "min_p", "continuous_usage_stats"}),
    "tgi": _tgi.KNOWS,
    "openai": frozenset(),  # it may refuse a field that it does not know
}
_NETWORK = (
    httpx.HTTPError,
    aiohttp.ClientError,
    OSError,
)  # the transport maps some of aiohttp's; OSError: TimeoutError
_UNREACHABLE = "The model server cannot be reached. The operator's log names it."
_CLOSED = "The model server closed the connection before its answer was complete."
_DONE = b"[DONE]"
_QUICK = 5.0  # seconds for what needs no model: the list of models, an error's body, which server this is
_DRAIN = 0.25  # seconds after `[DONE]` for the last bytes of the response, so that its connection can be used again
# Headers of a client that are never passed on: they are about its own connection, its own key, its own body.
_OURS = re.compile(
    "(proxy-|content-|accept).*|authorization|cookie|host|connection|keep-alive|te|trailer|transfer-encoding"
    "|upgrade|expect"
)
_ERROR_BODY = 64 * 1024  # bytes of an error's body that are read


class OpenAIBackend:
    """One server, with a pool of connections of its own. Use it in one event loop and close it there."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        kind: Literal["auto", "vllm", "tgi", "openai"] = "auto",
        connect: float = 5.0,
        first_event: float = 60.0,
        between_events: float = 30.0,
    ) -> None:
        """`base_url` with or without `/v1`; `auto`: the server is asked for its kind; patience in seconds.

        Raises `ValueError` for what is no http(s) address.
        """
        address = _address(base_url)
        self._root = str(address.copy_with(userinfo=b"")).rstrip("/").removesuffix("/v1").rstrip("/")
        self._first_event = first_event
        self._between_events = between_events
        self._kind: Kind | None = None if kind == "auto" else kind  # None until the server has told
        key = (api_key or "").strip()
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(client=_session),
            trust_env=False,
            auth=(address.username, address.password) if address.userinfo else None,
            timeout=httpx.Timeout(None, connect=connect),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # a sticky one would tie all to one replica
            headers={"accept-encoding": "identity", **({"authorization": f"Bearer {key}"} if key else {})},
        )

    async def knows(self, model: str) -> frozenset[str]:
        """What its kind understands, which is the same for all its models; nothing while it cannot be reached."""
        try:
            return _KNOWS[await self._learn()]
        except BackendFault:
            return frozenset()

    async def stream(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The answer's events, for a body that asks for a stream.

        Raises `BackendFault` before the first event or between two, also for an answer that breaks off.
        """
        deadline = asyncio.get_running_loop().time() + self._first_event
        answer = _tgi.Answer() if await self._learn() == "tgi" else None
        body = _tgi.adapted(ask) if answer else ask.body
        response = await self._open(ask, body, deadline)
        begun = complete = False
        async with aclosing(response), aclosing(self._payloads(response, deadline)) as payloads:
            async for payload in payloads:
                if payload == _DONE:
                    complete = True
                    continue
                event = Delta(payload, event_of(payload, begun))
                begun = True
                for delta in answer.events(event) if answer else (event,):
                    complete = complete or _finishes(delta.event)
                    yield delta
        if not complete:
            raise BackendFault(502, _CLOSED, code="backend_closed")
        for delta in answer.end() if answer else ():
            yield delta

    async def whole(self, ask: Ask) -> dict[str, Any]:
        """The answer of a route that has no stream. Raises `BackendFault`."""
        with _faults(self._nothing_came()):
            async with asyncio.timeout(self._first_event):
                response = await self._client.send(self._request(ask, ask.body, "application/json"))
        refuse(response.status_code, response.content, response.headers)
        answer = parse(response.content)
        if not isinstance(answer, dict):
            raise unreadable("it is not a JSON object")
        return answer

    async def models(self) -> dict[str, Any]:
        """The server's own list. Raises `BackendFault`."""
        with _faults(f"The model server sent no list of models within {_QUICK:g} s."):
            async with asyncio.timeout(_QUICK):
                response = await self._client.get(f"{self._root}/v1/models")
        refuse(response.status_code, response.content, response.headers)
        models = parse(response.content)
        if not isinstance(models, dict):
            raise unreadable("its list of models is not a JSON object")
        return models

    async def close(self) -> None:
        await self._client.aclose()

    async def _learn(self) -> Kind:
        """Its kind; asked until the server has told it once. Raises `BackendFault` where it cannot be reached."""
        if self._kind is None:
            with _faults(_UNREACHABLE), suppress(TimeoutError):  # one that is only slow may still answer the request
                async with asyncio.timeout(min(_QUICK, self._first_event)):
                    self._kind = await kind_of(lambda path: self._client.get(self._root + path))
        return self._kind or "openai"

    def _request(self, ask: Ask, body: dict[str, Any], accept: str) -> httpx.Request:
        headers = {**_passed_on(ask.headers), "content-type": "application/json", "accept": accept}
        return self._client.build_request(
            "POST", f"{self._root}/v1/{ask.route}", content=orjson.dumps(body), headers=headers
        )

    async def _open(self, ask: Ask, body: dict[str, Any], deadline: float) -> httpx.Response:
        """The response with its body still to come; the caller closes it."""
        request = self._request(ask, body, "text/event-stream")
        with _faults(self._nothing_came()):
            async with asyncio.timeout_at(deadline):
                response = await self._client.send(request, stream=True)
        if response.status_code == 200 and response.headers.get("content-type", "").startswith("text/event-stream"):
            return response
        async with aclosing(response):
            refuse(response.status_code, await _error_body(response), response.headers)
        raise unreadable(f"it is no stream (status {response.status_code})")

    async def _payloads(self, response: httpx.Response, deadline: float) -> AsyncGenerator[bytes, None]:
        """The data of the events up to `[DONE]`, or to the end of the response."""
        late = self._nothing_came()
        reader = sse.Reader()
        chunks = response.aiter_bytes()
        chunk: bytes | None = b""
        while chunk is not None:
            with _faults(late, broken=_CLOSED, code="backend_closed"):
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(chunks, None)
            for payload in _completed(reader, chunk):
                yield payload
                if payload == _DONE:
                    await _drain(chunks)
                    return
                # Counted from here, after the yield: a client that takes its time is not the server's silence.
                deadline = asyncio.get_running_loop().time() + self._between_events
                late = f"The model server fell silent for {self._between_events:g} s in the middle of its answer."

    def _nothing_came(self) -> str:
        return f"The model server sent nothing within {self._first_event:g} s."


def _address(text: str) -> httpx.URL:
    """Raises `ValueError` for what is no http(s) address."""
    with suppress(httpx.InvalidURL):
        if re.match(r"https?://[^/]", text):
            return httpx.URL(text)
    raise ValueError("KINDRAIL_BACKEND_URL must be an http(s) address, as in http://127.0.0.1:8000/v1")


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The client's headers that reach the server. One outside ASCII would not: nobody agrees on how it is written."""
    lower = ((name.lower(), value) for name, value in headers.items())
    return {name: value for name, value in lower if value.isascii() and not _OURS.fullmatch(name)}


def _session() -> aiohttp.ClientSession:
    """aiohttp's session under httpx: no limit, as a stream holds its connection while it lasts, and no cookies.

    Idle connections go before vLLM (uvicorn) closes them at 5 s, so that no request is written into a closing one.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


@contextmanager
def _faults(late: str, broken: str = _UNREACHABLE, code: str = "backend_unreachable") -> Iterator[None]:
    """Turns what the network raises into `BackendFault`: 504 with `late` for our timeouts, else 502 with `broken`."""
    try:
        yield
    except TimeoutError:
        raise BackendFault(504, late, code="backend_timeout") from None
    except _NETWORK as error:
        # The transport calls a refused connection httpx.ConnectTimeout as well: only the cause tells the two apart.
        if isinstance(error.__cause__, TimeoutError):
            late = "The model server accepted no connection in time."
            raise BackendFault(504, late, code="backend_timeout") from None
        raise BackendFault(502, broken, code=code) from None


async def _error_body(response: httpx.Response) -> bytes:
    """Its first 64 KiB, or what came of them: a body that breaks off still has its status."""
    body = b""
    with suppress(*_NETWORK):
        async with asyncio.timeout(_QUICK):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) >= _ERROR_BODY:
                    break
    return body[:_ERROR_BODY]


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Reads to the end of the response, so that its connection can be used again; one that does not end is closed."""
    with suppress(*_NETWORK):
        async with asyncio.timeout(_DRAIN):
            async for _ in chunks:
                pass


def _completed(reader: sse.Reader, chunk: bytes | None) -> list[bytes]:
    """The events that a chunk, or the end of the response, completes."""
    try:
        return reader.close() if chunk is None else reader.feed(chunk)
    except sse.EventTooLarge as error:
        raise unreadable(str(error)) from None


def _finishes(event: dict[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in event.get("choices") or ())
