"""instructor, which asks for a tool call or for JSON and gives a pydantic object back."""

import instructor
import openai
from pydantic import BaseModel
from told import API_KEY, BASE_URL, MODEL, QUESTION, TOO_LONG, tell, user


class Forecast(BaseModel):
    """The weather of one city."""

    city: str
    sky: str


def ask(mode, model=MODEL, text=QUESTION, key=API_KEY):
    client = instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=key, max_retries=0), mode=mode)
    forecast = client.chat.completions.create(
        model=model, messages=[user(text)], response_model=Forecast, max_retries=0
    )
    return {"value": forecast.model_dump()}


def stream():
    """Partial objects, each with more of its fields than the one before."""
    client = instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=API_KEY), mode=instructor.Mode.JSON_SCHEMA)
    partial = client.chat.completions.create_partial(model=MODEL, messages=[user(QUESTION)], response_model=Forecast)
    return {"value": list(partial)[-1].model_dump()}


tell(
    "instructor",
    structured_tools=lambda: ask(instructor.Mode.TOOLS),
    structured=lambda: ask(instructor.Mode.JSON_SCHEMA),
    structured_stream=stream,
    unknown_model=lambda: ask(instructor.Mode.TOOLS, model="nobody"),
    too_long=lambda: ask(instructor.Mode.TOOLS, text=TOO_LONG),
    bad_key=lambda: ask(instructor.Mode.TOOLS, key="wrong"),
)
