"""Folders whose flows ask a language model, and a judge that says what it is told."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from proxy.turn import Segment, Turn
from rails._colang.context import Context
from rails._colang.folder import read

PROMPTS = """\
models:
  - {type: main, engine: openai, model: their-own}
  - {type: content_safety, engine: nim, model: some/guard}
  - {type: self_check_output, engine: nim, model: another}
enable_rails_exceptions: true
prompts:
  - task: self_check_input
    content: "May a child be answered this? <{{ user_input }}>"
  - task: self_check_output
    max_tokens: 3
    stop: ["."]
    messages:
      - {type: system, content: "You judge answers."}
      - {type: user, content: "Is this wrong? <{{ bot_response }}>"}
  - task: content_safety_check_input $model=content_safety
    content: "Harmful? <{{ user_input }}>"
    output_parser: is_content_safe
  - task: content_safety_check_output $model=content_safety
    content: "Harmful? <{{ user_input }}> <{{ bot_response }}>"
    output_parser: is_content_safe
  - task: llama_guard_check_input
    content: "Unsafe? <{{ user_input }}>"
"""
REFUSE = """\
define bot refuse to respond
  "Let us talk of something else."

define bot refuse to respond (it)
  "Parliamo d'altro."
"""
SLOW_INPUT = ("self check input", "content safety check input $model=content_safety")
SLOW_OUTPUT = ("self check output", "content safety check output $model=content_safety")

TALK = """\
define user ask for a secret
  "what did she tell you in secret"
  "che segreto ti ha detto"

define user greet
  "hello"
  "ciao"

define bot keep secrets
  "That is hers to tell."

define bot keep secrets (it)
  "Quello lo dice lei."

define flow secrets
  user ask for a secret
  bot keep secrets

define flow greeting
  user greet
  bot wave back
"""
BY_EXAMPLE = """\
models: []
rails:
  dialog:
    user_messages: {embeddings_only: true, embeddings_only_similarity_threshold: 0.6}
"""


def folder(colang=REFUSE, yaml=PROMPTS, slow_input=(), slow_output=(), actions=()):
    """A NeMo configuration as the reader reads it, whose listed flows all need a judge. Its folder is gone then."""
    with TemporaryDirectory() as made:
        (Path(made) / "house.co").write_text(colang, "utf-8")
        (Path(made) / "config.yml").write_text(yaml, "utf-8")
        found = read(
            Path(made), Path(made), list(slow_input), list(slow_output), languages=["en", "it"], actions=actions,
            lines=["wave_back"], code=False, judge="guard",
        )  # fmt: skip
    assert (found.slow_input, found.slow_output) == (tuple(slow_input), tuple(slow_output))
    return found


class Judge:
    """Says what it is told, after a while, and remembers what it was asked."""

    def __init__(self, *answers, delay=0.0):
        self.answers, self.delay, self.asked = list(answers), delay, []

    async def __call__(self, model, messages, settings):
        self.asked.append((model, messages, settings))
        await asyncio.sleep(self.delay)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


def heard(text, judge, role="user", lang="en", **fields):
    return Segment(role, text, Turn(id="t", language=lang, judge=judge, user="Who was it?", **fields))


async def run(judged, segment, context=None, **given):
    direction = "output" if segment.role == "assistant" else "input"
    context = Context() if context is None else context
    context.update({"user_message": segment.turn.user, "lang": segment.turn.language})
    context.language = segment.turn.language
    context["bot_message" if direction == "output" else "user_message"] = segment.text
    return [ran async for ran in judged.check(direction, segment, context, {"segment": segment, **given})]


def told(rans):
    """What was said, and whether it was stopped: of all that ran."""
    return [said.name if said.text is None else said.text for ran in rans for said in ran.said], rans[-1].stopped
