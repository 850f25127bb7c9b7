"""What a request has cost: the backend's own count where it tells one, added up over its answers, else an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.wire.events import KEY, index_of

Usage = dict[str, Any]
NO_USAGE: Usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_MOST = 10**12  # tokens: more of them no request has
_PER_TOKEN = 4  # characters


class Tally:
    """Counts one request. `n`: how many answers each of its prompts gets.

    vLLM counts with every event the tokens of that event's answer alone, and all of them together only at the very
    end, which a cancelled generation never reaches.
    """

    def __init__(self, n: int = 1) -> None:
        self._n = n
        self._events = 0
        self._running: dict[int, Usage] = {}  # the latest count of each answer
        self._whole: Usage | None = None

    def add(self, event: Mapping[str, Any]) -> None:
        """Takes an event of the backend into account, of one choice or none."""
        self._events += 1
        usage = told_usage(event)
        if not usage:
            return
        if event.get("choices"):
            self._running[index_of(event)] = usage
        else:
            self._whole = usage

    def usage(self, body: Mapping[str, Any]) -> Usage:
        """What it came to; `body` is what the backend was asked, for an estimate."""
        return self._whole or self._summed() or estimated(body, self._events)

    def _summed(self) -> Usage | None:
        if not self._running:
            return None
        if len(self._running) == 1:
            return next(iter(self._running.values()))
        prompts = {index // self._n: _count(usage, "prompt_tokens") for index, usage in self._running.items()}
        asked = sum(prompts.values())
        answered = sum(_count(usage, "completion_tokens") for usage in self._running.values())
        return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def summed(first: Usage, second: Usage) -> Usage:
    """What two requests came to together; it is an estimate where one of them is."""
    total = {**first, **second}
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        if isinstance(one, dict) and isinstance(other, dict):
            total[name] = summed(one, other)
        elif isinstance(one, int | float) and isinstance(other, int | float) and name != "estimated":
            total[name] = one + other
    return total


def told_usage(event: Mapping[str, Any]) -> Usage | None:
    """The usage that the event tells: whole counts, details that are objects, and other numbers; None for anything
    else.
    """
    usage = event.get("usage")
    if not isinstance(usage, dict) or not _countable(usage):
        return None
    counts = (usage[name] for name in NO_USAGE if name in usage)
    details = (usage.get(name) for name in _DETAILS)
    sound = all(type(one) is int and 0 <= one < _MOST for one in counts)
    return usage if sound and all(one is None or isinstance(one, dict) for one in details) else None


def estimated(body: Mapping[str, Any], events: int) -> Usage:
    """The usage of a backend that told none before it was cancelled: about four characters a token asked, one token an
    event.
    """
    asked = body.get("prompt") or [message.get("content") for message in body.get("messages") or ()]
    prompt = _length(asked) // _PER_TOKEN
    return {"prompt_tokens": prompt, "completion_tokens": events, "total_tokens": prompt + events, "estimated": True}


def _length(asked: Any) -> int:
    """Characters of a prompt: of a content's parts those of its text alone; a token id counts as its characters."""
    if isinstance(asked, str):
        return len(asked)
    if isinstance(asked, list):
        return sum(map(_length, asked))
    if isinstance(asked, dict):
        text = asked.get("text")
        return len(text) if isinstance(text, str) else 0
    return _PER_TOKEN if isinstance(asked, int) else 0


def _countable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(KEY.fullmatch(key) and _countable(one) for key, one in value.items())
    return value is None or isinstance(value, int | float)


def _count(usage: Usage, name: str) -> int:
    return int(usage.get(name) or 0)
