"""The page of what helped the chest model."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inference.training.samples import Sample
from inference.training.shipped import ablation
from inference.training.shipped.ablation import VARIANTS, _page
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.run import Plan


def row(name: str, ours: float, difference: float, low: float, high: float) -> dict[str, object]:
    return {
        "variant": name, "images": 2344, "ours": ours,
        "difference": difference, "difference_95": [low, high],
    }  # fmt: skip


def test_a_row_says_what_it_changes_and_how_sure_that_is() -> None:
    first, second = VARIANTS[:2]
    rows = [row(first.name, 0.728, 0, 0, 0), row(second.name, 0.739, 0.0111, -0.0042, 0.0262)]
    page = _page(rows)
    assert "over 2344 training images" in page
    assert f"| {first.name} | 0.728 |  |" in page
    assert f"| {second.name} | 0.739 | +0.011 (-0.004 to +0.026) |" in page


def test_every_variant_changes_something_the_first_nothing() -> None:
    changes = [(v.options, v.recipe, v.schedule, v.mix) for v in VARIANTS]
    assert not any(changes[0])
    assert all(any(change) for change in changes[1:])
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


@pytest.mark.slow
def test_the_page_is_written_when_every_variant_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [
        Sample(
            path=Path(f"{i}.png"),
            targets={key: float(i % 2) for key in FINDING_KEYS},
            group=str(i // 2),
            source="nih",
        )
        for i in range(40)
    ]
    material = SimpleNamespace(samples=samples)
    asked: list[Plan] = []

    def answers(plan: Plan) -> np.ndarray:
        asked.append(plan)
        if len(asked) == 2:
            raise KeyboardInterrupt
        random = np.random.default_rng(len(asked))
        return random.normal(size=(len(samples), len(FINDING_KEYS))).astype(np.float32)

    page = tmp_path / "page.md"
    monkeypatch.setattr(ablation, "OUT", page)
    monkeypatch.setattr(ablation, "VARIANTS", VARIANTS[:3])
    monkeypatch.setattr(ablation, "gather", lambda *_: material)
    monkeypatch.setattr(ablation, "cross_validate", answers)
    monkeypatch.setattr("sys.argv", ["ablation", "--data", str(tmp_path)])

    with pytest.raises(KeyboardInterrupt):
        ablation.main()
    assert not page.exists()
    ablation.main()

    assert [plan.recipe.schedule.pointing for plan in asked[2:]] == [0.0, 0.05, 0.0]
    assert [plan.recipe.focal for plan in asked[2:]] == [0.0, 0.0, 2.0]
    assert [variant.name in page.read_text() for variant in VARIANTS[:4]] == [True] * 3 + [False]
