"""What a manifest says of the weights that its members started from."""

from pathlib import Path

import numpy as np

from inference.training.backbones import BACKBONES
from inference.training.samples import Squares
from inference.training.shipped.options import Options, members_of
from inference.training.shipped.run import Material
from inference.training.shipped.sections import data_section, terms_of_starts


def test_a_start_that_two_members_share_is_told_once(tmp_path: Path) -> None:
    options = Options(
        data=tmp_path, out=tmp_path, card=tmp_path / "card.md", size=32, epochs=1, variants=1,
        members=members_of("mobilenet_v2:4,mobilenet_v3_small:4,mobilenet_v2:4"),
        seed=0, threads=1, device="cpu", version="9.9.9",
    )  # fmt: skip
    nothing = Material(
        samples=[],
        squares=Squares(pixels=np.zeros((0, 32, 32), np.uint8), boxes=np.zeros((0, 4), np.int64)),
        targets=np.zeros((0, 1), np.float32),
        folds=np.zeros(0, np.int64),
        held_out=[],
    )
    starts = ("mobilenet_v2", "mobilenet_v3_small")
    assert terms_of_starts(options) == "; ".join(f"{s}: {BACKBONES[s].terms}" for s in starts)
    told = data_section(options, nothing, [], ())["sources"]
    assert [source["name"] for source in told] == [f"Weights that {s} started from" for s in starts]
    assert [source["terms"] for source in told] == [BACKBONES[s].terms for s in starts]
