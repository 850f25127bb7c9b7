"""Makes a model that vLLM can serve with random weights: a two-layer Llama, its tokenizer and chat template.

Run it with the Python of the vLLM environment (it needs `tokenizers`): `python tiny_model.py FOLDER`. Nothing is
downloaded. No weights are written either: vLLM makes them up with `--load-format dummy`.

The vocabulary is small on purpose. Words come in pieces of one to a few letters and most Korean syllables in single
bytes, so that a stream is cut in every place where a cut could hurt.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONTEXT = 4096  # tokens: the prompt of a policy for children alone takes several hundred
_BEGIN, _END, _PAD = "<|begin|>", "<|end|>", "<|pad|>"
_TEXTS = [
    "The little bear walks to the pond and sings a song about the moon. Shall we sing it together?",
    "Answer in easy words. Never ask who the child is or where. A story, a game, a picture, a friend.",
    "L'orsetto cammina verso il lago e canta una canzone per la luna. La cantiamo insieme?",
    "아기 곰이 연못으로 걸어가서 달님에게 노래를 불러 줘. 우리 같이 부를까?",
]
_TEMPLATE = (
    "{% for message in messages %}"
    f"{_BEGIN}{{{{ message.role }}}}: {{{{ message.content }}}}{_END}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{_BEGIN}assistant: {{% endif %}}"
)


def make(folder: Path) -> None:
    """Writes the model into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    ends = {"eos_token_id": tokenizer.token_to_id(_END), "pad_token_id": tokenizer.token_to_id(_PAD)}
    _write(folder / "config.json", {**_architecture(), "vocab_size": tokenizer.get_vocab_size(), **ends})
    _write(folder / "generation_config.json", ends)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "chat_template": _TEMPLATE}
    spaces = {"clean_up_tokenization_spaces": False}
    _write(folder / "tokenizer_config.json", {**settings, "eos_token": _END, "pad_token": _PAD, **spaces})


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    every_byte = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[_BEGIN, _END, _PAD], initial_alphabet=every_byte, show_progress=False
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer


def _architecture() -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }


def _write(file: Path, content: dict[str, object]) -> None:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
