"""The shipped body part model is what its kept out-of-fold logits make of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from inference.evaluation.shipped.check import differences
from inference.manifest import read_manifest
from inference.training.provenance import code_commit
from inference.training.shipped import recalibrate
from inference.training.shipped.outoffold import keep, load
from inference.training.shipped.sources_bodypart import TABLES
from tests.bench.bench_accession import COMMITTED
from tests.data import data_dir

pytestmark = pytest.mark.data

SHIPPED = Path(__file__).parents[2] / "inference" / "models" / "bodypart"


@pytest.mark.slow
def test_calibrating_the_shipped_model_again_changes_nothing():
    manifest = read_manifest(SHIPPED)
    again = recalibrate.recalibrated(manifest, load(COMMITTED), data_dir())
    for new, old in zip(again.labels, manifest.labels, strict=True):
        assert new.temperature == pytest.approx(old.temperature, abs=2e-3)
        assert new.bias == pytest.approx(old.bias, abs=2e-3)
        assert new.operating_point == old.operating_point
    for section in ("cross_validation", "verdict", "not_ours", "frontal_gate"):
        stated, found = (m.metrics[section] for m in (manifest, again))
        assert differences(stated, found, tolerance=5e-3) == []
        assert differences(found, stated, tolerance=5e-3) == []
    assert again.metrics["members"] == manifest.metrics["members"]
    assert again.metrics["disguised"] == manifest.metrics["disguised"]


@pytest.mark.parametrize(
    ("change", "version", "said"),
    [
        ({"weights_sha256": "0" * 64}, "9.9.9", "of other weights"),
        ({"paths": ("another.png",)}, "9.9.9", "of another list of images"),
        ({}, "9.9", "a version is three numbers"),
    ],
)
def test_what_does_not_fit_changes_nothing(*, change, version, said, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "kept.npz"
    keep(replace(load(COMMITTED), **change), kept)
    argv = ["--data", str(data_dir()), "--model", str(SHIPPED), "--card", str(tmp_path / "card.md")]
    argv += ["--out-of-fold", str(kept), "--version", version]
    monkeypatch.setattr("sys.argv", ["recalibrate", *argv])
    before = (SHIPPED / "model.yaml").read_bytes()
    with pytest.raises(SystemExit) as ended:
        recalibrate.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert (SHIPPED / "model.yaml").read_bytes() == before


@pytest.mark.slow
def test_the_manifest_says_what_calibrated_it_again_and_by_which_code(tmp_path, monkeypatch):
    model, card = tmp_path / "bodypart", tmp_path / "card.md"
    shutil.copytree(SHIPPED, model)
    held_out = read_manifest(SHIPPED).metrics["held_out"]
    monkeypatch.setattr(recalibrate, "bodypart_held_out", lambda *_: held_out)
    argv = ["--data", str(data_dir()), "--model", str(model), "--card", str(card)]
    argv += ["--out-of-fold", str(COMMITTED), "--version", "9.9.9"]
    monkeypatch.setattr("sys.argv", ["recalibrate", *argv])

    recalibrate.main()

    manifest = read_manifest(model)
    assert manifest.version == "9.9.9"
    assert manifest.training["recalibrated_by"] == code_commit()
    assert set(manifest.data["tables_sha256"]) == {str(table) for table in TABLES}
    assert manifest.training["recalibrated"].endswith(f"{COMMITTED} --version 9.9.9")
    assert f"(code `{code_commit()}`)" in card.read_text()
