"""litellm as a client, by both names it has for a server like this one."""

import json

import litellm
from told import API_KEY, BASE_URL, CHILD_SAYS, CHILD_URL, MODEL, QUESTION, TOO_LONG, TOOL, WEATHER, tell, user

litellm.suppress_debug_info = True
SCHEMA = {
    "name": "Forecast",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "sky": {"type": "string"}},
        "required": ["city", "sky"],
        "additionalProperties": False,
    },
}


def talker(provider):
    """What this provider's name does, scenario by scenario."""

    def ask(messages, model=MODEL, url=BASE_URL, key=API_KEY, **more):
        name = f"{provider}/{model}"
        return litellm.completion(model=name, api_base=url, api_key=key, messages=messages, num_retries=0, **more)

    def facts(answer):
        choice = answer.choices[0]
        return {"text": choice.message.content, "finish": choice.finish_reason, "tokens": answer.usage.total_tokens}

    def streamed(**more):
        chunks = list(ask([user(QUESTION)], stream=True, stream_options={"include_usage": True}, **more))
        return litellm.stream_chunk_builder(chunks)

    def called(answer):
        call = answer.choices[0].message.tool_calls[0].function
        finish = answer.choices[0].finish_reason
        return {"name": call.name, "arguments": json.loads(call.arguments), "finish": finish}

    def tools():
        talk = [user(QUESTION)]
        first = ask(talk, tools=[TOOL])
        message = first.choices[0].message
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": WEATHER}
        second = ask([*talk, message.model_dump(), result], tools=[TOOL])
        return {**called(first), "answer": second.choices[0].message.content}

    def structured():
        answer = ask([user(QUESTION)], response_format={"type": "json_schema", "json_schema": SCHEMA})
        return {"value": json.loads(answer.choices[0].message.content)}

    def talk():
        said, texts = [], []
        for line in CHILD_SAYS:
            said.append(user(line))
            texts.append(ask(said, url=CHILD_URL).choices[0].message.content)
            said.append({"role": "assistant", "content": texts[-1]})
        return {"texts": texts}

    return {
        "whole": lambda: facts(ask([user(QUESTION)])),
        "stream": lambda: facts(streamed()),
        "tools": tools,
        "tools_stream": lambda: called(streamed(tools=[TOOL])),
        "structured": structured,
        "unknown_model": lambda: facts(ask([user(QUESTION)], model="nobody")),
        "too_long": lambda: facts(ask([user(TOO_LONG)])),
        "bad_key": lambda: facts(ask([user(QUESTION)], key="wrong")),
        "talk": talk,
    }


tell("litellm openai", **talker("openai"))
tell("litellm hosted_vllm", **talker("hosted_vllm"))
