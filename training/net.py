"""The network that learns, in torch, and how several of them become one file that the house runs.

Words (`rails/_learned/words.py`) are heard with their neighbours by a convolution, then with all the others, those
that the other side had said before among them, by layers of attention (Vaswani et al., 2017; normalised first, Xiong et
al., 2020). What was read is summed up by its strongest features, its mean and four looks (Bahdanau et al., 2015).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from proxy.turn import plain
from rails._learned.words import BUCKETS, EARLIER, LONGEST, Side, Word, earlier, pieces, standing, words
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


def earlier_of(text: str) -> Words:
    """The pieces of the words that are read of what the other side had said."""
    return [pieces(word.key) for word in earlier(plain(text))]


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
    """Reads sentences behind what was said before them; gives each head's and each word's leanings."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = nn.EmbeddingBag(BUCKETS, SIZE, mode="mean")
        nn.init.normal_(self.pieces.weight, 0, 0.08)
        self.side = nn.Embedding(4, SIZE)
        nn.init.zeros_(self.side.weight)
        self.place = nn.Embedding(LONGEST + EARLIER, SIZE)
        nn.init.normal_(self.place.weight, 0, 0.02)
        self.beside = nn.Conv1d(SIZE, SIZE, 3, padding=1)
        self.layers = nn.ModuleList(Attention() for _ in range(_LAYERS))
        self.look = nn.Linear(SIZE, _LOOKS)
        self.read = nn.Linear(_POOLED, _INNER)
        self.heads = nn.ModuleDict({head: nn.Linear(_INNER, len(kinds)) for head, kinds in KINDS.items()})
        self.tag1 = nn.Linear(SIZE, SIZE)
        self.tag = nn.Linear(SIZE, len(PRIVATE))
        self.drop = nn.Dropout(_DROP)

    def forward(
        self, texts: Sequence[Words], before: Sequence[Words], sides: Sequence[Side]
    ) -> tuple[Mapping[str, Tensor], Tensor]:
        """Leanings of each head, and those of each word of `before` and then of the text towards what is private."""
        x, there, own = self._words(texts, before, sides)
        if self.training:
            x = x * (torch.rand(x.shape[:2]) > _DEAF)[..., None]
        x = self.drop(x)
        silent = (1 - there) * _FAR
        x = x + torch.relu(self.beside(x.transpose(1, 2))).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, silent)
        meaning = self.drop(torch.relu(self.read(self.drop(self._pooled(x, own)))))
        tags = self.tag(self.drop(torch.relu(self.tag1(x))))
        return {head: layer(meaning) for head, layer in self.heads.items()}, tags

    def _pooled(self, x: Tensor, own: Tensor) -> Tensor:
        silent = ((1 - own) * _FAR)[..., None]
        strongest = torch.relu((x + silent).max(1).values)
        mean = (x * own[..., None]).sum(1) / own.sum(1, keepdim=True).clamp(min=1)
        weights = torch.softmax(self.look(x) + silent, 1) * (own.sum(1) > 0)[:, None, None]
        return torch.cat([strongest, mean, (weights.transpose(1, 2) @ x).flatten(1)], 1)

    def _words(
        self, texts: Sequence[Words], before: Sequence[Words], sides: Sequence[Side]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The words of each row, those said before first; where there is one, and where it is the sentence's own."""
        lengths = [len(one) + len(text) for one, text in zip(before, texts, strict=True)]
        x = torch.zeros(len(texts), max(*lengths, 1), SIZE)
        there, own = torch.zeros(x.shape[:2]), torch.zeros(x.shape[:2])
        flat = [self._partly(word) for one, text in zip(before, texts, strict=True) for word in (*one, *text)]
        if flat:
            starts = torch.from_numpy(np.cumsum([0, *(len(word) for word in flat[:-1])]))
            rows = torch.tensor([row for row, length in enumerate(lengths) for _ in range(length)])
            columns = torch.tensor([column for length in lengths for column in range(length)])
            stand = [standing(len(one), len(text), side) for one, text, side in zip(before, texts, sides, strict=True)]
            who, where = (torch.from_numpy(np.concatenate(one)) for one in zip(*stand, strict=True))
            known = self.pieces(torch.from_numpy(np.concatenate(flat)), starts)
            x = x.index_put((rows, columns), known + self.side(who) + self.place(where))
            there[rows, columns] = 1
            own[rows, columns] = (who < 2).float()
        return x, there, own

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
        self.side, self.place = _all(nets, "side.weight"), _all(nets, "place.weight")
        conv = _all(nets, "beside.weight")  # of net, to, from, neighbour
        self.beside = conv.permute(0, 3, 2, 1).reshape(len(nets), 3 * SIZE, SIZE), _all(nets, "beside.bias")[:, None]
        self.layers = [_layer(nets, f"layers.{number}.") for number in range(_LAYERS)]
        self.look, self.read = _linear(nets, "look"), _linear(nets, "read")
        self.tag1, self.tag = _linear(nets, "tag1"), _linear(nets, "tag")
        heads = [_linear(nets, f"heads.{head}") for head in KINDS]
        self.heads = torch.cat([weight for weight, _ in heads], 2), torch.cat([bias for _, bias in heads], 2)
        self.kinds = [len(kinds) for kinds in KINDS.values()]
        self.centre = torch.zeros(2, len(nets) * (_INNER + _POOLED))  # what the texts of a side have in common

    def forward(self, words: Tensor, who: Tensor, where: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """words: net, word, size; who and where: of each word (`standing`); own: which of them are the sentence's.

        How likely each kind of each head is, each tag of its words, and what it means, as a vector of length 1.
        """
        x = words + self.side[:, who] + self.place[:, where]
        around = nn.functional.pad(x, (0, 0, 1, 1))
        x = x + torch.relu(_apply(torch.cat([around[:, :-2], x, around[:, 2:]], 2), self.beside))
        for layer in self.layers:
            x = self._heard(x, layer)
        x = x[:, own]
        looks = torch.softmax(_apply(x, self.look), 1).transpose(1, 2) @ x
        strongest = torch.relu(x.max(1, keepdim=True).values)
        pooled = torch.cat([strongest, x.mean(1, keepdim=True), looks.flatten(1)[:, None]], 2)
        meaning = torch.relu(_apply(pooled, self.read))
        tags = torch.softmax(_apply(torch.relu(_apply(x, self.tag1)), self.tag), 2)
        leans = _apply(meaning, self.heads).mean(0)[0].split(self.kinds)
        kinds = torch.cat([torch.softmax(one, 0) for one in leans])
        means = torch.cat([nn.functional.normalize(one.flatten(), dim=0) for one in (meaning, pooled)]) * 0.5**0.5
        return kinds, tags.mean(0), nn.functional.normalize(means - self.centre[who[own[:1]]][0], dim=0)

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


def save(nets: Sequence[Net], folder: Path, usual: Mapping[Side, Sequence[tuple[str, str]]]) -> None:
    """The networks as `rails/_learned/model.py` runs them: `network.onnx`, and each one's pieces in eight bits.

    usual: texts of each side, and what was said before them. What they have in common tells nothing of what one means,
    and is taken out of it (Mu and Viswanath, 2018).
    """
    for old in folder.glob("pieces-*.npz"):
        old.unlink()
    for number, net in enumerate(nets, 1):
        table = net.pieces.weight.detach().numpy()
        scale = np.maximum(np.abs(table).max(1), 1e-8) / 127
        rows = np.round(table / scale[:, None]).astype(np.int8)
        np.savez_compressed(folder / f"pieces-{number}.npz", rows=rows, scale=scale.astype(np.float32))
    together = _Together(nets).eval()
    together.centre = torch.stack([_centre(together, nets, side, usual[side]) for side in ("user", "assistant")])
    who, where = map(torch.from_numpy, standing(2, 5, "user"))
    sample = (torch.zeros(len(nets), 7, SIZE), who, where, torch.arange(2, 7))
    torch.onnx.export(
        together, sample, str(folder / "network.onnx"), input_names=["words", "who", "where", "own"],
        output_names=["kinds", "tags", "meaning"], dynamo=False, opset_version=17,
        dynamic_axes={"words": {1: "n"}, "who": {0: "n"}, "where": {0: "n"}, "own": {0: "k"}, "tags": {0: "k"}},
    )  # fmt: skip


@torch.no_grad()
def _centre(together: _Together, nets: Sequence[Net], side: Side, texts: Sequence[tuple[str, str]]) -> Tensor:
    means = []
    for text, before in texts:
        own, said = pieces_of(text)[1], earlier_of(before)
        if own:
            heard = torch.stack([torch.stack([_mean(net, word) for word in (*said, *own)]) for net in nets])
            who, where = map(torch.from_numpy, standing(len(said), len(own), side))
            means.append(together(heard, who, where, torch.arange(len(said), len(who)))[2])
    return torch.stack(means).mean(0) if means else together.centre[0]


def _mean(net: Net, word: np.ndarray) -> Tensor:
    return net.pieces.weight[torch.from_numpy(word)].mean(0)
