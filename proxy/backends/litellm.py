"""Every provider that LiteLLM knows, by LiteLLM's names of models, such as `anthropic/claude-sonnet-4-5`.

LiteLLM takes 4 s and 190 MB to import, so that it is imported with the first request, in a thread, and never by a house
without such a backend. It is told to ask nobody for prices, to read no `.env` and to log nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

import orjson

from proxy.backends._errors import refuse, unreadable
from proxy.turn import Ask, BackendFault, Delta

# An allow-list, as LiteLLM takes its own settings among the fields of the body: with `api_base` or `mock_response` a
# client would choose who gets the key, or what the model said.
_FIELDS = frozenset({
    "model", "messages", "prompt", "suffix", "input", "dimensions", "encoding_format", "stream", "stream_options",
    "n", "stop", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "frequency_penalty", "seed",
    "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "reasoning_effort", "modalities", "service_tier", "user",
})  # fmt: skip
_CALLS: dict[str, tuple[str, dict[str, Any]]] = {  # route -> LiteLLM's function, and what it is told besides
    # Without its handler of MCP tools: it lacks a library, and would call the servers that a client's tool names.
    "chat/completions": ("acompletion", {"_skip_mcp_handler": True}),
    "completions": ("atext_completion", {}),
    "embeddings": ("aembedding", {}),
}
# What is kept of an answer: OpenAI's, without what LiteLLM adds.
_TOP = ("id", "object", "created", "model", "system_fingerprint", "service_tier", "data")
_CHOICE = ("index", "text", "logprobs")
_MESSAGE = ("role", "content", "refusal", "reasoning_content", "tool_calls")
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
_BROKE = {"Timeout": (504, "backend_timeout"), "APIConnectionError": (502, "backend_unreachable")}
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_MODE": "PRODUCTION",  # in its other mode it reads a `.env` of the working folder
}
_SETTINGS = {
    "suppress_debug_info": True,
    "turn_off_message_logging": True,
    "disable_streaming_logging": True,
    "disable_hf_tokenizer_download": True,
}


class LiteLLMBackend:
    """One provider, or the ones of several models; keys not given here are those of the provider's own variables."""

    def __init__(
        self,
        base_url: str = "",
        api_key: str = "",
        *,
        names: Iterable[str] = (),
        first_event: float = 60.0,
        between_events: float = 30.0,
    ) -> None:
        """`names`: the models that it lists, as no provider is asked for them; patience in seconds."""
        self._given = {name: value for name, value in (("api_base", base_url), ("api_key", api_key)) if value}
        self._names = tuple(names)
        self._first_event = first_event
        self._between_events = between_events
        self._litellm: Any = None

    async def knows(self, model: str) -> frozenset[str]:
        """Nothing beyond OpenAI's: what a provider does not know LiteLLM leaves out."""
        return frozenset()

    async def stream(self, ask: Ask) -> AsyncGenerator[Delta, None]:
        """The answer's events. Raises `BackendFault` before the first event or between two."""
        litellm = await self._loaded()
        patience, now = self._first_event, asyncio.get_running_loop().time
        deadline = now() + patience
        asked = self._call(litellm, ask, stream=True, stream_options={"include_usage": True})
        chunks = await self._until(deadline, patience, asked)
        try:
            while (chunk := await self._until(deadline, patience, anext(chunks, None))) is not None:
                event = _event(chunk)
                yield Delta(orjson.dumps(event), event)
                patience = self._between_events
                deadline = now() + patience  # counted from here: a slow client is not the provider's silence
        finally:
            await (chunks if hasattr(chunks, "aclose") else chunks.completion_stream).aclose()  # that of completions

    async def whole(self, ask: Ask) -> dict[str, Any]:
        """The answer of a route that has no stream. Raises `BackendFault`."""
        litellm = await self._loaded()
        patience = self._first_event
        deadline = asyncio.get_running_loop().time() + patience
        return _shaped(await self._until(deadline, patience, self._call(litellm, ask)))

    async def models(self) -> dict[str, Any]:
        """The models that the operator named; nobody is asked."""
        return {"object": "list", "data": [{"id": name, "object": "model", "created": 0} for name in self._names]}

    async def close(self) -> None:
        if self._litellm is not None:
            await self._litellm.close_litellm_async_clients()

    async def _loaded(self) -> Any:
        """LiteLLM; its import is no silence of the provider's."""
        if self._litellm is None:
            self._litellm = await asyncio.to_thread(_load)
        return self._litellm

    def _call(self, litellm: Any, ask: Ask, **more: Any) -> Awaitable[Any]:
        name, besides = _CALLS[ask.route]
        body = {field: value for field, value in ask.body.items() if field in _FIELDS}
        headers = {"extra_headers": dict(ask.headers)} if ask.headers else {}
        call: Callable[..., Awaitable[Any]] = getattr(litellm, name)
        return call(
            **body | more | besides | headers | self._given,
            timeout=max(self._first_event, self._between_events) + 1,  # ours come first
            max_retries=0,  # whether another may be asked is for the fleet to say
            drop_params=True,
        )

    async def _until(self, deadline: float, patience: float, work: Awaitable[Any]) -> Any:
        """What `work` brings until then. Raises `BackendFault` for whatever LiteLLM and its providers' code raise."""
        try:
            async with asyncio.timeout_at(deadline):
                return await work
        except TimeoutError:
            late = f"The provider sent nothing within {patience:g} s."
            raise BackendFault(504, late, code="backend_timeout") from None
        except Exception as error:
            raise _fault(error, self._given.get("api_key")) from None


