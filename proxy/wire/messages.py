"""The messages of a request: whose each is, and which of it is text that the line judges."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from proxy.turn import Role

_LONGEST_MESSAGE = 32_000  # characters of what the rails judge whole: one message, the arguments of one call
_LONGEST_ANSWER = 128_000  # ... of an earlier answer, which is only redacted, and which no app could send in pieces
_LONGEST_TALK = 400_000  # characters of all messages
_MOST_MESSAGES = 2_048  # as many as OpenAI takes inputs of embeddings
_SYSTEM = frozenset({"system", "developer"})
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")  # compared, not hashed: a type may be any JSON
_PARTS = {  # the type of a part that is no text -> what policies and keys call it
    "image_url": "image", "input_image": "image", "image_pil": "image", "image_embeds": "image",
    "input_audio": "audio", "audio_url": "audio", "video_url": "image",
    "file": "file", "input_file": "file",
}  # fmt: skip
_ROLE = re.compile(r"[\w.-]{1,32}", re.ASCII)  # templates write it into the prompt as it is
_NAME = re.compile(r"[\w.:|/=+-]{1,256}", re.ASCII)  # what ties a tool's message to its call; no rail judges it
_FUNCTION = re.compile(r"[\w.-]{1,64}", re.ASCII)  # OpenAI's rule for the name of a function, and dots


class BadRequest(ValueError):
    """The request cannot be served as it stands.

    `param` names the field; the message names the remedy and repeats no text.
    """

    status = 400

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Permits:
    """What policy and key allow beyond plain text."""

    tools: tuple[str, ...] = ()  # globs on the names of functions
    parts: frozenset[str] = frozenset()  # image, audio, file
    fields: frozenset[str] = frozenset()  # fields of a request that are refused otherwise
    choices: int = 1  # the most answers of one request

    def tool(self, name: object) -> bool:
        """Whether the model may call a function of this name."""
        return _is_function(name) and any(fnmatchcase(str(name), pattern) for pattern in self.tools)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a request: its role for the line (None: the app's own instructions), its text, its place."""

    role: Role | None
    text: str
    index: int
    calls: tuple[str, ...] = ()  # the arguments of the tool calls that it made


def read_messages(messages: object, permits: Permits) -> tuple[Message, ...]:
    """The messages of a chat request. Raises `BadRequest`."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("`messages` must be a list of at least one message.", "messages")
    read = tuple(_message(message, index, permits.parts) for index, message in enumerate(messages))
    check_lengths(read)
    return read


def check_lengths(messages: tuple[Message, ...]) -> None:
    """Raises `BadRequest` for more text than the rails judge in bounded time."""
    if len(messages) > _MOST_MESSAGES:
        words = f"`messages` are more than {_MOST_MESSAGES}: leave the oldest out."
        raise BadRequest(words, "messages", "message_too_long")
    for message in messages:
        place = f"messages[{message.index}]"
        most = _LONGEST_ANSWER if message.role == "assistant" else _LONGEST_MESSAGE
        _check_length(message.text if message.role else "", place, most)
        for number, arguments in enumerate(message.calls):
            _check_length(arguments, f"{place}.tool_calls[{number}].function.arguments", _LONGEST_ANSWER)
    if sum(len(message.text) + sum(map(len, message.calls)) for message in messages) > _LONGEST_TALK:
        words = f"`messages` have more than {_LONGEST_TALK} characters together: leave the oldest out."
        raise BadRequest(words, "messages", "message_too_long")


def _check_length(text: str, place: str, most: int) -> None:
    if len(text) > most:
        words = f"`{place}` has more than {most} characters: send it in shorter messages."
        raise BadRequest(words, place, "message_too_long")


def text_of(part: dict[str, Any]) -> Any:
    """The text of a part that is text."""
    return part.get("refusal" if part["type"] == "refusal" else "text")


def is_text(part: object) -> bool:
    """Whether a part of a message's content is text."""
    return isinstance(part, dict) and part.get("type") in _TEXT_PARTS


