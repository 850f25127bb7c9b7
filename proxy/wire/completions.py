"""/v1/completions: prompts that are text, and answers that are text, in the house's own terms and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import orjson

from proxy.turn import Delta
from proxy.wire.events import rewritten
from proxy.wire.logprobs import of_chat, of_text
from proxy.wire.messages import BadRequest, Message, Permits, check_lengths
from proxy.wire.prompt import Readable
from proxy.wire.request import REFUSED as OF_CHATS
from proxy.wire.request import Wanted, check_fields, load
from proxy.wire.speakers import Part, read
from proxy.wire.sse import encode

# Refused, with what to do instead, unless the key allows them.
REFUSED = {
    **{name: remedy for name, remedy in OF_CHATS.items() if name != "prompt"},
    "messages": "send them to /v1/chat/completions",
    "tools": "send them to /v1/chat/completions",
    "suffix": "leave it out: no rail judges it",
    "prompt_token_ids": "send `prompt`",
    "prompt_embeds": "send `prompt`",
}
_DONE = encode(b"[DONE]")


@dataclass(frozen=True, slots=True)
class TextRequest(Wanted):
    """A checked request. `body` is the client's own object; nothing in the house changes it."""

    body: dict[str, Any]
    prompts: tuple[str, ...]  # none where the prompt is token ids
    parts: tuple[tuple[Part, ...], ...]  # of each prompt
    messages: tuple[Message, ...]  # what the parts say, numbered through all prompts

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return _count(self.body["prompt"]) * (self.body.get("n") or 1)

    def talk(self) -> list[Message]:
        """The conversation: every message but the app's instructions.

        Of several prompts, all that was answered stands before all that was not, so that the last words of each are
        judged; an answer that the app began in one of them counts as the user's words.
        """
        talks = [[one for one in messages if one.role is not None] for messages in self._by_prompt()]
        if len(talks) == 1:
            return talks[0]
        sides = [_sides(talk) for talk in talks]
        return [one for answered, _ in sides for one in answered] + [one for _, rest in sides for one in rest]

    def upstream(self, texts: Readable) -> dict[str, Any]:
        """The body for the backend, always a stream. texts: by message, what the model may read where it differs."""
        built = [
            _rebuilt(prompt, parts, [texts.get(one.index, one.text) for one in messages])
            for prompt, parts, messages in zip(self.prompts, self.parts, self._by_prompt(), strict=True)
        ]
        sent = self.body["prompt"]
        prompt = built[0] if isinstance(sent, str) else built or sent
        return {**self.body, "prompt": prompt, "stream": True}

    def _by_prompt(self) -> Iterator[tuple[Message, ...]]:
        start = 0
        for parts in self.parts:
            yield self.messages[start : start + len(parts)]
            start += len(parts)


def parse(raw: bytes, permits: Permits) -> TextRequest:
    """The request in `raw`. Raises `BadRequest`."""
    body = load(raw)
    check_fields(body, permits, REFUSED)
    _check_logprobs(body.get("logprobs"), permits)
    prompts = read_texts("prompt", body.get("prompt"), permits)
    parts = tuple(tuple(read(prompt)) for prompt in prompts)
    said = [(one.role, prompt[one.start : one.end]) for prompt, own in zip(prompts, parts, strict=True) for one in own]
    messages = tuple(Message(role, text, index) for index, (role, text) in enumerate(said))
    check_text("prompt", messages)
    request = TextRequest(body, prompts, parts, messages)
    if request.choices > permits.choices:
        words = f"`prompt` and `n` ask for {request.choices} answers: {permits.choices} may be asked for at once."
        raise BadRequest(words, "prompt", "unsupported_value")
    return request


def check_text(name: str, messages: tuple[Message, ...]) -> None:
    """The bounds on messages, for those that were made of the field `name`. Raises `BadRequest`."""
    try:
        check_lengths(messages)
    except BadRequest as fault:
        words = f"`{name}` is longer than the rails judge at once: send less text in a request."
        raise BadRequest(words, name, fault.code) from None


def is_token_ids(value: object) -> bool:
    """Whether it is a list of token ids, or of such lists."""
    many = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    return all(isinstance(ids, list) and ids and all(type(one) is int for one in ids) for ids in many)


