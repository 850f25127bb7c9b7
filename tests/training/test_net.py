"""What the house runs says what the networks say that were trained; `make train` runs this, having torch."""

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is installed for training only: make train")
import torch

from proxy.turn import plain
from rails._learned.model import Model
from rails._learned.words import EARLIER
from training.data import KINDS, WEIGHTS
from training.net import Net, earlier_of, pieces_of, save

TEXT, BEFORE = "yes go on you can do it", "can i light it? "
USUAL = {
    "user": [("let us play", "what now"), ("no the other", "")],
    "assistant": [("here is the bear", "a bear please"), ("well done", "i did it")],
}


@pytest.fixture(scope="module")
def nets() -> list[Net]:
    torch.manual_seed(1)
    made = [Net().eval() for _ in range(2)]
    for net in made:  # else who speaks would not count before anything is learned
        torch.nn.init.normal_(net.side.weight)
    return made


@pytest.fixture(scope="module")
def model(nets: list[Net], tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder: Path = tmp_path_factory.mktemp("weights")
    save(nets, folder, USUAL)
    shutil.copy(WEIGHTS / "calibration.json", folder)
    return Model(folder)


@pytest.mark.parametrize(
    ("before", "side"), [(BEFORE, "assistant"), ("", "user"), (BEFORE, "user"), (BEFORE * EARLIER, "assistant")]
)
def test_what_runs_says_what_the_networks_say_alone(nets: list[Net], model: Model, before: str, side: str) -> None:
    alone = [net([pieces_of(TEXT)[1]], [earlier_of(before)], [side]) for net in nets]
    (read,) = model.reads(plain(TEXT), plain(before), side, {})
    kinds = torch.cat([torch.stack([one[0][head] for one in alone]).mean(0).softmax(1)[0] for head in KINDS])
    assert np.allclose(read.kinds, kinds.detach().numpy(), atol=0.01)  # the pieces are kept in eight bits
    tags = torch.stack([one[1].softmax(2)[0, -len(read.words) :] for one in alone]).mean(0)
    assert np.allclose(read.tags, tags.detach().numpy(), atol=0.01)


def test_what_the_texts_of_a_side_have_in_common_is_no_part_of_what_one_means(model: Model) -> None:
    for side, said in USUAL.items():
        one, other = (model.told("stop", plain(text), plain(before), side, {})[1] for text, before in said)
        assert np.linalg.norm(one) == pytest.approx(1, abs=1e-4)
        assert one @ other < -0.9  # of two, what is left points away from each other
