"""The openai package: chat, /v1/responses, completions, embeddings and models."""

import json
from typing import Literal

import openai
from pydantic import BaseModel
from told import API_KEY, BASE_URL, CHILD_SAYS, CHILD_URL, MODEL, QUESTION, TOO_LONG, TOOL, WEATHER, tell, user

client = openai.OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
stranger = openai.OpenAI(base_url=BASE_URL, api_key="wrong", max_retries=0)
child = openai.OpenAI(base_url=CHILD_URL, api_key=API_KEY, max_retries=0)


class Forecast(BaseModel):
    city: str
    sky: Literal["sunny", "grey"]


def facts(answer):
    choice = answer.choices[0]
    return {"text": choice.message.content, "finish": choice.finish_reason, "tokens": answer.usage.total_tokens}


def whole():
    return facts(client.chat.completions.create(model=MODEL, messages=[user(QUESTION)]))


def stream():
    pieces, finish, tokens = [], None, None
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in client.chat.completions.create(model=MODEL, messages=[user(QUESTION)], **asked):
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
    return {"text": "".join(pieces), "finish": finish, "tokens": tokens}


def stream_helper():
    with client.chat.completions.stream(
        model=MODEL, messages=[user(QUESTION)], stream_options={"include_usage": True}
    ) as events:
        for _ in events:
            pass
        return facts(events.get_final_completion())


def tools():
    talk = [user(QUESTION)]
    first = client.chat.completions.create(model=MODEL, messages=talk, tools=[TOOL])
    message = first.choices[0].message
    call = message.tool_calls[0]
    talk += [message, {"role": "tool", "tool_call_id": call.id, "content": WEATHER}]
    second = client.chat.completions.create(model=MODEL, messages=talk, tools=[TOOL])
    called = {"name": call.function.name, "arguments": json.loads(call.function.arguments)}
    return {**called, "finish": first.choices[0].finish_reason, "answer": second.choices[0].message.content}


def tools_stream():
    with client.chat.completions.stream(model=MODEL, messages=[user(QUESTION)], tools=[TOOL]) as events:
        for _ in events:
            pass
        choice = events.get_final_completion().choices[0]
    call = choice.message.tool_calls[0].function
    return {"name": call.name, "arguments": json.loads(call.arguments), "finish": choice.finish_reason}


def structured():
    answer = client.chat.completions.parse(model=MODEL, messages=[user(QUESTION)], response_format=Forecast)
    return {"value": answer.choices[0].message.parsed.model_dump()}


def structured_stream():
    with client.chat.completions.stream(model=MODEL, messages=[user(QUESTION)], response_format=Forecast) as events:
        for _ in events:
            pass
        return {"value": events.get_final_completion().choices[0].message.parsed.model_dump()}


def talk():
    said, texts = [], []
    for line in CHILD_SAYS:
        said.append(user(line))
        texts.append(child.chat.completions.create(model=MODEL, messages=said).choices[0].message.content)
        said.append({"role": "assistant", "content": texts[-1]})
    return {"texts": texts}


tell(
    "openai",
    whole=whole,
    stream=stream,
    stream_helper=stream_helper,
    tools=tools,
    tools_stream=tools_stream,
    structured=structured,
    structured_stream=structured_stream,
    unknown_model=lambda: facts(client.chat.completions.create(model="nobody", messages=[user(QUESTION)])),
    too_long=lambda: facts(client.chat.completions.create(model=MODEL, messages=[user(TOO_LONG)])),
    bad_key=lambda: facts(stranger.chat.completions.create(model=MODEL, messages=[user(QUESTION)])),
    talk=talk,
)


# -- /v1/responses -----------------------------------------------------------------------------------------------------

FLAT_TOOL = {"type": "function", "strict": False, **TOOL["function"]}


def response_facts(response):
    return {"text": response.output_text, "finish": response.status, "tokens": response.usage.total_tokens}


def response_stream():
    with client.responses.stream(model=MODEL, input=QUESTION) as events:
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        final = events.get_final_response()
    return {**response_facts(final), "text": text}


def response_tools():
    first = client.responses.create(model=MODEL, input=QUESTION, tools=[FLAT_TOOL])
    call = next(item for item in first.output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": WEATHER}
    second = client.responses.create(model=MODEL, input=[result], previous_response_id=first.id, tools=[FLAT_TOOL])
    called = {"name": call.name, "arguments": json.loads(call.arguments)}
    return {**called, "finish": first.status, "answer": second.output_text}


def response_tools_stream():
    with client.responses.stream(model=MODEL, input=QUESTION, tools=[FLAT_TOOL]) as events:
        arguments = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
        final = events.get_final_response()
    call = next(item for item in final.output if item.type == "function_call")
    return {"name": call.name, "arguments": json.loads(arguments), "finish": final.status}


def response_talk():
    """Three turns by reference alone: each request brings only what is new."""
    texts, before = [], None
    for line in CHILD_SAYS:
        response = child.responses.create(model=MODEL, input=line, previous_response_id=before or openai.omit)
        texts.append(response.output_text)
        before = response.id
    return {"texts": texts}


tell(
    "openai responses",
    whole=lambda: response_facts(client.responses.create(model=MODEL, input=QUESTION)),
    stream=response_stream,
    tools=response_tools,
    tools_stream=response_tools_stream,
    structured=lambda: {
        "value": client.responses.parse(model=MODEL, input=QUESTION, text_format=Forecast).output_parsed.model_dump()
    },
    unknown_model=lambda: response_facts(client.responses.create(model="nobody", input=QUESTION)),
    too_long=lambda: response_facts(client.responses.create(model=MODEL, input=TOO_LONG)),
    bad_key=lambda: response_facts(stranger.responses.create(model=MODEL, input=QUESTION)),
    talk=response_talk,
)


# -- the other routes --------------------------------------------------------------------------------------------------


def completion_facts(answer):
    choice = answer.choices[0]
    return {"text": choice.text, "finish": choice.finish_reason, "tokens": answer.usage.total_tokens}


def completion_stream():
    text, finish, tokens = "", None, None
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    for chunk in client.completions.create(model=MODEL, prompt=QUESTION, **asked):
        for choice in chunk.choices:
            text += choice.text
            finish = choice.finish_reason or finish
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
    return {"text": text, "finish": finish, "tokens": tokens}


tell(
    "openai completions",
    whole=lambda: completion_facts(client.completions.create(model=MODEL, prompt=QUESTION)),
    stream=completion_stream,
    unknown_model=lambda: completion_facts(client.completions.create(model="nobody", prompt=QUESTION)),
    too_long=lambda: completion_facts(client.completions.create(model=MODEL, prompt=TOO_LONG)),
    bad_key=lambda: completion_facts(stranger.completions.create(model=MODEL, prompt=QUESTION)),
)
tell(
    "openai models",
    list=lambda: {"ids": [model.id for model in client.models.list()]},
    one=lambda: {"id": client.models.retrieve(MODEL).id},
    unknown_model=lambda: {"id": client.models.retrieve("nobody").id},
)