def read_texts(name: str, value: object, permits: Permits) -> tuple[str, ...]:
    """The texts of a field that is a string or a list of strings; none for token ids. Raises `BadRequest`.

    Token ids are text that no rail can read: only a key that allows `prompt_token_ids` may send them.
    """
    if is_token_ids(value):
        if "prompt_token_ids" in permits.fields:
            return ()
        raise BadRequest(f"`{name}` must be text, not token ids: no rail can judge them.", name, "unsupported_value")
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"`{name}` must be a string or a list of strings.", name, "invalid_type")
    return tuple(texts)


def _check_logprobs(count: object, permits: Permits) -> None:
    """Alternatives are told from 1 on, and the likeliest token is not always the one that was chosen."""
    if count is not None and type(count) is not int:
        raise BadRequest("`logprobs` must be an integer.", "logprobs", "invalid_type")
    if count and "top_logprobs" not in permits.fields:
        words = "`logprobs` must be 0, or left out: no rail judges the tokens that were not chosen."
        raise BadRequest(words, "logprobs", "unsupported_value")


def _count(prompt: str | list[Any]) -> int:
    return len(prompt) if isinstance(prompt, list) and type(prompt[0]) is not int else 1


def _sides(talk: list[Message]) -> tuple[list[Message], list[Message]]:
    """One prompt's words that were answered, and those that were not."""
    answered = max((at for at, one in enumerate(talk[:-1]) if one.role == "assistant"), default=-1) + 1
    rest = [replace(one, role="user") if one.role == "assistant" else one for one in talk[answered:]]
    return talk[:answered], rest


def _rebuilt(prompt: str, parts: Sequence[Part], texts: Sequence[str]) -> str:
    """The prompt with other texts in its parts, and what stands between them as it was."""
    pieces, end = [], 0
    for part, text in zip(parts, texts, strict=True):
        pieces += [prompt[end : part.start], text]
        end = part.end
    return "".join([*pieces, prompt[end:]])


class Completions:
    """/v1/completions, for one answer: what nobody touched leaves with every field as it came."""

    route: ClassVar[str] = "completions"

    def __init__(self) -> None:
        self._told: dict[int, int] = {}  # characters of each choice that have left: where its next token stands

    def arrived(self, delta: Delta) -> Delta:
        """The backend's event as a chat chunk."""
        event = delta.event
        choices = event.get("choices")
        if not isinstance(choices, list):
            return delta
        changed = {"choices": [_as_chat(one) if isinstance(one, dict) else one for one in choices]}
        kind = {"object": "chat.completion.chunk"} if "object" in event else {}
        return rewritten({**event, **kind, **changed})

    def events(self, deltas: Sequence[Delta]) -> bytes:
        """Chat chunks as the client reads them on a stream."""
        return b"".join([encode(orjson.dumps(self._told_as(delta.event, "delta"))) for delta in deltas])

    def done(self) -> bytes:
        """The end of a stream that went well."""
        return _DONE

    def broke(self, error: dict[str, Any]) -> bytes:
        """The end of a stream that broke off. `error`: an OpenAI error object's content."""
        return encode(orjson.dumps({"error": error})) + _DONE

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer in one piece, from a `chat.completion`."""
        return self._told_as(body, "message")

    def _told_as(self, body: Mapping[str, Any], where: str) -> dict[str, Any]:
        choices = [self._choice(one, where) for one in body.get("choices") or ()]
        told = {**body, "object": "text_completion", "choices": choices}
        if str(body.get("id", "")).startswith("chatcmpl-"):
            told["id"] = str(body["id"]).removeprefix("chat")
        return told

    def _choice(self, choice: Mapping[str, Any], where: str) -> dict[str, Any]:
        """One choice: its text in the place of the delta or message (completions have no field for a refusal)."""
        said = choice.get(where) or {}
        text = said.get("content") or said.get("refusal") or ""
        start = self._told.get(index := choice.get("index", 0), 0)
        self._told[index] = start + len(text)
        told = {"text" if key == where else key: value for key, value in choice.items()}
        return {**told, "text": text, "logprobs": of_text(choice.get("logprobs"), start)}


def _as_chat(choice: dict[str, Any]) -> dict[str, Any]:
    if "text" not in choice:
        return choice
    chat: dict[str, Any] = {}
    for key, value in choice.items():
        if key == "text":
            chat["delta"] = {"content": value}
        elif key != "delta":  # `text` is what such an event says
            chat[key] = of_chat(value) if key == "logprobs" else value
    return chat
