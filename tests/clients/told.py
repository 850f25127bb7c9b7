"""What a client tells of its talk: one line of JSON for each thing it did. Runs in the client's own environment."""

import json
import os
import sys

BASE_URL, CHILD_URL, API_KEY = os.environ["BASE_URL"], os.environ["CHILD_URL"], os.environ["API_KEY"]
MODEL = "buddy"
QUESTION = 'What does get_weather say of "Rome"?'  # the buddy calls the tool that it is asked for, if it has one
TOO_LONG = "word " * 20_000
CHILD_SAYS = ("Can we light a candle?", "Good night!", "Mm.")
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
WEATHER = "Sunny, 21 degrees."


def user(text):
    return {"role": "user", "content": text}


def status(fault):
    """The HTTP status that the exception tells, or that of the one which caused it."""
    while fault is not None and not hasattr(fault, "status_code"):
        fault = fault.__cause__
    return fault and fault.status_code


def tell(client, **scenarios):
    """Does one after the other and tells what each returned, or what it raised."""
    for scenario, act in scenarios.items():
        try:
            facts = act()
        except Exception as fault:
            facts = {"raised": type(fault).__name__, "status": status(fault), "says": str(fault)[:300]}
        sys.stdout.write(json.dumps({"client": client, "scenario": scenario, **facts}) + "\n")
