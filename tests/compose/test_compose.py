"""The compose stack on a real Docker engine: a conversation through the published port, and Redis restarted in it.

`COMPOSE` names another way to call compose v2 than `docker compose`.
"""

import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from servers import free_port

pytestmark = pytest.mark.compose

ROOT = Path(__file__).parents[2]
COMPOSE = shlex.split(os.environ.get("COMPOSE", "docker compose"))
PHONE = "212-555-0147"  # the child tells it, and the buddy leaks it


@dataclass(frozen=True)
class Stack:
    """The running stack: a client on its published port, and compose to look inside."""

    http: httpx.Client
    compose: Sequence[str]
    environment: dict[str, str]

    def run(self, *arguments: str) -> str:
        """What `docker compose ...` prints. Fails with what it says."""
        done = subprocess.run([*self.compose, *arguments], capture_output=True, text=True, env=self.environment)
        assert done.returncode == 0, f"{shlex.join(arguments)}: {done.stderr[-4000:]}"
        return done.stdout.strip()

    def up(self) -> None:
        """Builds and starts, and waits until all are healthy. Fails with what the containers logged."""
        try:
            self.run("up", "-d", "--build", "--wait", "--wait-timeout", "300")
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{self.run('logs', '--no-log-prefix')}") from None

    def inside(self, service: str, *command: str) -> str:
        return self.run("exec", "-T", service, *command)

    def say(self, *said: str, session: str) -> httpx.Response:
        """The answer to a conversation of which only the child's messages are sent: the session knows the rest."""
        body = {"model": "buddy", "messages": [{"role": "user", "content": text} for text in said]}
        return self.http.post("/v1/chat/completions", json=body, headers={"x-kindrail-session": session})

    def records(self) -> str:
        """All records of the audit as Redis has them."""
        streams = self.inside("redis", "redis-cli", "--scan", "--pattern", "kindrail:audit:{*").split()
        return "\n".join(self.inside("redis", "redis-cli", "XRANGE", stream, "-", "+") for stream in streams)

    def until_ready(self) -> None:
        for _ in range(60):
            if self.http.get("/readyz").status_code == 200:
                return
            time.sleep(0.5)
        raise AssertionError(self.http.get("/readyz").text)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The stack with profile `demo` under a name and port of its own; afterwards nothing of it may be left."""
    _need_compose()
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KINDRAIL_", "COMPOSE_"))}
    environment["KINDRAIL_PORT"] = str(port)
    name = f"kindrail-test-{os.getpid()}"
    options = ["--project-directory", str(ROOT), "--env-file", os.devnull, "-p", name, "--profile", "demo"]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http:
        stack = Stack(http, [*COMPOSE, *options], environment)
        try:
            stack.up()
            yield stack
        finally:
            stack.run("down", "--volumes")
    for kind in (["container", "ls", "-a"], ["volume", "ls"], ["network", "ls"]):
        left = ["docker", *kind, "-q", "--filter", f"label=com.docker.compose.project={name}"]
        assert subprocess.run(left, capture_output=True, text=True, check=True).stdout == "", kind


def _need_compose() -> None:
    for command in (["docker", "version"], [*COMPOSE, "up", "--help"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip(f"there is no {command[0]} here")
        if done.returncode:
            pytest.skip(f"`{shlex.join(command)}` fails: {done.stderr.strip().splitlines()[0]}")
    if "--wait" not in done.stdout:
        pytest.skip(f"`{shlex.join(COMPOSE)}` is not compose v2; name it in the environment as COMPOSE")


def _text(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def test_it_is_healthy_and_speaks_to_the_buddy_in_the_other_container(stack: Stack) -> None:
    assert stack.http.get("/healthz").status_code == 200
    assert stack.http.get("/readyz").json()["policy"].startswith("kids-buddy@")
    assert stack.http.get("/v1/models").json()["data"][0]["id"] == "buddy"
    assert "http://model:8000" in stack.run("logs", "kindrail")


def test_only_the_proxy_is_published_and_on_loopback_alone(stack: Stack) -> None:
    published = stack.run("ps", "--format", "{{.Service}} {{.Ports}}")
    assert [line for line in published.splitlines() if "->" in line] == [
        f"kindrail 127.0.0.1:{stack.http.base_url.port}->8080/tcp"
    ]


@pytest.mark.parametrize(("service", "writable"), [("kindrail", "/data /tmp"), ("buddy", "/tmp")])
def test_a_container_has_no_rights_and_little_to_write_on(stack: Stack, service: str, writable: str) -> None:
    status = dict(line.split(":", 1) for line in stack.inside(service, "cat", "/proc/1/status").splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"].strip() == "1"
    folders = ("/", "/opt/kindrail", "/policies", "/data", "/tmp")
    probe = f"import os; print(*[folder for folder in {folders} if os.access(folder, os.W_OK)])"
    assert stack.inside(service, "python", "-c", probe) == writable


def test_the_secret_is_on_its_volume_and_nobody_elses(stack: Stack) -> None:
    assert stack.inside("kindrail", "stat", "-c", "%a %u", "/data/secret") == "600 10001"


def test_the_buddy_cannot_reach_the_audit(stack: Stack) -> None:
    find = "import socket\ntry: print(socket.gethostbyname('redis'))\nexcept OSError: print('unknown')"
    assert stack.inside("buddy", "python", "-c", find) == "unknown"
    assert stack.inside("kindrail", "python", "-c", find) != "unknown"


def test_a_datum_reaches_nobody_and_lies_nowhere(stack: Stack) -> None:
    answer = stack.say(f"My phone number is {PHONE}, call me!", session="datum")
    assert "call me" in _text(answer)
    assert PHONE not in answer.text
    assert "buddy@example.com" not in answer.text
    assert "PHONE_NUMBER" in stack.records()
    files = stack.inside(
        "redis", "sh", "-c", f"ls /data/appendonlydir | wc -l; grep -rc -e {PHONE} /data | grep -v :0$ || true"
    )
    assert int(files) > 0  # and no line behind it: no file holds the number


def test_session_and_audit_outlive_a_restart_of_redis(stack: Stack) -> None:
    story = "the little bear and the moon"
    assert "?" in _text(stack.say(story, session="awake"))
    goodbye = stack.say("stop", session="asleep")
    assert "?" not in _text(goodbye)
    turn = goodbye.headers["x-kindrail-turn"]
    before = stack.records()
    assert before.count(turn) >= 2  # opened and closed

    stack.run("restart", "redis")
    stack.until_ready()

    assert stack.records() == before
    assert "?" not in _text(stack.say(story, session="asleep"))
    assert "?" in _text(stack.say(story, session="awake too"))
    assert stack.records().count("opened") == before.count("opened") + 2
