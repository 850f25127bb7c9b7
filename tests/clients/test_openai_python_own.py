"""openai-python's own tests of what it asks a server to create, before a whole Kindrail.

They come with its source distribution, which is fetched once, of the version and the hash that `openai.txt` names.
OpenAI wrote them for a server that takes every parameter at once, some of them in values that no model allows.
"""

import re
import tarfile
import tempfile
from pathlib import Path

import pytest
from clients.houses import open_house
from clients.kit import HERE, do, kept, python_with, run

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600), pytest.mark.usefixtures("environments")]

FILES = {  # file -> which of its tests, and how many those are
    "chat/test_completions.py": ("create", 40),
    "test_completions.py": ("create and not all_params", 30),  # with all it sends `best_of: 0`, of which none is best
    "test_embeddings.py": ("create", 20),
    "test_models.py": ("retrieve or list", 35),
}


def its_source():
    """The folder of the source distribution."""
    (pinned,) = re.findall(r"^openai(?:\[\w+\])?==.*(?:\n +--hash.*)+", (HERE / "openai.txt").read_text(), re.MULTILINE)

    def fetch(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as box:
            wanted = Path(box) / "wanted.txt"
            wanted.write_text(pinned)
            options = ["--no-deps", "--no-binary", "openai", "--require-hashes", "--dest", box, "-r", wanted]
            do([python_with("openai"), "-m", "pip", "download", "-q", *options])
            (archive,) = Path(box).glob("*.tar.gz")
            with tarfile.open(archive) as files:
                files.extractall(folder, filter="data")

    (source,) = kept("openai-source", pinned, fetch).glob("openai-*/")
    return source


@pytest.mark.parametrize("file", FILES)
async def test_its_tests_pass(file):
    source = its_source()
    which, count = FILES[file]
    async with open_house() as house:
        status, out = await run(
            [
                python_with("openai"), "-m", "pytest", f"tests/api_resources/{file}", "-k", which,
                "-o", "addopts=", "-p", "no:cacheprovider", "-q", "--tb=short", "--show-capture=no",
            ],
            source,
            TEST_API_BASE_URL=f"{house.url}/v1",
        )  # fmt: skip
    assert status == 0, out
    assert int(re.search(r"(\d+) passed", out)[1]) >= count, out
