"""The network that learns, in torch, and how several of them become one file that the house runs.

Words (`rails/_learned/words.py`) are heard with their neighbours by a convolution, then with all the others by two
layers of attention (Vaswani et al., 2017; normalised first, Xiong et al., 2020). What was read is summed up by its
strongest features, its mean and four looks (Bahdanau et al., 2015), and so is what the other side had said before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from proxy.turn import plain
from rails._learned.words import BUCKETS, LONGEST, Word, pieces, words
from training.data import KINDS, PRIVATE

SIZE = 64
_LAYERS = 2
_VOICES = 4  # attentions side by side in a layer
_LOOKS = 4
_INNER = 96
_POOLED = SIZE * (2 + _LOOKS)
_SPLIT = 0.2  # pieces left out of a word while learning, so that none is relied on
_DROP = 0.3
_DEAF = 0.05  # words not heard at all
_FAR = -30.0  # added to what must not be looked at
Words = list[np.ndarray]


def pieces_of(text: str) -> tuple[list[Word], Words]:
    """The words of a text, and the pieces of each; of a long text the beginning."""
    heard = words(plain(text))[:LONGEST]
    return heard, [pieces(word.key) for word in heard]


class Attention(nn.Module):
    """One layer: each word asks all the others."""

    def __init__(self) -> None:
        super().__init__()
        self.calm, self.calm_too = nn.LayerNorm(SIZE), nn.LayerNorm(SIZE)
        self.ask, self.answer = nn.Linear(SIZE, 3 * SIZE), nn.Linear(SIZE, SIZE)
        self.think = nn.Sequential(nn.Linear(SIZE, 2 * SIZE), nn.GELU(), nn.Linear(2 * SIZE, SIZE))
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor, silent: Tensor) -> Tensor:
        rows, length, _ = x.shape
        asked = self.ask(self.calm(x)).view(rows, length, 3, _VOICES, SIZE // _VOICES).permute(2, 0, 3, 1, 4)
        alike = asked[0] @ asked[1].transpose(-1, -2) * (SIZE // _VOICES) ** -0.5
        heard = torch.softmax(alike + silent[:, None, None], -1) @ asked[2]
        x = x + self.drop(self.answer(heard.transpose(1, 2).reshape(rows, length, SIZE)))
        return x + self.drop(self.think(self.calm_too(x)))


class Net(nn.Module):
    """Reads sentences in their context; gives each head's and each word's leanings."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = nn.EmbeddingBag(BUCKETS, SIZE, mode="mean")
        nn.init.normal_(self.pieces.weight, 0, 0.08)
        self.side = nn.Embedding(3, SIZE)
        nn.init.zeros_(self.side.weight)
        self.place = nn.Parameter(torch.randn(LONGEST, SIZE) * 0.02)
        self.beside = nn.Conv1d(SIZE, SIZE, 3, padding=1)
        self.layers = nn.ModuleList(Attention() for _ in range(_LAYERS))
        self.look = nn.Linear(SIZE, _LOOKS)
        self.read = nn.Linear(2 * _POOLED, _INNER)
        self.heads = nn.ModuleDict({head: nn.Linear(_INNER, len(kinds)) for head, kinds in KINDS.items()})
        self.before = nn.Linear(_POOLED, SIZE)
        self.tag1 = nn.Linear(2 * SIZE, SIZE)
        self.tag = nn.Linear(SIZE, len(PRIVATE))
        self.drop = nn.Dropout(_DROP)

    def forward(
        self, texts: Sequence[Words], before: Sequence[Words], sides: Tensor
    ) -> tuple[Mapping[str, Tensor], Tensor]:
        """sides: 1 where a user speaks, 2 where the assistant does."""
        states, pooled = self.heard(*self._words(texts), sides)
        _, context = self.heard(*self._words(before), 3 - sides)
        meaning = self.drop(self.meaning(self.drop(torch.cat([pooled, context], 1))))
        return {head: layer(meaning) for head, layer in self.heads.items()}, self.tags(states, context)

    def heard(self, x: Tensor, there: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
        """What became of each word, and of them all. x: the words; there: 1 for each, 0 for the padding."""
        x = self.drop((x + self.side(sides)[:, None] + self.place[: x.shape[1]]) * there[..., None])
        if self.training:
            x = x * (torch.rand(x.shape[:2]) > _DEAF)[..., None]
        silent = (1 - there) * _FAR
        x = x + torch.relu(self.beside(x.transpose(1, 2))).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, silent)
        x = x * there[..., None]
        strongest = torch.relu((x + silent[..., None]).max(1).values)
        mean = x.sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        weights = torch.softmax(self.look(x) + silent[..., None], 1) * (there.sum(1) > 0)[:, None, None]
        looks = (weights.transpose(1, 2) @ x).flatten(1)
        return x, torch.cat([strongest, mean, looks], 1)

    def meaning(self, both: Tensor) -> Tensor:
        return torch.relu(self.read(both))

    def tags(self, states: Tensor, context: Tensor) -> Tensor:
        beside = self.before(context)[:, None].expand_as(states)
        return self.tag(self.drop(torch.relu(self.tag1(torch.cat([states, beside], 2)))))

    def _words(self, texts: Sequence[Words]) -> tuple[Tensor, Tensor]:
        lengths = [len(text) for text in texts]
        x = torch.zeros(len(texts), max(*lengths, 1), SIZE)
        there = torch.zeros(x.shape[:2])
        flat = [self._partly(word) for text in texts for word in text]
        if flat:
            starts = torch.from_numpy(np.cumsum([0, *(len(word) for word in flat[:-1])]))
            rows = torch.tensor([row for row, length in enumerate(lengths) for _ in range(length)])
            columns = torch.tensor([column for length in lengths for column in range(length)])
            x = x.index_put((rows, columns), self.pieces(torch.from_numpy(np.concatenate(flat)), starts))
            there[rows, columns] = 1
        return x, there

    def _partly(self, word: np.ndarray) -> np.ndarray:
        if not self.training or len(word) < 3:
            return word
        kept = word[np.random.rand(len(word)) > _SPLIT]
        return kept if len(kept) else word


