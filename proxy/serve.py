"""Running the house: load the policy, check it, listen, and tell the operator how to try it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from proxy.app import create_admin_app, create_app
from proxy.config import Config, ConfigFault
from proxy.policy.load import load_folder
from proxy.policy.model import Policy

log = logging.getLogger("kindrail.serve")

_GRACE = 10  # seconds that running turns get when the server is told to stop


class _Main(uvicorn.Server):
    """The apps' server; it tells the operator once it listens."""

    def __init__(self, settings: uvicorn.Config, config: Config, policy: Policy) -> None:
        super().__init__(settings)
        self._told = config, policy

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _announce(self.servers[0].sockets[0].getsockname()[1], *self._told)


class _Admin(uvicorn.Server):
    """The admin port's server; the main one listens for the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(config: Config) -> None:
    """Serves until told to stop. Raises `ConfigFault`, `PolicyError`, and what the embedded store raises."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    policy = _chosen(config)
    app = create_app(config, policy)
    if not _is_loopback(config.host):
        log.warning(
            "listening on %s: whoever reaches port %d can use the model; keep it behind your own door",
            config.host,
            config.port,
        )
    with asyncio.Runner(loop_factory=uvicorn.Config(app).get_loop_factory()) as runner:
        runner.run(_listen(config, policy, app))


def _chosen(config: Config) -> Policy:
    policies = load_folder(config.policies)
    try:
        return policies[config.policy]
    except KeyError:
        names = ", ".join(sorted(policies))
        raise ConfigFault(f"policy: there is no {config.policy!r} in {config.policies}; there are: {names}") from None


async def _listen(config: Config, policy: Policy, app: Starlette) -> None:
    server = _Main(_settings(app, config.host, config.port), config, policy)
    if config.admin_port is None:
        await server.serve()
    else:
        admin = _Admin(_settings(create_admin_app(app), config.host, config.admin_port))
        beside = asyncio.create_task(admin.serve())
        await server.serve()
        admin.should_exit = True
        await beside
    if not server.started:
        raise ConfigFault(
            f"port: nothing listens on {config.host}:{config.port}; see the log above, or choose another KINDRAIL_PORT"
        )


def _settings(app: Starlette, host: str, port: int) -> uvicorn.Config:
    """No access log: its lines would carry whatever apps put into a query string."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )


def _announce(port: int, config: Config, policy: Policy) -> None:
    url = f"http://{config.host}:{port}"
    backend = config.backend_url or "the scripted buddy, which misbehaves on purpose"
    store = "Redis by URL" if config.redis_url else f"embedded Valkey in {config.data}"
    print(f"Kindrail on {url}\n  policy   {policy.label}\n  backend  {backend}\n  store    {store}", flush=True)  # noqa: T201
    if not config.backend_url:
        print(_SHOW.format(url=url), flush=True)  # noqa: T201


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_SHOW = """
Try it. The buddy asks for a name here, and the child does not hear the question:

  curl -sN {url}/v1/chat/completions -H 'content-type: application/json' -d '{{
    "model": "buddy", "stream": true,
    "messages": [{{"role": "user", "content": "Hello! Do you want to know my name?"}}]}}'

The same with OpenAI's client, where a child says good night and the model is not even asked:

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none")
  messages = [{{"role": "user", "content": "I'm tired, good night"}}]
  answer = client.chat.completions.create(model="buddy", messages=messages)
  print(answer.choices[0].message.content)

The raw model, to compare: kindrail demo-model --port 8081
"""
