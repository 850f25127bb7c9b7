"""The operator's own models, asked by rails: a question in, its answer's text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from proxy.turn import Ask, Backend
from proxy.wire.events import content

_LONGEST = 20_000  # characters of an answer; more is no judgement


class Judge:
    """Asks a backend. It is what a `Turn.judge` is."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def __call__(self, model: str, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any]) -> str:
        """The text that the model answers, streamed as every answer is; over-long ones are cut and cancelled.

        settings: fields of the request, such as `temperature` or `stop`. Raises `BackendFault`.
        """
        ask = Ask({"model": model, "messages": [dict(one) for one in messages], **settings, "stream": True})
        said = ""
        async with aclosing(self._backend.stream(ask)) as stream:
            async for delta in stream:
                said += content(delta.event)
                if len(said) > _LONGEST:
                    break
        return said
