"""What teachers say is mixed into the labels where they answer, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest

from inference.evaluation.shipped.comparison_rivals import TEACHER_FILE
from inference.training.samples import Sample
from inference.training.shipped import teachers
from inference.training.shipped.labels import FINDING_KEYS

LABELS = len(FINDING_KEYS)


def sample(name: str) -> Sample:
    return Sample(path=Path(name), targets={}, group=name, source="nih")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    table = tmp_path / TEACHER_FILE
    table.parent.mkdir(parents=True)
    names = ",".join(f"prob_{key}" for key in FINDING_KEYS)
    table.write_text(f"Image Index,{names}\nknown.png,{','.join(['0.2'] * LABELS)}\n")
    return tmp_path


def test_an_image_that_the_published_network_did_not_see_keeps_its_labels(data: Path) -> None:
    targets = np.array([[1.0] * LABELS, [1.0] * LABELS], dtype=np.float32)
    rows = [sample("known.jpg"), sample("other.jpg")]
    mixed = teachers.taught(targets, data, rows, weight=0.5, public=False)
    assert mixed[0] == pytest.approx(0.6)
    assert mixed[1] == pytest.approx(1.0)
    assert targets.min() == 1.0, "what was given is not changed"


def test_where_both_answer_their_mean_counts_and_no_answer_outweighs_a_label(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = np.array([[0.6] * LABELS, [1.0] * LABELS, [1.0] * LABELS])
    monkeypatch.setattr(teachers, "onnx_scores", lambda _, images: said[: len(images)])
    targets = np.zeros((3, LABELS), dtype=np.float32)
    targets[2] = np.nan
    rows = [sample("known.jpg"), sample("other.jpg"), sample("unlabelled.jpg")]
    mixed = teachers.taught(targets, data, rows, weight=0.5, public=True)
    assert mixed[0] == pytest.approx(0.2)
    assert mixed[1].max() < 0.5
    assert np.isnan(mixed[2]).all()
