"""`kindrail serve` as a process: what it prints can be tried, it ends cleanly, and what it cannot use it names."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from house import text_of
from redis import Redis
from servers import free_port
from small import SMALL, gone
from typer.testing import CliRunner

from proxy.backends.scripted import ScriptedBackend
from proxy.cli import app as cli
from proxy.policy.load import load_policy
from proxy.turn import Ask

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("KINDRAIL_") and not name.lower().endswith("_proxy")
}


@pytest.fixture
def small(tmp_path):
    """A policy that is read in no time."""
    (tmp_path / "small.yaml").write_text(SMALL)
    return {"KINDRAIL_POLICIES": str(tmp_path), "KINDRAIL_POLICY": "small"}


@contextmanager
def serving(data, settings):
    """A running Kindrail: its process, its address, and what it printed."""
    environment = {**ENVIRONMENT, "KINDRAIL_DATA": str(data), "KINDRAIL_PORT": "0", **settings}
    command = [sys.executable, "-m", "proxy.cli", "serve"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            banner = ""
            while "demo-model" not in banner:
                line = process.stdout.readline()
                assert line, f"it ended with {process.wait(10)}"
                banner += line
            yield process, re.search(r"Kindrail on (\S+)", banner)[1], banner
        finally:
            process.kill()


# -- what is printed can be tried --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo():
    """The demo, as `make run` starts it, but on a free port."""
    with tempfile.TemporaryDirectory(prefix="kr") as data, serving(Path(data), {}) as (_, url, banner):
        yield url, banner


def snippet(banner, first):
    """The indented block that begins with `first`."""
    lines = banner.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip().startswith(first))
    return textwrap.dedent("\n".join(lines[begin : lines.index("", begin)]))


async def unguarded(body):
    return text_of([delta.event async for delta in ScriptedBackend(0).stream(Ask(body))])


def test_the_banner_says_what_runs(demo):
    url, banner = demo
    assert re.search(r"policy +kids-buddy@1", banner)
    assert re.search(r"backend +the scripted buddy", banner)
    assert re.search(r"store +embedded Valkey in ", banner)
    assert banner.count("curl -") == banner.count("from openai import") == 1
    assert banner.count(url) == 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_the_curl_that_is_printed_shows_a_rail_at_work(demo):
    curl = snippet(demo[1], "curl")
    done = subprocess.run(["bash", "-c", curl], env=ENVIRONMENT, capture_output=True, text=True, timeout=30)
    *events, end = [line.removeprefix("data: ") for line in done.stdout.splitlines() if line.startswith("data: ")]
    assert (done.returncode, end) == (0, "[DONE]")
    guarded = text_of([json.loads(event) for event in events])
    body = json.loads(curl.split("-d '")[1].removesuffix("'"))
    raw = asyncio.run(unguarded(body))
    lost = [sentence for sentence in re.findall(r"[^.!?]+[.!?]", raw) if sentence.strip() not in guarded]
    assert guarded.strip()
    assert lost, f"no rail was at work: {guarded}"


def test_the_python_that_is_printed_shows_a_rail_at_work(demo):
    code = snippet(demo[1], "from openai")
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() in load_policy(ROOT / "policies/kids-buddy.yaml").say["bye_sleep"]["en"]


def test_without_an_admin_port_the_metrics_are_on_the_apps(demo):
    page = httpx.get(f"{demo[0]}/metrics", trust_env=False)
    assert (page.status_code, "kindrail_turns_running" in page.text) == (200, True)


def test_with_an_admin_port_the_metrics_are_there_alone(data, small):
    port = free_port()
    with serving(data, {**small, "KINDRAIL_ADMIN_PORT": str(port)}) as (_, url, _):
        admin = f"http://127.0.0.1:{port}"
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"{url}/metrics").status_code == 404
            assert "kindrail_turns_running" in client.get(f"{admin}/metrics").text
            assert client.get(f"{url}/readyz").json() == client.get(f"{admin}/readyz").json()
            assert client.post(f"{admin}/v1/chat/completions", json={}).status_code == 404
            assert client.get(f"{admin}/v1/models").status_code == 404


# -- policies that change ----------------------------------------------------------------------------------------------


def ready(url, until):
    """What `/readyz` tells, once it tells that; within a minute."""
    for _ in range(600):
        told = httpx.get(f"{url}/readyz", trust_env=False).json()
        if until(told):
            return told
        time.sleep(0.1)
    raise AssertionError(told)


def test_a_policy_that_changes_is_served_once_it_is_proved(data, small):
    path = Path(small["KINDRAIL_POLICIES"]) / "small.yaml"
    with serving(data, small) as (process, url, _):
        assert "reload" not in ready(url, lambda told: True)
        process.send_signal(signal.SIGHUP)
        assert ready(url, lambda told: "reload" in told)["reload"]["result"] == "accepted"
        path.write_text(SMALL.replace("version: 1", "version: 2").replace("sentences", "sentnces"))
        told = ready(url, lambda told: told["reload"]["result"] == "refused")
        assert (told["status"], told["policy"]) == ("ready", "small@1")
        assert re.match(r"[^/]+/small\.yaml:8:\d+: ", told["reload"]["fault"])
        path.write_text(SMALL.replace("version: 1", "version: 2"))
        assert ready(url, lambda told: told["policy"] == "small@2")["reload"]["result"] == "accepted"
        body = {"model": "buddy", "messages": [{"role": "user", "content": "Hello"}]}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, trust_env=False)
        assert (answer.status_code, answer.headers["x-kindrail-policy"]) == (200, "small@2")


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "admin"), [(signal.SIGTERM, {}), (signal.SIGINT, {"KINDRAIL_ADMIN_PORT": "0"})])
def test_it_ends_cleanly_and_leaves_no_server(data, small, how, admin):
    with serving(data, {**small, **admin}) as (process, url, _):
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        with Redis(unix_socket_path=str(data / "valkey.sock")) as client:
            pid = client.info("server")["process_id"]
        process.send_signal(how)
        code = process.wait(20)
        assert gone(pid)
        assert code == 0, "it was killed by the signal, before store and backend were closed"


# -- what cannot be used -----------------------------------------------------------------------------------------------


def refused(data, settings):
    """The exit code, and what was written to the standard error. Nothing is announced."""
    cleared = {name: None for name in os.environ if name.startswith("KINDRAIL_")}
    given = {"KINDRAIL_DATA": str(data), "KINDRAIL_PORT": "0", **settings}
    result = CliRunner().invoke(cli, ["serve"], env={**cleared, **given})
    assert (type(result.exception), result.stdout) == (SystemExit, "")
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"KINDRAIL_POLICY": "smal"}, "policy: there is no 'smal' in {folder}; there are: small"),
        ({"KINDRAIL_POLICIES": "/nowhere"}, "/nowhere"),
        ({"KINDRAIL_REDIS_URL": "http://:pass@host"}, "KINDRAIL_REDIS_URL is not redis://"),
        ({"KINDRAIL_BACKEND_URL": "gpu-1:8000"}, "KINDRAIL_BACKEND_URL must be an http(s) address"),
        ({"KINDRAIL_SECRET_FILE": "{folder}/none"}, "{folder}/none: the secret file cannot be read"),
        ({"KINDRAIL_SECRET_FILE": "{folder}/small.yaml"}, "Do: chmod 600 {folder}/small.yaml"),
        ({"KINDRAIL_DATA": "{folder}/" + "x" * 100}, "Set KINDRAIL_DATA to a shorter folder"),
        ({"KINDRAIL_DATA": "{folder}/small.yaml"}, "Set KINDRAIL_DATA to a folder that Kindrail may write to"),
        ({"KINDRAIL_PORT": "many"}, "KINDRAIL_PORT: "),
        ({"KINDRAIL_PORT": "{taken}"}, "KINDRAIL_PORT"),
        ({"KINDRAIL_ADMIN_PORT": "{taken}"}, "KINDRAIL_ADMIN_PORT"),
    ],
)
def test_what_cannot_be_used_is_named(data, small, settings, message):
    folder = Path(small["KINDRAIL_POLICIES"])
    (folder / "small.yaml").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        given = {name: value.format(folder=folder, taken=taken) for name, value in settings.items()}
        code, errors = refused(data, {**small, **given})
    assert message.format(folder=folder) in errors
    assert code == 2
    assert ":pass@" not in errors


@pytest.mark.parametrize(
    ("of_key", "message"),
    [
        ("policy: foo", "keys[1].policy: there is no 'foo' in {folder}; there are: small"),
        ("policies: [smal, foo-*]", "keys[1].policies[1]: 'foo-*' matches none in {folder}; there are: small"),
        (
            "allow: [image, top_logprob]",
            "keys[1].allow[1]: is nothing that a key can open: did you mean `top_logprobs`?",
        ),
    ],
)
@pytest.mark.parametrize("in_store", ["true", "false"])
def test_what_a_key_names_in_vain_is_named(data, small, tmp_path, of_key, message, in_store):
    a, b = "a" * 64, "b" * 64
    file = tmp_path / "keys.conf"
    file.write_text(f"keys: [{{id: a, hash: 'sha256:{a}'}}, {{id: b, hash: 'sha256:{b}', {of_key}}}]")
    code, errors = refused(data, {**small, "KINDRAIL_CONFIG": str(file), "KINDRAIL_KEYS_IN_STORE": in_store})
    assert code == 2
    assert message.format(folder=tmp_path) in errors


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sentences: 2", "sentnces: 2", "small.yaml:8:"),
        ('passes: [{assistant: "One."}]', 'trips: [{assistant: "One."}]', "small.yaml:8: clamp: "),
    ],
    ids=["a fault", "a test that fails"],
)
def test_a_faulty_policy_is_not_served(data, small, old, new, message):
    (Path(small["KINDRAIL_POLICIES"]) / "small.yaml").write_text(SMALL.replace(old, new))
    code, errors = refused(data, small)
    assert code in (1, 2)
    assert message in errors


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("::", True), ("127.0.0.2", False), ("localhost", False)])  # fmt: skip
def test_an_open_door_is_warned_of(data, small, host, warned, caplog):
    refused(data, {**small, "KINDRAIL_HOST": host, "KINDRAIL_REDIS_URL": "none"})  # before it listens
    assert (f"listening on {host} without API keys: " in caplog.text) is warned
