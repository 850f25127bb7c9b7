"""What a request has cost: the backend's own count where it tells one, added up over its answers, else an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.wire.events import NAME, index_of

Usage = dict[str, Any]
NO_USAGE: Usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


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


def told_usage(event: Mapping[str, Any]) -> Usage | None:
    """The usage that the event tells: an object of numbers, perhaps nested; None for anything else."""
    usage = event.get("usage")
    return usage if isinstance(usage, dict) and _countable(usage) else None


def estimated(body: Mapping[str, Any], events: int) -> Usage:
    """The usage of a backend that told none before it was cancelled: about four characters a token asked, one token an
    event.
    """
    asked = body.get("prompt") or [message.get("content") for message in body.get("messages") or ()]
    prompt = sum(len(str(text or "")) for text in ([asked] if isinstance(asked, str) else asked)) // 4
    return {"prompt_tokens": prompt, "completion_tokens": events, "total_tokens": prompt + events, "estimated": True}


def _countable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(NAME.fullmatch(key) and _countable(one) for key, one in value.items())
    return value is None or isinstance(value, int | float)


def _count(usage: Usage, name: str) -> int:
    return int(usage.get(name) or 0)
