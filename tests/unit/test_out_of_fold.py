"""What out-of-fold networks said is kept beside the images it is of."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from inference.manifest import read_manifest
from inference.training import bodypart, outoffold
from inference.training.labels import BODYPART_KEYS
from inference.training.samples import Sample

SHIPPED = Path(__file__).parents[2] / "inference" / "models" / "bodypart"
FOLDS = np.array([0, 1, 0, 2], dtype=np.int64)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [
        Sample(path=Path(f"{n}.jpg"), targets={}, group=str(n), source="unifesp") for n in range(4)
    ]
    monkeypatch.setattr(bodypart, "training_list", lambda _data, _seed: (samples, FOLDS))


def test_what_is_kept_is_what_is_loaded(tmp_path: Path) -> None:
    kept = outoffold.OutOfFold(
        logits=np.ones((2, 3), dtype=np.float32),
        paths=("a.jpg", "b.jpg"),
        folds=np.array([0, 1]),
        weights_sha256="0" * 64,
    )

    outoffold.keep(kept, tmp_path / "deep" / "kept.npz")

    found = outoffold.load(tmp_path / "deep" / "kept.npz")
    assert (found.paths, found.weights_sha256) == (kept.paths, kept.weights_sha256)
    assert np.array_equal(found.logits, kept.logits)
    assert np.array_equal(found.folds, kept.folds)


def test_logits_are_found_by_label_and_one_that_the_network_lacks_is_absent(
    tmp_path: Path,
) -> None:
    logits = np.array([[1.0, 2.0], [np.nan, np.nan]], dtype=np.float32)
    kept = outoffold.OutOfFold(
        logits=logits, paths=("a", "b"), folds=np.array([0, 1]), weights_sha256="", keys=("X", "Y")
    )
    outoffold.keep(kept, tmp_path / "kept.npz")

    found = outoffold.load(tmp_path / "kept.npz").as_columns(("Y", "New", "X"))

    assert found[0].tolist() == [2.0, outoffold.ABSENT_LOGIT, 1.0]
    assert np.isnan(found[1]).all()


@pytest.mark.usefixtures("listed")
def test_folds_of_a_run_fall_to_their_own_images_and_a_missing_one_is_nan(tmp_path: Path) -> None:
    width = len(BODYPART_KEYS)
    np.save(tmp_path / "fold0.npy", np.stack([np.full(width, 10.0), np.full(width, 20.0)]))
    np.save(tmp_path / "fold1.npy", np.full((1, width), 30.0))

    found = outoffold.collect(tmp_path, tmp_path, 1, SHIPPED)

    assert found.paths == ("0.jpg", "1.jpg", "2.jpg", "3.jpg")
    assert found.logits[:3, 0].tolist() == [10.0, 30.0, 20.0]
    assert np.isnan(found.logits[3]).all()
    assert found.weights_sha256 == ""


@pytest.mark.usefixtures("listed")
def test_folds_of_other_images_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "fold0.npy", np.zeros((3, len(BODYPART_KEYS))))

    with pytest.raises(ValueError, match="shape"):
        outoffold.collect(tmp_path, tmp_path, 1, SHIPPED)


def test_a_run_is_known_by_the_network_it_led_to(tmp_path: Path) -> None:
    shipped = load_file(SHIPPED / "weights.safetensors")
    save_file({"head.weight": shipped["head.weight"].float()}, tmp_path / "final.safetensors")

    known = outoffold.weights_of(tmp_path, SHIPPED)
    save_file({"head.weight": shipped["head.weight"].float() + 1}, tmp_path / "final.safetensors")

    assert known == read_manifest(SHIPPED).weights_sha256
    assert outoffold.weights_of(tmp_path, SHIPPED) == ""
