"""/v1/embeddings: the texts that are to be embedded, and the body with what the model may read of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.wire.completions import check_text, read_texts
from proxy.wire.messages import BadRequest, Message, Permits
from proxy.wire.request import Wanted, check_fields, load

# Refused, with what to do instead, unless the key allows them: vLLM embeds chat messages and templates of the client's
# too.
_REFUSED = {
    "messages": "send `input`",
    "prompt": "send `input`",
    "prompt_token_ids": "send `input`",
    "prompt_embeds": "send `input`",
    "chat_template": "the model's own template is used",
    "chat_template_kwargs": "the model's own template is used as it stands",
}
_TYPES: Mapping[str, tuple[type, str]] = {
    "encoding_format": (str, "a string"),
    "dimensions": (int, "an integer"),
    "user": (str, "a string"),
}
_MOST = 2048  # texts of one request, as at OpenAI


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest(Wanted):
    """A checked request. `body` is the client's own object; nothing in the house changes it."""

    body: dict[str, Any]
    texts: tuple[str, ...]  # none where the input is token ids

    def upstream(self, texts: Sequence[str]) -> dict[str, Any]:
        """The body for the backend. texts: what the model may read, in the place of each of `self.texts`."""
        sent = self.body["input"]
        return {**self.body, "input": texts[0] if isinstance(sent, str) else list(texts) or sent}


def parse(raw: bytes, permits: Permits) -> EmbeddingsRequest:
    """The request in `raw`. Raises `BadRequest`."""
    body = load(raw)
    check_fields(body, permits, _REFUSED)
    for name, (kind, words) in _TYPES.items():
        if body.get(name) is not None and type(body[name]) is not kind:
            raise BadRequest(f"`{name}` must be {words}.", name, "invalid_type")
    texts = read_texts("input", body.get("input"), permits)
    if len(texts) > _MOST:
        raise BadRequest(
            f"`input` has more than {_MOST} texts: send them in several requests.", "input", "invalid_value"
        )
    check_text("input", tuple(Message("user", text, index) for index, text in enumerate(texts)))
    return EmbeddingsRequest(body, texts)
