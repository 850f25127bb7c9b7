"""`make train`: teaches the networks the sentences under `training/data`, and writes them to `rails/_learned/weights`.

Minutes on two cores. The bars are set afterwards by `python -m training.bars`.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rails._learned.words import Side
from training.data import FROZEN, HERE, KINDS, NONE_OF, OF_USER, PLAIN, WEIGHTS, Line, Variety, batches, lines, to_learn
from training.net import Net, Words, earlier_of, pieces_of, save

_BATCH = 128
_FAST, _SLOW = 8e-3, 2e-3  # learning rates: of the pieces, and of all else
_DECAY = 0.02
_WARM = 100  # batches
_ASIDE = 0.4  # weight of what a sentence of one task says about another's question
_SMOOTH = 0.03
_USUAL = 1000

_pieces, _earlier = lru_cache(maxsize=300_000)(pieces_of), lru_cache(maxsize=100_000)(earlier_of)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--networks", type=int, default=2)
    asked.add_argument("--epochs", type=int, default=9)
    asked.add_argument("--into", type=Path, default=WEIGHTS)
    chosen = asked.parse_args()
    chosen.into.mkdir(parents=True, exist_ok=True)
    known = to_learn(lines(HERE / "data"), lines(FROZEN))
    print(f"{len(known)} sentences", flush=True)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:  # a core for each network
        learning = [pool.submit(taught, known, seed, chosen.epochs) for seed in range(1, chosen.networks + 1)]
        save([one.result() for one in learning], chosen.into, _usual(known))


def _usual(known: Sequence[Line]) -> Mapping[Side, list[tuple[str, str]]]:
    """Some of what each side says."""
    mixed = random.Random(1).sample(known, len(known))
    by_side: dict[Side, list[Line]] = {"user": [], "assistant": []}
    for line in mixed:
        by_side["user" if line.task in OF_USER else "assistant"].append(line)
    return {side: [(line.text, line.before) for line in mine[:_USUAL]] for side, mine in by_side.items()}


def taught(known: Sequence[Line], seed: int, epochs: int) -> Net:
    """A network that has read all of it `epochs` times."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)
    net, variety = Net(), Variety(known, seed)
    rest = [weights for name, weights in net.named_parameters() if name != "pieces.weight"]
    optimiser = torch.optim.AdamW(
        [{"params": net.pieces.weight, "weight_decay": 0.0}, {"params": rest, "weight_decay": _DECAY}],
        betas=(0.9, 0.98),
        fused=True,
    )
    steps, step, begun = math.ceil(len(known) / _BATCH) * epochs, 0, time.time()
    for epoch in range(epochs):
        total = 0.0
        for heard in batches(known, _BATCH, seed * 1000 + epoch):
            step += 1
            pace = min(1, step / _WARM) * (1 - step / (steps + 1))
            for group, rate in zip(optimiser.param_groups, (_FAST, _SLOW), strict=True):
                group["lr"] = rate * pace
            loss = _loss(net, [variety.of(line) for line in heard])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            total += loss.item()
        print(
            f"network {seed}, epoch {epoch + 1}: {total * _BATCH / len(known):.3f}, {time.time() - begun:.0f} s",
            flush=True,
        )
    return net.eval()


def _loss(net: Net, heard: Sequence[Line]) -> Tensor:
    read = [_pieces(line.text) for line in heard]
    texts: list[Words] = [one[1] for one in read]
    before = [_earlier(line.before) for line in heard]
    sides: list[Side] = ["user" if line.task in OF_USER else "assistant" for line in heard]
    told, tags = net(texts, before, sides)
    loss = torch.zeros(())
    for head in KINDS:
        rows, kinds, weights = _asked(head, heard)
        if rows:
            each = nn.functional.cross_entropy(
                told[head][rows], torch.tensor(kinds), reduction="none", label_smoothing=_SMOOTH
            )
            loss = loss + (each * torch.tensor(weights)).sum() * 2 / _BATCH
    wanted = torch.full(tags.shape[:2], -100)
    for row, (line, (spans, _)) in enumerate(zip(heard, read, strict=True)):
        if line.marks is not None:
            for column, (start, end, _) in enumerate(spans, len(before[row])):
                marked = (kind for left, right, kind in line.marks if start < right and end > left)
                wanted[row, column] = next(marked, 0)
    if (wanted >= 0).any():
        loss = loss + nn.functional.cross_entropy(tags.flatten(0, 1), wanted.flatten(), ignore_index=-100)
    return loss


def _asked(head: str, heard: Sequence[Line]) -> tuple[list[int], list[int], list[float]]:
    """Which of the sentences tell something about the head's question: their rows, kinds and weights."""
    rows, kinds, weights = [], [], []
    for row, line in enumerate(heard):
        if line.task == head:
            rows.append(row), kinds.append(line.kind), weights.append(1.0)
        elif head in NONE_OF[line.task][line.kind > 0]:
            rows.append(row), kinds.append(0), weights.append(1.0 if line.task in PLAIN else _ASIDE)
    return rows, kinds, weights


if __name__ == "__main__":
    main()