def _load() -> Any:
    """LiteLLM, quiet; in a thread, as it takes its time."""
    os.environ.update(_ENVIRONMENT)
    for logger in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(logger).disabled = True  # its errors quote the request
    litellm = importlib.import_module("litellm")
    for name, value in _SETTINGS.items():
        setattr(litellm, name, value)
    return litellm


def _fault(error: Exception, key: str | None) -> BackendFault:
    """The provider's own status and words, which stand behind the names of LiteLLM's exceptions."""
    error = getattr(error, "original_exception", None) or error  # of a stream that broke
    status = getattr(error, "status_code", None)
    if "LLM Provider NOT provided" in str(error):
        message = "LiteLLM knows no provider for this model: write provider/model, or `rename` it"
        return BackendFault(400, message, "invalid_request_error", "model_not_found", "model")
    if not isinstance(status, int) or not 400 <= status <= 599:
        return unreadable(f"LiteLLM raised {type(error).__name__}")
    if type(error).__name__ in _BROKE:
        status, code = _BROKE[type(error).__name__]
        return BackendFault(status, "The provider cannot be reached, or broke off.", code=code)
    body = getattr(error, "body", None)
    text = str(error).partition("Exception - ")[2]
    answer = orjson.dumps({"error": body}) if isinstance(body, dict) else text.encode()
    if key:
        answer = answer.replace(key.encode(), b"...")
    try:
        refuse(status, answer, getattr(error, "litellm_response_headers", None) or {})
    except BackendFault as fault:
        return fault
    raise AssertionError("an error's status is an error")


def _event(chunk: Any) -> dict[str, Any]:
    """A chunk as OpenAI writes them; the one with the usage has no choices there, and an empty one here."""
    event = _shaped(chunk)
    choices = event.get("choices", [])
    if "usage" in event and not any(
        choice.get("delta") or choice.get("text") or choice["finish_reason"] for choice in choices
    ):
        event["choices"] = []
    return event


def _shaped(answer: Any) -> dict[str, Any]:
    """An answer, or a chunk of one, without what is not OpenAI's."""
    told = answer.model_dump(exclude_none=True)
    shaped = _of(told, _TOP)
    if "choices" in told:
        shaped["choices"] = [_choice(choice) for choice in told["choices"]]
    if "usage" in told:
        shaped["usage"] = _of(told["usage"], _USAGE)
    return shaped


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {part: _of(choice[part], _MESSAGE) for part in ("delta", "message") if part in choice}
    return {**_of(choice, _CHOICE), **parts, "finish_reason": choice.get("finish_reason")}


def _of(told: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: told[name] for name in names if name in told}
