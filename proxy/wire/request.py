"""A chat request: parsed, typed where the house must know it, untouched elsewhere."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.wire.escapes import whole
from proxy.wire.messages import BadRequest, Message, Permits, read_messages

# Fields of vLLM's that cut or bypass the prompt, or steer the server itself, on every route.
ROUND_THE_PROMPT = {
    "truncate_prompt_tokens": "leave it out: it would cut the policy's text away; set the policy's `history`",
    "truncation_side": "leave it out",
    "add_special_tokens": "leave it out",
    "kv_transfer_params": "leave it out: it is between servers",
    "ec_transfer_params": "leave it out: it is between servers",
    "mm_processor_kwargs": "leave it out",
    "mm_payload": "send parts of a message",
    "return_prompt_text": "leave it out: it repeats the prompt",
    "return_mm_kwargs": "leave it out: it repeats the prompt",
    "return_tokens_as_token_ids": "leave it out: tokens are text that no rail judges",
    "logprob_token_ids": "leave it out: no rail judges the tokens that were not chosen",
    "logits_processors": "set the policy's model settings instead",
    # What some routers and proxies take for settings of their own: another model or address than the key opens.
    **dict.fromkeys(("models", "fallbacks", "route", "provider", "custom_llm_provider"), "name one `model`"),
    **dict.fromkeys(
        ("api_base", "base_url", "api_key", "extra_headers", "extra_body", "mock_response"), "leave it out"
    ),
}
# Fields that show or go round the prompt, or ask for answers that the line does not judge. Refused, with what to do
# instead, unless the key allows them.
REFUSED = {
    "functions": "send `tools`",
    "prompt_logprobs": "leave it out: it repeats the prompt",
    "echo": "leave it out: it repeats the prompt",
    "chat_template": "the model's own template is used",
    "audio": "ask for text",
    "prompt_token_ids": "send messages",
    "prompt_embeds": "send messages",
    "prompt": "send messages",
    "input": "send messages",
    "documents": "put their text into a message, where it is judged",
    "chat_template_kwargs": "the model's own template is used as it stands",
    "prediction": "leave it out: no rail judges it",
    "return_token_ids": "leave it out: tokens are text that no rail judges",
    "top_logprobs": "leave it out or send 0: no rail judges the tokens that were not chosen",
    **ROUND_THE_PROMPT,
    "media_io_kwargs": "leave it out",
    "web_search_options": "leave it out: no rail judges what a search brings",
}
_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "model": (str, "a string"),
    "stream": (bool, "a boolean"),
    "stream_options": (dict, "an object"),
    "metadata": (dict, "an object"),
    "n": (int, "an integer"),
    "max_tokens": (int, "an integer"),
    "max_completion_tokens": (int, "an integer"),
    "temperature": ((int, float), "a number"),
    "top_p": ((int, float), "a number"),
    "repetition_penalty": ((int, float), "a number"),
    "response_format": (dict, "an object"),
    "tools": (list, "a list"),
    "tool_choice": ((str, dict), "a string or an object"),
    "stop": ((str, list), "a string or a list of strings"),
    "structured_outputs": (dict, "an object"),
    "store": (bool, "a boolean"),
}
_DEEPEST = 100  # levels of a body's nesting; orjson writes 254
_JSON = ("json_object", "json_schema")


class Wanted:
    """What every route's request tells in the same way."""

    body: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.body.get("model") or "")

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Whether the client reads usage: always in a whole answer, on a stream only if it asked."""
        return not self.stream or self._stream_option("include_usage") or self.wants_running_usage

    @property
    def wants_running_usage(self) -> bool:
        return self.stream and self._stream_option("continuous_usage_stats")

    def _stream_option(self, name: str) -> bool:
        return bool((self.body.get("stream_options") or {}).get(name))

    @property
    def stops(self) -> list[str]:
        """The strings at which the model stops."""
        stop = self.body.get("stop") or []
        return [stop] if isinstance(stop, str) else stop

    @property
    def wants_json(self) -> bool:
        """Whether the answer is a JSON document, by OpenAI's field or by vLLM's."""
        kind = (self.body.get("response_format") or {}).get("type")
        guided = self.body.get("structured_outputs") or {}
        return (
            kind in _JSON
            or any(_given(guided, name) for name in ("json", "json_object"))
            or _given(self.body, "guided_json")
        )

    @property
    def session(self) -> str | None:
        """The conversation's name, if the app gives it in `metadata.session_id`."""
        return (self.body.get("metadata") or {}).get("session_id") or None


@dataclass(frozen=True, slots=True)
class ChatRequest(Wanted):
    """A checked request. `body` is the client's own object; nothing in the house changes it."""

    body: dict[str, Any]
    messages: tuple[Message, ...]

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return self.body.get("n") or 1

    @property
    def forces_tools(self) -> bool:
        """Whether the model must answer with a tool call."""
        choice = self.body.get("tool_choice")
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            choice = (choice.get("allowed_tools") or choice).get("mode")
        return choice == "required" or isinstance(choice, dict)

    def allows(self, permits: Permits) -> Callable[[str], bool]:
        """Which functions the model may call: those the request offers, or, where it offers none, those permitted."""
        offered = frozenset(tool["function"]["name"] for tool in self.body.get("tools") or ())
        return offered.__contains__ if offered else permits.tool

    def talk(self) -> list[Message]:
        """The conversation: every message but the app's instructions."""
        return [message for message in self.messages if message.role is not None]


def parse(raw: bytes, permits: Permits) -> ChatRequest:
    """The request in `raw`. Raises `BadRequest`."""
    return check(load(raw), permits)