def _message(message: object, index: int, parts: Collection[str]) -> Message:
    place = f"messages[{index}]"
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest(f"`{place}` must be an object with a `role`.", place)
    name = message["role"]
    if not _ROLE.fullmatch(name):
        words = f"`{place}.role` must be of at most 32 letters, digits, `_`, `-` and `.`, in ASCII."
        raise BadRequest(words, f"{place}.role", "unsupported_value")
    by_model = name == "assistant"
    text = _text(message.get("content"), f"{place}.content", parts, optional=by_model)
    if name in _SYSTEM:
        return Message(None, text, index)
    if by_model:
        return Message("assistant", text or _refusal(message), index, _calls(message.get("tool_calls"), place))
    if message.get("tool_calls"):
        here = f"{place}.tool_calls"
        raise BadRequest(f"`{here}` belongs to a message of the role assistant.", here, "unsupported_value")
    # whatever is not known to come from the model or a tool is judged as the user's
    role: Role = "tool" if name in ("tool", "function") else "user"
    for tie in ("name", "tool_call_id") if role == "tool" else ():
        _check_name(message.get(tie), f"{place}.{tie}")
    return Message(role, text, index)


def _refusal(message: dict[str, Any]) -> str:
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) else ""


def _calls(calls: object, place: str) -> tuple[str, ...]:
    """The arguments of a message's tool calls."""
    if not calls:
        return ()
    here = f"{place}.tool_calls"
    if not isinstance(calls, list):
        raise BadRequest(f"`{here}` must be a list.", here, "invalid_type")
    return tuple(_call(call, f"{here}[{number}]") for number, call in enumerate(calls))


def _call(call: object, place: str) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict) or not _is_function(function.get("name")):
        words = f"`{place}` must be an object with a `function` that has a `name` of letters, digits, `_`, `-` and `.`."
        raise BadRequest(words, place, "invalid_type")
    _check_name(call.get("id"), f"{place}.id")
    arguments = function.get("arguments", "{}")
    if not isinstance(arguments, str):
        raise BadRequest(
            f"`{place}.function.arguments` must be a string.", f"{place}.function.arguments", "invalid_type"
        )
    return arguments


def _check_name(name: object, place: str) -> None:
    """Raises `BadRequest` for a name that is given and could be a sentence."""
    if name and not (isinstance(name, str) and _NAME.fullmatch(name)):
        words = f"`{place}` must be of at most 128 letters, digits, `_`, `-`, `.` and `:`, in ASCII."
        raise BadRequest(words, place, "unsupported_value")


def _is_function(name: object) -> bool:
    return isinstance(name, str) and _FUNCTION.fullmatch(name) is not None


def _text(content: object, place: str, parts: Collection[str], optional: bool) -> str:
    """The text of a message's content: a string, or its text parts joined by line ends."""
    if isinstance(content, str):
        return content
    if content is None and optional:
        return ""
    if not isinstance(content, list):
        raise BadRequest(f"`{place}` must be a string or a list of parts.", place, "invalid_type")
    texts = []
    for number, part in enumerate(content):
        here = f"{place}[{number}]"
        if not is_text(part):
            _check_part(part, here, parts)
            continue
        text = text_of(part)
        if not isinstance(text, str):
            raise BadRequest(f"`{here}.text` must be a string.", here, "invalid_type")
        texts.append(text)
    return "\n".join(texts)


def _check_part(part: object, place: str, allowed: Collection[str]) -> None:
    """Raises `BadRequest` for a part that policy and key do not let pass: no rail can look into it."""
    kind = _PARTS.get(str(part.get("type"))) if isinstance(part, dict) else None
    if kind is None:
        raise BadRequest(f"`{place}` must be a text part: other content is not guarded.", place, "unsupported_content")
    if kind not in allowed:
        words = f"`{place}` ({kind}) may not pass under this policy and key: no rail looks into it."
        raise BadRequest(words, place, "unsupported_content")
