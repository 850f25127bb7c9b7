"""Running the house: load the policy, check it, listen, and tell the operator how to try it."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from starlette.applications import Starlette

from proxy.app import create_admin_app, create_app
from proxy.config import Config, ConfigFault
from proxy.embedded import EmbeddedFault
from proxy.keys import SecretFault
from proxy.live import Live, in_production, in_service, unnamed, untold
from proxy.policy.model import Policy
from proxy.proof import Unproved, prove
from proxy.reload import reloading
from proxy.services import open_services

log = logging.getLogger("kindrail.serve")

_GRACE = 10  # seconds that running turns get when the server is told to stop


class _Main(uvicorn.Server):
    """The apps' server; it tells the operator once it listens."""

    def __init__(self, settings: uvicorn.Config, config: Config, policy: Policy) -> None:
        super().__init__(settings)
        self._told = config, policy

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _announce(self.servers[0].sockets[0].getsockname()[1], *self._told)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()  # uvicorn would raise them again, before the services are closed


class _Admin(uvicorn.Server):
    """The admin port's server; the main one listens for the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(config: Config) -> None:
    """Serves until told to stop. Raises `ConfigFault`, `PolicyError`, `OSError`."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("kindrail").setLevel(logging.INFO)
    live = _live(config)
    gc.collect()
    gc.freeze()  # what is here now stays; a collection that walked through it would stop every turn for 0.1 s
    if not (_is_loopback(config.host) or config.keys or config.keys_in_store):
        log.warning(
            "listening on %s without API keys: whoever reaches port %d can use the model; `kindrail key new` makes one",
            config.host,
            config.port,
        )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_listen(config, live))
    except (SecretFault, EmbeddedFault, ValueError) as fault:
        raise ConfigFault(str(fault)) from None


def _live(config: Config) -> Live:
    """The policies that are served: read, checked, and their own tests passed. A policy never half-applies."""
    try:
        live = Live.of(*(prove(path, config.policy_code) for path in in_service(config)))
    except Unproved as fault:
        raise ConfigFault(str(fault)) from None
    if wrong := untold(config, live.policies.values()):
        if in_production(config):
            raise ConfigFault(f"{wrong}; see docs/safeguarding.md")
        log.warning("%s", wrong)
    if wrong := unnamed(config, live.policies.values()):
        raise ConfigFault(f"{wrong}; see docs/judge.md")
    return live


async def _listen(config: Config, live: Live) -> None:
    """The ports come first: a taken one is found before anything is opened."""
    door = _bind(config.host, config.port, "KINDRAIL_PORT")
    admin_door = None if config.admin_port is None else _bind(config.host, config.admin_port, "KINDRAIL_ADMIN_PORT")
    async with open_services(config, live) as services, reloading(config, services):
        server = _Main(_settings(create_app(config, services)), config, live.policy)
        if admin_door is None:
            await server.serve([door])
        else:
            admin = _Admin(_settings(create_admin_app(config, services)))
            beside = asyncio.create_task(admin.serve([admin_door]))
            await server.serve([door])
            admin.should_exit = True
            await beside


def _bind(host: str, port: int, setting: str) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as fault:
        reason = fault.strerror or "no such address"
        raise ConfigFault(f"{host}:{port} cannot be listened on ({reason}); choose another {setting}") from None


def _settings(app: Starlette) -> uvicorn.Config:
    """No access log: its lines would carry whatever apps put into a query string."""
    return uvicorn.Config(
        app,
        log_level="critical",  # its tracebacks would quote exceptions; what matters is logged by us, without words
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )


def _announce(port: int, config: Config, policy: Policy) -> None:
    url = f"http://{config.host}:{port}"
    backend = _backend(config) or "the scripted buddy, which misbehaves on purpose"
    store = "Redis by URL" if config.redis_url else f"embedded Valkey in {config.data}"
    print(f"Kindrail on {url}\n  policy   {policy.label}\n  backend  {backend}\n  store    {store}", flush=True)  # noqa: T201
    if not _backend(config):
        print(_SHOW.format(url=url), flush=True)  # noqa: T201


def _backend(config: Config) -> str:
    """Where the models are, without the credentials that an address may hold."""
    urls = [entry.url or entry.kind for entry in config.backends] or [config.backend_url]
    return ", ".join(re.sub(r"//[^/]*@", "//", url) for url in urls if url)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_SHOW = """
Try it. The buddy proposes a real flame here, and the child hears something else:

  curl -sN {url}/v1/chat/completions -H 'content-type: application/json' -d '{{
    "model": "buddy", "stream": true,
    "messages": [{{"role": "user", "content": "Can we light a candle?"}}]}}'

The same with OpenAI's client, where a child says good night and the model is not even asked:

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none")
  messages = [{{"role": "user", "content": "I'm tired, good night"}}]
  answer = client.chat.completions.create(model="buddy", messages=messages)
  print(answer.choices[0].message.content)

The raw model, to compare: kindrail demo-model --port 8090
"""
