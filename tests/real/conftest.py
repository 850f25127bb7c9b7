"""A real vLLM on the CPU, with a tiny model of our own making, started and ended by the tests. See docs/testing.md."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from servers import free_port

VENV = Path(os.environ.get("KINDRAIL_VLLM_VENV") or Path.home() / ".cache/kindrail-real/vllm")
_START = 180.0  # seconds
_QUIET = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",  # the model is too small for two to pay
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


@dataclass
class Vllm:
    """One running server. `process` leads the engine's processes, which `vllm serve` starts."""

    url: str
    process: subprocess.Popen[bytes]

    def metric(self, name: str) -> float:
        """The sum over its labels, as `/metrics` tells it now."""
        lines = httpx.get(f"{self.url}/metrics", trust_env=False).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))

    def tokens(self, text: str) -> int:
        """How many tokens the text has, spelled in as few as its tokenizer can."""
        answer = httpx.post(f"{self.url}/tokenize", json={"model": "buddy", "prompt": text}, trust_env=False)
        return int(answer.json()["count"])

    def ask(self, body: dict[str, object]) -> httpx.Response:
        """A chat request without a Kindrail in between."""
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=120, trust_env=False)

    def kill_engine(self) -> None:
        """Kills the engine hard; the server in front of it lives on."""
        (engine,) = [pid for pid in _below(self.process.pid) if "EngineCore" in _title(pid)]
        os.kill(engine, signal.SIGKILL)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (VENV / "bin/vllm").exists():
        pytest.skip(f"no vLLM in {VENV}: install it as docs/testing.md says, or set KINDRAIL_VLLM_VENV")
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([VENV / "bin/python", Path(__file__).with_name("tiny_model.py"), folder], check=True)
    return folder


@pytest.fixture(scope="session")
def vllm(tiny_model: Path) -> Iterator[Vllm]:
    """The server that the tests share."""
    with _served(tiny_model) as server:
        yield server


@pytest.fixture
def doomed_vllm(tiny_model: Path) -> Iterator[Vllm]:
    """A server for one test alone, which may break it."""
    with _served(tiny_model) as server:
        yield server


@contextmanager
def _served(model: Path) -> Iterator[Vllm]:
    port = free_port()
    command = [
        VENV / "bin/vllm", "serve", model, "--served-model-name", "buddy", "--load-format", "dummy",
        "--dtype", "float32", "--max-model-len", "4096", "--max-num-seqs", "16", "--enforce-eager",
        "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--enable-prompt-tokens-details",
        # In JSON random weights would find no end of white space.
        "--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}',
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    log = model / f"vllm-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **_QUIET}, stdout=out, stderr=subprocess.STDOUT)
    server = Vllm(f"http://127.0.0.1:{port}", process)
    try:
        _until_healthy(server, log)
        _warm_up(server)
        for pid in _below(process.pid):  # on few processors the engine would run far ahead of those who read
            os.setpriority(os.PRIO_PROCESS, pid, 15)
        yield server
    finally:
        _end(process)


def _until_healthy(server: Vllm, log: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and server.process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/health", trust_env=False).status_code == 200:
                return
        time.sleep(0.5)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
    raise AssertionError(f"vLLM was not healthy after {_START:g} s or has ended; the end of {log}:\n{tail}")


def _warm_up(server: Vllm) -> None:
    """The first of each kind of request compiles something and may take half a minute."""
    body = {"model": "buddy", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
    for extra in ({}, {"structured_outputs": {"choice": ["Hello."]}}, {"logprobs": True, "repetition_penalty": 1.1}):
        server.ask({**body, **extra}).raise_for_status()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and whatever of its engine outlives it."""
    engine = _below(process.pid)
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    for pid in engine:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _below(ancestor: int) -> list[int]:
    """The processes that descend from this one, by what /proc tells of parents."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])  # a name may hold anything, also `)`
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(ancestor, []))
    for pid in found:  # grows as it goes
        found += children.get(pid, [])
    return found


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""
