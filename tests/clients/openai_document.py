"""OpenAI's description of the routes that Kindrail serves, as the openai package has it: an OpenAPI document on stdout.

OpenAI generates the package from its specification; what a request may hold stands in its types. Runs in the client's
own environment. `test_openapi_fuzz.py` takes the specification itself where there is one.
"""

import json
import sys

from openai.types import EmbeddingCreateParams, completion_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from pydantic import TypeAdapter

REQUESTS = {
    "/chat/completions": chat_create_params.CompletionCreateParams,
    "/completions": completion_create_params.CompletionCreateParams,
    "/embeddings": EmbeddingCreateParams,
    "/responses": response_create_params.ResponseCreateParams,
}
ANSWERS = {"200": {"description": "What it asked for."}}
MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}


def document():
    schemas, paths = {}, {}
    for path, kind in REQUESTS.items():
        prefix = path.strip("/").replace("/", "_")  # types of different routes have the same names
        schema = TypeAdapter(kind).json_schema(ref_template=f"#/components/schemas/{prefix}_{{model}}")
        schemas |= {f"{prefix}_{name}": one for name, one in schema.pop("$defs", {}).items()}
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        paths[path] = {"post": {"requestBody": body, "responses": ANSWERS}}
    paths["/models"] = {"get": {"responses": ANSWERS}}
    paths["/models/{model}"] = {"get": {"parameters": [MODEL], "responses": ANSWERS}}
    info = {"title": "OpenAI API", "version": "of the openai package"}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


json.dump(document(), sys.stdout)
