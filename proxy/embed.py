"""Embeddings: what the content rails redact does not reach the model, and the request is on the record.

Nothing is said here and nobody is answered, so that of a verdict only its redactions act; the rest is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.types import Send

from proxy.call import Call
from proxy.judge import Judge
from proxy.line import Line
from proxy.record import Outcome, Record
from proxy.reply import send_json
from proxy.services import Services
from proxy.turn import Ask, BackendFault, Heard, Turn, guess_language
from proxy.wire.embeddings import EmbeddingsRequest
from proxy.wire.sieve import metadata
from proxy.wire.usage import told_usage

_OF_ONE = ("object", "index", "embedding")
_UNJUDGED = BackendFault(
    503, "A rail could not judge the text, and the policy holds it back.", "server_error", "rail_broken"
)


async def embed(services: Services, call: Call, request: EmbeddingsRequest, send: Send) -> None:
    """Sends the backend's answer for the texts that it may read.

    Raises `BackendFault`, `Limited`, `StoreDown`, and `BadName` for a conversation's name that cannot be one.
    """
    record = Record(services, call)
    limits = await services.meter.enter(call.caller, call.turn)
    record.entered = True
    language = guess_language(" ".join(request.texts)[:1000], call.policy.languages, call.policy.languages[0])
    turn = Turn(call.turn, language, now=time.time(), settings=call.settings)
    line = Line(call.policy, turn, services.memo)
    turn.judge = Judge(services.backend, line)
    how, usage = "disconnected", None
    try:
        answer = await _answer(services, record, line, call, request)
        usage, how = told_usage(answer), "answered"
    except BackendFault as fault:
        how = "failed" if fault is _UNJUDGED else "backend_failed"
        raise
    finally:
        outcome = Outcome(how, line.findings, [], [], None, 0, usage, line.rail_seconds)
        await record.close(line.turn, outcome, urgent=False)
    told = {"x-kindrail-turn": call.turn, "x-kindrail-policy": call.policy.label}
    await send_json(send, 200, _vectors(answer), told | limits)


async def _answer(
    services: Services, record: Record, line: Line, call: Call, request: EmbeddingsRequest
) -> dict[str, Any]:
    texts = await line.redacted_only([Heard("user", text) for text in request.texts])
    await record.open(line.turn, urgent=False)
    if texts is None:
        raise _UNJUDGED
    return await services.backend.whole(Ask(request.upstream(texts), "embeddings", call.headers))


def _vectors(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer without what could be text."""
    listed = answer.get("data")
    data = [{key: one[key] for key in _OF_ONE if key in one} for one in listed or () if isinstance(one, dict)]
    kept = {**metadata(answer), "data": data}
    usage = told_usage(answer)
    return kept if usage is None else {**kept, "usage": usage}
