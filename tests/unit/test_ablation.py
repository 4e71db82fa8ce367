"""The page of what helped the chest model."""

from inference.training.shipped.ablation import VARIANTS, _page


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
