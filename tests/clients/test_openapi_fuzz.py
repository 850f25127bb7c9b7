"""Whatever OpenAI's specification allows, and much that it does not: never an answer 5xx.

schemathesis makes the requests, for as long as `_SECONDS` says. What they may hold is told by the openai package, which
OpenAI generates from its specification. Most of these the house refuses at the first field it does not serve; so they
come again without such fields, and get further. Where `KINDRAIL_OPENAI_SPEC` names the specification itself, that is
taken too (see docs/testing.md).
"""

import json
import logging
import os
import re
import subprocess
from pathlib import Path

import pytest
from clients.houses import KEY, open_house
from clients.kit import HERE, python_with, run

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600), pytest.mark.usefixtures("environments")]

_SPECIFICATION = os.environ.get("KINDRAIL_OPENAI_SPEC")
_SECONDS = 45
_SERVED = ("/chat/completions", "/completions", "/embeddings", "/responses", "/models", "/models/{model}")
_METHODS = ("get", "post")
_NOT_SERVED = re.compile(
    "Search|Computer|Mcp|Shell|Patch|Code|Image|File|Audio|Custom|Program|Compaction|Namespace|Configuration|Additional"
    "|ToolChoiceTypes|ResponsePrompt|Conversation"
)  # schemas


def of_the_package():
    made = subprocess.run(
        [python_with("openai"), HERE / "openai_document.py"], capture_output=True, text=True, check=True
    )
    return json.loads(made.stdout)


def of_the_package_what_is_served():
    return served(of_the_package())


def served(part):
    """This part of a description, less the alternatives and the fields that the house refuses whatever they hold."""
    if isinstance(part, list):
        refused = [one for one in part if isinstance(one, dict) and _NOT_SERVED.search(one.get("$ref", ""))]
        return [served(one) for one in part if one not in refused]
    if isinstance(part, dict):
        return {name: served(one) for name, one in part.items() if name not in ("modalities", "context_management")}
    return part


def of_openai():
    if not _SPECIFICATION:
        pytest.skip("KINDRAIL_OPENAI_SPEC names no file: see docs/testing.md for where OpenAI's specification is")
    return json.loads(Path(_SPECIFICATION).read_text("utf-8"))


def cut(document):
    """The document with the routes that the house serves alone."""
    kept = {name: document[name] for name in ("openapi", "info", "components")}
    paths = {path: document["paths"][path] for path in _SERVED}
    return {
        **kept,
        "paths": {path: {name: paths[path][name] for name in _METHODS if name in paths[path]} for path in paths},
    }


@pytest.mark.parametrize("document", [of_the_package, of_the_package_what_is_served, of_openai])
async def test_nothing_breaks_the_house(document, tmp_path, caplog):
    description = tmp_path / "openapi.json"
    description.write_text(json.dumps(cut(document())))
    async with open_house() as house:
        logging.getLogger("uvicorn").addHandler(caplog.handler)  # it keeps its records from the root
        status, told = await run(
            [
                python_with("fuzz").with_name("schemathesis"), "run", description, "--url", f"{house.url}/v1",
                "--header", f"Authorization: Bearer {KEY}", "--checks", "not_a_server_error",
                "--phases", "coverage,fuzzing", "--max-time", str(_SECONDS), "--suppress-health-check", "all",
                "--generation-database", "none", "--warnings", "off", "--no-color",
            ],
            tmp_path,
        )  # fmt: skip
    assert status == 0, told
    assert f"{len(_SERVED)} selected" in told, told
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert logged == []  # what breaks behind a 200 shows here alone


def test_of_a_document_only_the_served_routes_are_kept():
    one = {"get": {}, "post": {}, "delete": {}, "parameters": []}
    document = {"openapi": "3.1.0", "info": {}, "components": {}, "servers": ["elsewhere"]}
    paths = {**dict.fromkeys(_SERVED, one), "/audio/speech": one}
    assert cut({**document, "paths": paths})["paths"] == {path: {"get": {}, "post": {}} for path in _SERVED}
    assert "servers" not in cut({**document, "paths": paths})


def test_of_the_alternatives_only_those_served_are_kept():
    kept, refused = {"$ref": "#/components/schemas/FunctionTool"}, {"$ref": "#/components/schemas/FileSearchTool"}
    schema = {"properties": {"modalities": {}, "tools": {"items": {"anyOf": [kept, refused, {"type": "null"}]}}}}
    assert served(schema) == {"properties": {"tools": {"items": {"anyOf": [kept, {"type": "null"}]}}}}
