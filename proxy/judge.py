"""The operator's own models, asked by rails: a question in, its answer's text out.

Personal data that the policy's rails find stay here, as they do when the model itself is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from proxy.line import Line
from proxy.turn import Ask, Backend, Heard, RailFault
from proxy.wire.events import content

_LONGEST = 20_000  # characters of an answer; more is no judgement


class Judge:
    """Asks a backend. It is what a `Turn.judge` is."""

    def __init__(self, backend: Backend, line: Line) -> None:
        self._backend = backend
        self._line = line

    async def __call__(self, model: str, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any]) -> str:
        """The text that the model answers, streamed as every answer is; over-long ones are cut and cancelled.

        messages: of each the `content` is masked; what stands `before` and `after` it is the asking rail's own.
        settings: fields of the request, such as `temperature` or `stop`. Raises `BackendFault`, and `RailFault` where
        the question could not be masked.
        """
        readable = [await self._message(one) for one in messages]
        ask = Ask({"model": model, "messages": readable, **settings, "stream": True})
        said = ""
        async with aclosing(self._backend.stream(ask)) as stream:
            async for delta in stream:
                said += content(delta.event)
                if len(said) > _LONGEST:
                    break
        return said

    async def _message(self, message: Mapping[str, str]) -> dict[str, str]:
        content = await self._readable(message["content"])
        framed = f"{message.get('before', '')}{content}{message.get('after', '')}"
        return {"role": message["role"], "content": framed}

    async def _readable(self, text: str) -> str:
        policy = self._line.policy
        if not any(bound.masks for bound in policy.rails):
            if policy.audience == "child":
                raise RailFault("no rail of this policy masks what a child said, so no judge may read it")
            return text
        masked = await self._line.masked([Heard("user", text)])
        if masked is None:
            raise RailFault("what a model was to be asked could not be masked")
        return masked[0]