def texts_alone(raw: bytes, permits: Permits) -> ChatRequest | None:
    """What was said in a chat that cannot be served as it is, without all else; None where nothing can be read.

    A child in danger is heard, whatever the app has done wrong.
    """
    try:
        body = load(raw)
        listed = body.get("messages")
        messages = [_text_alone(one) for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict)]
        spoken = [one for one in messages if one["content"] and one["role"] in ("user", "assistant")]
        told = {"model": str(body.get("model") or ""), "messages": spoken, "stream": body.get("stream") is True}
        return check(told, permits) if any(one["role"] == "user" for one in spoken) else None
    except BadRequest:
        return None


def _text_alone(message: Mapping[str, Any]) -> dict[str, str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return {"role": str(message.get("role")), "content": "\n".join(text for text in texts if isinstance(text, str))}


def load(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`, half a character in it as U+FFFD. Raises `BadRequest`."""
    try:
        body = _read(raw.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as fault:
        # the decoder's own message may quote the text
        place = f"line {fault.lineno}, column {fault.colno}"
        raise BadRequest(f"The body is not JSON (at {place}).", code="invalid_json") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    if raw.count(b"[") + raw.count(b"{") > _DEEPEST:
        _check_depth(body)
    return body


def _read(raw: bytes) -> Any:
    """JSON as orjson reads it; where it does not, with U+FFFD for what is no character.

    Apps cut texts in the middle of an emoji: what is left of it must not make a child unheard.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return orjson.loads(whole(raw.decode("utf-8", "replace")))


def _check_depth(body: dict[str, Any]) -> None:
    """Raises `BadRequest` for a body nested deeper than what is written of it for the backend may be."""
    level: list[Any] = [body]
    for _ in range(_DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for values in inner for one in values if isinstance(one, dict | list)]
        if not level:
            return
    raise BadRequest(f"The body is nested more than {_DEEPEST} levels deep.", code="invalid_json")


def check(body: dict[str, Any], permits: Permits) -> ChatRequest:
    """The chat request that `body` is. Raises `BadRequest`."""
    check_fields(body, permits, REFUSED)
    _check_format(body)
    _check_tools(body, permits)
    request = ChatRequest(body, read_messages(body.get("messages"), permits))
    _check_continuation(request, permits)
    return request


def check_fields(body: Mapping[str, Any], permits: Permits, refused: Mapping[str, str]) -> None:
    """What holds for the bodies of every route: types, fields that must be allowed, numbers. Raises `BadRequest`."""
    for name, (kind, words) in _TYPES.items():
        value = body.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise BadRequest(f"`{name}` must be {words}.", name, "invalid_type")
    for name, remedy in refused.items():
        if body.get(name) and name not in permits.fields:
            words = f"`{name}` is not served through Kindrail unless the key allows it: {remedy}."
            raise BadRequest(words, name, "unsupported_parameter")
    _check_inner_types(body)
    _check_numbers(body, permits)


def _check_inner_types(body: Mapping[str, Any]) -> None:
    stop, session = body.get("stop"), (body.get("metadata") or {}).get("session_id")
    if isinstance(stop, list) and not all(isinstance(one, str) for one in stop):
        raise BadRequest("`stop` must be a string or a list of strings.", "stop", "invalid_type")
    if session is not None and not isinstance(session, str):
        name = "metadata.session_id"
        raise BadRequest(f"`{name}` must be a string: the conversation's name.", name, "invalid_type")


def _check_numbers(body: Mapping[str, Any], permits: Permits) -> None:
    count = body.get("n")
    if count is not None and not 1 <= count <= permits.choices:
        most = "1" if permits.choices == 1 else f"from 1 to {permits.choices}"
        raise BadRequest(f"`n` must be {most}: so many answers the policy allows.", "n", "unsupported_value")
    if body.get("best_of") not in (None, 0, count or 1):
        raise BadRequest("`best_of` must be as large as `n`, or left out.", "best_of", "unsupported_value")


def _check_continuation(request: ChatRequest, permits: Permits) -> None:
    """Raises `BadRequest` where the model would go on in another's words: it goes on with an answer alone."""
    by_model = bool(request.messages) and request.messages[-1].role == "assistant"
    asked = {"continue_final_message": True, "add_generation_prompt": False}
    for name, value in asked.items():
        if request.body.get(name) is value and name not in permits.fields and not by_model:
            words = f"`{name}` needs an assistant message at the end of `messages`."
            raise BadRequest(words, name, "unsupported_value")


def _check_format(body: Mapping[str, Any]) -> None:
    kind = (body.get("response_format") or {}).get("type", "text")
    if kind not in ("text", *_JSON):
        words = "`response_format` must be of the type text, json_object or json_schema."
        raise BadRequest(words, "response_format", "unsupported_value")
    if body.get("modalities") not in (None, ["text"]):
        raise BadRequest('`modalities` must be ["text"].', "modalities", "unsupported_value")


def _check_tools(body: Mapping[str, Any], permits: Permits) -> None:
    for number, tool in enumerate(body.get("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        place = f"tools[{number}]"
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            words = f"`{place}` must be a tool of the type function, with a `function` that has a `name`."
            raise BadRequest(words, place, "unsupported_value")
        if not permits.tool(function["name"]):
            words = f"`{place}` is a function that the policy does not allow: name it under the policy's `tools`."
            raise BadRequest(words, place, "tool_not_allowed")


def _given(body: Mapping[str, Any], name: str) -> bool:
    return body.get(name) not in (None, False)
