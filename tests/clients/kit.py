"""Clients as their users install them: each set in an environment of its own, built once from the files beside it.

They are kept in `KINDRAIL_CLIENTS` (left out: the user's cache) and built anew when their file changes.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("KINDRAIL_CLIENTS") or Path.home() / ".cache/kindrail-clients")
_QUIET = {  # no client has any business beyond this machine
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LANGSMITH_TRACING": "false",
    "NO_PROXY": "127.0.0.1",
}
_LONGEST = 240.0  # seconds


def python_with(name: str) -> Path:
    """The interpreter of an environment that has what `NAME.txt` lists."""
    wanted = HERE / f"{name}.txt"

    def build(folder: Path) -> None:
        do([sys.executable, "-m", "venv", folder])
        do([folder / "bin/python", "-m", "pip", "install", "-q", "--require-hashes", "-r", wanted])

    return kept(name, wanted.read_text() + sys.version, build) / "bin/python"


def node_folder() -> Path:
    """A folder with the packages of `package-lock.json` and the scripts: Node looks for packages beside them."""
    if not shutil.which("npm"):
        pytest.skip("the Node clients need node (20 or newer) and npm on the path")
    files = [HERE / "package.json", HERE / "package-lock.json"]

    def build(folder: Path) -> None:
        for file in files:
            shutil.copy(file, folder)
        do(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)

    folder = kept("node", "".join(file.read_text() for file in files), build)
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


def kept(name: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """The cache's folder of this name, built anew if it was made from another recipe or only in part."""
    folder = CACHE / name
    stamp = folder / "built-from"
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    if not (stamp.is_file() and stamp.read_text() == digest):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        build(folder)
        stamp.write_text(digest)
    return folder


def do(command: list[Any], folder: Path = HERE) -> None:
    """Runs what builds an environment. Whoever has no package index at hand sees pip's or npm's own words."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}"


async def run(command: list[Any], folder: Path = HERE, **environment: str) -> tuple[int, str]:
    """The exit status and output of a command that talks to a house in this very loop. Of our settings it sees none."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={**plain, **_QUIET, **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _LONGEST)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode("utf-8", "replace")
