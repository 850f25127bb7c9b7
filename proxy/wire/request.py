"""A chat request: parsed, typed where the house must know it, untouched elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.turn import Role


class BadRequest(ValueError):
    """The request cannot be served as it stands.

    `param` names the field; the message names the remedy and repeats no text.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


# Fields that show or go round the prompt, or ask for answers that the line does not judge. Refused, with what to do
# instead.
_REFUSED = {
    "tools": "send requests without tools",
    "functions": "send requests without functions",
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
    "logits_processors": "set the policy's model settings instead",
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
    "stop": ((str, list), "a string or a list of strings"),
}
_LONGEST_MESSAGE = 32_000  # characters of one message of the user or a tool, which the rails judge whole
_LONGEST_TALK = 400_000  # characters of all messages
_SYSTEM = frozenset({"system", "developer"})
_TEXT_PARTS = frozenset({"text", "input_text", "refusal"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a request: its role for the line (None: the app's own instructions), its text, its place."""

    role: Role | None
    text: str
    index: int


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked request. `body` is the client's own object; nothing in the house changes it."""

    body: dict[str, Any]
    messages: tuple[Message, ...]

    @property
    def model(self) -> str:
        return str(self.body.get("model") or "")

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Whether the client reads usage: always in a whole answer, on a stream only if it asked."""
        return not self.stream or self.stream_option("include_usage") or self.wants_running_usage

    @property
    def wants_running_usage(self) -> bool:
        return self.stream and self.stream_option("continuous_usage_stats")

    def stream_option(self, name: str) -> bool:
        return bool((self.body.get("stream_options") or {}).get(name))

    @property
    def session(self) -> str | None:
        """The conversation's name, if the app gives it in `metadata.session_id`."""
        return (self.body.get("metadata") or {}).get("session_id") or None

    def talk(self) -> list[Message]:
        """The conversation: every message but the app's instructions."""
        return [message for message in self.messages if message.role is not None]


def parse(raw: bytes) -> ChatRequest:
    """The request in `raw`. Raises `BadRequest`."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        # the decoder's own message may quote the text
        place = f"line {fault.lineno}, column {fault.colno}"
        raise BadRequest(f"The body is not JSON (at {place}).", code="invalid_json") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    _check_fields(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("`messages` must be a list of at least one message.", "messages")
    parsed = tuple(_message(message, index) for index, message in enumerate(messages))
    _check_lengths(parsed)
    return ChatRequest(body, parsed)


def _check_fields(body: dict[str, Any]) -> None:
    for name, (kind, words) in _TYPES.items():
        value = body.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise BadRequest(f"`{name}` must be {words}.", name, "invalid_type")
    for name, remedy in _REFUSED.items():
        if body.get(name):
            raise BadRequest(f"`{name}` is not served through Kindrail: {remedy}.", name, "unsupported_parameter")
    _check_inner_types(body)
    _check_values(body)


def _check_inner_types(body: dict[str, Any]) -> None:
    stop, session = body.get("stop"), (body.get("metadata") or {}).get("session_id")
    if isinstance(stop, list) and not all(isinstance(one, str) for one in stop):
        raise BadRequest("`stop` must be a string or a list of strings.", "stop", "invalid_type")
    if session is not None and not isinstance(session, str):
        name = "metadata.session_id"
        raise BadRequest(f"`{name}` must be a string: the conversation's name.", name, "invalid_type")


def _check_values(body: dict[str, Any]) -> None:
    for name in ("n", "best_of"):
        if body.get(name) not in (None, 1):
            raise BadRequest(f"`{name}` must be 1: one answer is guarded per request.", name, "unsupported_value")
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name) is not None and body[name] < 1:
            raise BadRequest(f"`{name}` must be at least 1, or left out.", name, "invalid_value")
    if (body.get("response_format") or {}).get("type", "text") != "text":
        raise BadRequest("`response_format` must be text.", "response_format", "unsupported_value")
    if body.get("modalities") not in (None, ["text"]):
        raise BadRequest('`modalities` must be ["text"].', "modalities", "unsupported_value")


def _check_lengths(messages: tuple[Message, ...]) -> None:
    for message in messages:
        if message.role in ("user", "tool") and len(message.text) > _LONGEST_MESSAGE:
            place = f"messages[{message.index}]"
            words = f"`{place}` has more than {_LONGEST_MESSAGE} characters: send it in shorter messages."
            raise BadRequest(words, place, "message_too_long")
    if sum(len(message.text) for message in messages) > _LONGEST_TALK:
        words = f"`messages` have more than {_LONGEST_TALK} characters together: leave the oldest out."
        raise BadRequest(words, "messages", "message_too_long")


def _message(message: object, index: int) -> Message:
    place = f"messages[{index}]"
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest(f"`{place}` must be an object with a `role`.", place)
    name = message["role"]
    text = _text(message.get("content"), f"{place}.content", optional=name == "assistant")
    if name in _SYSTEM:
        return Message(None, text, index)
    # whatever is not known to come from the model or a tool is judged as the user's
    role: Role = "assistant" if name == "assistant" else "tool" if name in ("tool", "function") else "user"
    return Message(role, text, index)


def _text(content: object, place: str, optional: bool) -> str:
    """The text of a message's content: a string, or text parts joined by line ends."""
    if isinstance(content, str):
        return content
    if content is None and optional:
        return ""
    if not isinstance(content, list):
        raise BadRequest(f"`{place}` must be a string or a list of text parts.", place, "invalid_type")
    texts = []
    for number, part in enumerate(content):
        here = f"{place}[{number}]"
        if not isinstance(part, dict) or part.get("type") not in _TEXT_PARTS:
            words = f"`{here}` must be a text part: other content is not guarded."
            raise BadRequest(words, here, "unsupported_content")
        text = part.get("refusal" if part["type"] == "refusal" else "text")
        if not isinstance(text, str):
            raise BadRequest(f"`{here}.text` must be a string.", here, "invalid_type")
        texts.append(text)
    return "\n".join(texts)
