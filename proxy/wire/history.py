"""How much of a conversation the model reads: what its context allows.

The oldest turns go, in blocks of half the bound, so that the beginning of the prompt stays the same for many turns and
the model server's prefix cache keeps working. Where a block ends depends on the turns before it alone.
"""

from __future__ import annotations

from typing import Any

from proxy.policy.schema import History

_OURS = frozenset({"system", "developer"})
_OF_A_MESSAGE = 5  # tokens of the template around each message


def bounded(messages: list[dict[str, Any]], history: History) -> list[dict[str, Any]]:
    """The messages without the turns that are too old: instructions stay, turns stay whole, the last always does.

    A turn begins with a user message that follows an answer. Bounds count messages, and tokens by estimate.
    """
    if history.messages is None and history.tokens is None:
        return messages
    turns = _turns([message for message in messages if message["role"] not in _OURS])
    first = max(
        _first(turns, [len(turn) for turn in turns], history.messages),
        _first(turns, [sum(map(_tokens, turn)) for turn in turns], history.tokens),
    )
    old = {id(message) for turn in turns[:first] for message in turn}
    return [message for message in messages if id(message) not in old]


def _turns(talk: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    turns: list[list[dict[str, Any]]] = []
    before = ""
    for message in talk:
        if not turns or (message["role"] == "user" and before not in ("user", "")):
            turns.append([])
        turns[-1].append(message)
        before = message["role"]
    return turns


def _first(turns: list[list[dict[str, Any]]], sizes: list[int], most: int | None) -> int:
    """The first turn that is kept."""
    over = sum(sizes) - most if most is not None else 0
    if over <= 0:
        return 0
    block = max(1, (most or 0) // 2)
    drop, gone, first = -(-over // block) * block, 0, 0
    while gone < drop and first < len(turns) - 1:
        gone += sizes[first]
        first += 1
    return first


def _tokens(message: dict[str, Any]) -> int:
    """About how many tokens a message takes, rather too many than too few: a third of its bytes.

    That is three letters, or one syllable of Hangul.
    """
    calls = message.get("tool_calls") or ()
    text = _text(message.get("content")) + "".join(call["function"]["arguments"] for call in calls)
    return len(text.encode("utf-8", "replace")) // 3 + _OF_A_MESSAGE


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return content or ""