class _Together(nn.Module):
    """Several networks as one, for one text: each step is one multiplication for all of them.

    A test holds it to what the networks say on their own (`tests/training`).
    """

    def __init__(self, nets: Sequence[Net]) -> None:
        super().__init__()
        self.side, self.place = _all(nets, "side.weight"), _all(nets, "place")
        conv = _all(nets, "beside.weight")  # of net, to, from, neighbour
        self.beside = conv.permute(0, 3, 2, 1).reshape(len(nets), 3 * SIZE, SIZE), _all(nets, "beside.bias")[:, None]
        self.layers = [_layer(nets, f"layers.{number}.") for number in range(_LAYERS)]
        self.look, self.read, self.before = (_linear(nets, name) for name in ("look", "read", "before"))
        self.tag1, self.tag = _linear(nets, "tag1"), _linear(nets, "tag")
        heads = [_linear(nets, f"heads.{head}") for head in KINDS]
        self.heads = torch.cat([weight for weight, _ in heads], 2), torch.cat([bias for _, bias in heads], 2)

    def forward(self, words: Tensor, side: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """words: net, word, size. side: 1 or 2. context: net, 1, pooled. Leanings of all heads, and the words' tags."""
        x = words + self.side[:, side] + self.place[:, : words.shape[1]]
        around = nn.functional.pad(x, (0, 0, 1, 1))
        x = x + torch.relu(_apply(torch.cat([around[:, :-2], x, around[:, 2:]], 2), self.beside))
        for layer in self.layers:
            x = self._heard(x, layer)
        looks = torch.softmax(_apply(x, self.look), 1).transpose(1, 2) @ x
        strongest = torch.relu(x.max(1, keepdim=True).values)
        pooled = torch.cat([strongest, x.mean(1, keepdim=True), looks.flatten(1)[:, None]], 2)
        meaning = torch.relu(_apply(torch.cat([pooled, context], 2), self.read))
        beside = _apply(context, self.before).expand(-1, x.shape[1], -1)
        tags = torch.softmax(_apply(torch.relu(_apply(torch.cat([x, beside], 2), self.tag1)), self.tag), 2)
        return _apply(meaning, self.heads).mean(0)[0], tags.mean(0), pooled, meaning.flatten()

    def _heard(self, x: Tensor, layer: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        nets, length, _ = x.shape
        asked = _apply(_calm(x, layer["calm"]), layer["ask"]).view(nets, length, 3 * _VOICES, SIZE // _VOICES)
        ask, known, says = asked.transpose(1, 2).split(_VOICES, 1)
        alike = ask @ known.transpose(-1, -2) * (SIZE // _VOICES) ** -0.5
        heard = (torch.softmax(alike, -1) @ says).transpose(1, 2).reshape(nets, length, SIZE)
        x = x + _apply(heard, layer["answer"])
        return x + _apply(nn.functional.gelu(_apply(_calm(x, layer["calm_too"]), layer["think.0"])), layer["think.2"])


def _all(nets: Sequence[Net], name: str) -> Tensor:
    return torch.stack([net.state_dict()[name] for net in nets])


def _linear(nets: Sequence[Net], name: str) -> tuple[Tensor, Tensor]:
    return _all(nets, f"{name}.weight").transpose(1, 2).contiguous(), _all(nets, f"{name}.bias")[:, None]


def _layer(nets: Sequence[Net], name: str) -> Mapping[str, tuple[Tensor, Tensor]]:
    layer = {part: _linear(nets, name + part) for part in ("ask", "answer", "think.0", "think.2")}
    for part in ("calm", "calm_too"):
        layer[part] = _all(nets, f"{name}{part}.weight")[:, None], _all(nets, f"{name}{part}.bias")[:, None]
    return layer


def _apply(x: Tensor, linear: tuple[Tensor, Tensor]) -> Tensor:
    return x @ linear[0] + linear[1]


def _calm(x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.layer_norm(x, (SIZE,)) * norm[0] + norm[1]


def save(nets: Sequence[Net], folder: Path) -> None:
    """The networks as `rails/_learned/model.py` runs them: `network.onnx`, and each one's pieces in eight bits."""
    for old in folder.glob("pieces-*.npz"):
        old.unlink()
    for number, net in enumerate(nets, 1):
        table = net.pieces.weight.detach().numpy()
        scale = np.maximum(np.abs(table).max(1), 1e-8) / 127
        rows = np.round(table / scale[:, None]).astype(np.int8)
        np.savez_compressed(folder / f"pieces-{number}.npz", rows=rows, scale=scale.astype(np.float32))
    sample = (torch.zeros(len(nets), 7, SIZE), torch.tensor([1]), torch.zeros(len(nets), 1, _POOLED))
    torch.onnx.export(
        _Together(nets).eval(), sample, str(folder / "network.onnx"), input_names=["words", "side", "before"],
        output_names=["kinds", "tags", "pooled", "meaning"], dynamic_axes={"words": {1: "n"}, "tags": {0: "n"}},
        dynamo=False, opset_version=17,
    )  # fmt: skip
