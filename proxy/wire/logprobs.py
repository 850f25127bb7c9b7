"""Log probabilities of an answer's tokens, from the form of completions into that of chat, and back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

_OF_TOKENS = frozenset({"tokens", "token_logprobs", "top_logprobs", "text_offset"})


def of_chat(told: Any) -> Any:
    """Log probabilities in chat's form, one object a token; what has another form stays, for the sieve to stop.

    A token's `top_logprobs` is missing where the server told none at all, None where it told none of this token, and
    empty where it told the chosen one alone, so that each comes back as it was.
    """
    if not _are_lists(told):
        return told
    tops = told.get("top_logprobs")
    tokens = [
        {"token": token, "logprob": value} for token, value in zip(told["tokens"], told["token_logprobs"], strict=True)
    ]
    for token, top in zip(tokens, tops or (), strict=False):
        told_alone = top is not None and top.keys() <= {token["token"]}
        others = [{"token": name, "logprob": value} for name, value in (top or {}).items()]
        token["top_logprobs"] = None if top is None else [] if told_alone else others
    return {**{key: value for key, value in told.items() if key not in _OF_TOKENS}, "content": tokens}


def _are_lists(told: Any) -> bool:
    """Whether the log probabilities are completions': lists of one length, with a value for each token."""
    if not isinstance(told, dict):
        return False
    tokens, tops = told.get("tokens"), told.get("top_logprobs")
    lists = [tokens, told.get("token_logprobs"), *([tops] if tops is not None else [])]
    if not all(isinstance(one, list) and len(one) == len(lists[1] or ()) for one in lists):
        return False
    return all(isinstance(token, str) for token in tokens or ()) and all(
        top is None or isinstance(top, dict) for top in tops or ()
    )


def of_text(told: Any, start: int) -> dict[str, Any] | None:
    """Log probabilities in completions' form, from chat's; None for any other form.

    start: where in the answer the first token stands, in characters; places are counted anew.
    """
    tokens = told.get("content") if isinstance(told, dict) else None
    if not isinstance(tokens, list) or not all(_is_token(one) for one in tokens):
        return None
    names = [one["token"] for one in tokens]
    tops = [_top(one) for one in tokens]
    none_told = bool(tokens) and not any("top_logprobs" in one for one in tokens)
    return {
        **{key: value for key, value in told.items() if key != "content"},
        "text_offset": list(accumulate(map(len, names[:-1]), initial=start))[: len(names)],
        "token_logprobs": [one.get("logprob") for one in tokens],
        "tokens": names,
        "top_logprobs": None if none_told else tops,
    }


def _top(token: Mapping[str, Any]) -> dict[str, Any] | None:
    told = token.get("top_logprobs")
    if told is None:
        return None
    return {one["token"]: one.get("logprob") for one in told or (token,) if _is_token(one)}


def _is_token(told: Any) -> bool:
    return isinstance(told, dict) and isinstance(told.get("token"), str)
