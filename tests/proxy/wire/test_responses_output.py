"""What a response consists of, piece by piece."""

import pytest
from openai.types.responses import ResponseUsage

from proxy.wire.responses_output import as_usage, items_kept, tokens

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def usage(asked, answered, total, cached=0, thought=0, **more):
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": total,
        **more,
    }


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}, usage(10, 4, 14)),
        ({"prompt_tokens": 10, "completion_tokens": None}, usage(10, 0, 10)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": None}, usage(1, 2, 3)),
        (
            {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": None}, "completion_tokens_details": {"reasoning_tokens": 2}},
            usage(1, 2, 3, cached=1, thought=2),
        ),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "estimated": True}, usage(1, 2, 3, estimated=True)),
    ],
)  # fmt: skip
def test_usage(told, expected):
    assert as_usage(told) == expected
    ResponseUsage.model_validate(expected)


def test_no_usage():
    assert as_usage(None) is None


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        (None, []),
        ({"content": None}, []),
        ({"content": []}, []),
        ({"content": [{"token": "a", "logprob": -1}]}, [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": []}]),
        ({"content": [{"token": "�", "logprob": -1, "bytes": [239]}]}, [{"token": "�", "logprob": -1, "bytes": [239], "top_logprobs": []}]),
    ],
)  # fmt: skip
def test_tokens(logprobs, expected):
    assert tokens(logprobs) == expected


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ({"content": "Hello"}, {"msg_t": {"role": "assistant", "content": "Hello"}}),
        ({"content": None, "refusal": "No."}, {"msg_t": {"role": "assistant", "content": "No."}}),
        ({"content": "", "tool_calls": [CALL]}, {"fc_t_0": {"role": "assistant", "content": None, "tool_calls": [CALL]}}),
        ({"content": "", "reasoning": "Hm"}, {}),
    ],
)  # fmt: skip
def test_items_kept(message, kept):
    assert items_kept("t", message) == kept
