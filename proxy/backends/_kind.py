"""Which server speaks at an address: vLLM and TGI each have a route that no other has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import httpx

from proxy.backends._errors import parse

Kind = Literal["vllm", "tgi", "openai"]  # openai: any other

_SIGNS: tuple[tuple[str, str, Kind], ...] = (
    ("/version", "version", "vllm"),
    ("/info", "model_id", "tgi"),
)  # route, a field of its JSON, whose it is


async def kind_of(get: Callable[[str], Awaitable[httpx.Response]]) -> Kind | None:
    """The kind of the server of which `get` reads a path; None while it is still starting, behind a balancer."""
    for path, field, kind in _SIGNS:
        response = await get(path)
        if response.status_code >= 500:
            return None
        answer = parse(response.content) if response.status_code == 200 else None
        if isinstance(answer, dict) and field in answer:
            return kind
    return "openai"
