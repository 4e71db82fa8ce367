"""Two networks on the same images: the difference, its interval, and who may be compared."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from inference.evaluation.shipped.comparison import paired, table
from inference.evaluation.shipped.comparison_rivals import ONNX_KEYS, partly_covered
from inference.training.samples import Sample
from inference.training.shipped.labels import FINDING_KEYS

LABELS = len(FINDING_KEYS)


def images(count=60, seed=0):
    """Random truth, a score that follows it, one that knows nothing, and patients."""
    random = np.random.default_rng(seed)
    truth = random.random((count, LABELS)) < 0.4
    knowing = truth + random.normal(0, 0.3, truth.shape)
    return truth, knowing, random.random(truth.shape), [str(n // 2) for n in range(count)]


def test_equal_scores_differ_by_nothing_in_any_draw():
    truth, knowing, _, patients = images()

    found = paired(knowing, knowing, truth, patients)

    assert found["mean"]["difference"] == 0.0
    assert found["mean"]["difference_95"] == [0.0, 0.0]


def test_the_better_network_is_ahead_and_its_interval_excludes_nothing():
    truth, knowing, guessing, patients = images()

    ahead = paired(knowing, guessing, truth, patients)["mean"]
    behind = paired(guessing, knowing, truth, patients)["mean"]

    assert ahead["ours"] > 0.9 > ahead["theirs"]
    assert ahead["difference_95"][0] > 0.1
    assert behind["difference"] == pytest.approx(-ahead["difference"])


def test_a_label_that_no_image_shows_is_left_out_of_the_mean():
    truth, knowing, guessing, patients = images()
    truth[:, 3] = False

    found = paired(knowing, guessing, truth, patients)

    assert FINDING_KEYS[3] not in found["labels"]
    assert len(found["labels"]) == LABELS - 1
    assert not np.isnan(found["mean"]["difference"])


def test_images_of_one_patient_are_drawn_together():
    truth, knowing, guessing, _ = images()

    apart = paired(knowing, guessing, truth, [str(n) for n in range(len(truth))])
    together = paired(knowing, guessing, truth, ["one"] * len(truth))

    assert together["patients"] == 1
    assert len(set(np.round(together["mean"]["difference_95"], 9))) == 1
    assert len(set(np.round(apart["mean"]["difference_95"], 9))) == 2


def test_a_patient_with_and_without_an_answer_is_counted():
    def sample(name, group):
        return Sample(path=Path(f"images/{name}.jpg"), targets={}, group=group, source="nih")

    samples = [sample("a", "p"), sample("b", "p"), sample("c", "q"), sample("d", "q")]

    assert partly_covered({"a", "b"}, samples) == 0
    assert partly_covered({"a", "c", "d"}, samples) == 1


def test_the_public_classifier_answers_every_finding_and_no_finding():
    assert set(ONNX_KEYS) == {"No Finding", *FINDING_KEYS}


def test_the_table_says_which_images_may_be_of_its_training():
    truth, knowing, guessing, patients = images()
    about = {"rival": "r", "images_are": "all", "may_have_trained_on": "some of them"}

    console = Console(width=100)
    with console.capture() as captured:
        console.print(table({**about, **paired(knowing, guessing, truth, patients)}))
    text = captured.get()

    assert "may be of its training: some of them" in text
    assert "Pleural_Thickening" in text
