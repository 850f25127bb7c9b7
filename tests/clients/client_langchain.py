"""langchain-openai's ChatOpenAI, over chat completions as it comes."""

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from told import API_KEY, BASE_URL, CHILD_SAYS, CHILD_URL, MODEL, QUESTION, TOO_LONG, TOOL, WEATHER, tell


def chat(model=MODEL, url=BASE_URL, key=API_KEY):
    return ChatOpenAI(model=model, base_url=url, api_key=key, max_retries=0, stream_usage=True)


class Forecast(BaseModel):
    """The weather of one city."""

    city: str
    sky: str


def facts(message):
    finish = message.response_metadata.get("finish_reason")
    return {"text": message.content, "finish": finish, "tokens": message.usage_metadata["total_tokens"]}


def added(pieces):
    """LangChain's chunks, added up to one message as its users do."""
    total = None
    for piece in pieces:
        total = piece if total is None else total + piece
    return total


def tools():
    model, talk = chat().bind_tools([TOOL]), [HumanMessage(QUESTION)]
    first = model.invoke(talk)
    call = first.tool_calls[0]
    second = model.invoke([*talk, first, ToolMessage(WEATHER, tool_call_id=call["id"])])
    return {**called(first), "answer": second.content}


def called(message):
    call = message.tool_calls[0]
    return {"name": call["name"], "arguments": call["args"], "finish": message.response_metadata["finish_reason"]}


def talk():
    said, texts = [], []
    for line in CHILD_SAYS:
        said.append(HumanMessage(line))
        texts.append(chat(url=CHILD_URL).invoke(said).content)
        said.append(AIMessage(texts[-1]))
    return {"texts": texts}


tell(
    "langchain",
    whole=lambda: facts(chat().invoke(QUESTION)),
    stream=lambda: facts(added(chat().stream(QUESTION))),
    tools=tools,
    tools_stream=lambda: called(added(chat().bind_tools([TOOL]).stream(QUESTION))),
    structured=lambda: {
        "value": chat().with_structured_output(Forecast, method="json_schema").invoke(QUESTION).model_dump()
    },
    unknown_model=lambda: facts(chat(model="nobody").invoke(QUESTION)),
    too_long=lambda: facts(chat().invoke(TOO_LONG)),
    bad_key=lambda: facts(chat(key="wrong").invoke(QUESTION)),
    talk=talk,
)
