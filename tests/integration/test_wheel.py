"""The built wheel, not the checkout, is what a hospital installs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    subprocess.run(
        ["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(copy)], check=True, timeout=120
    )
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(folder), str(copy)], check=True, timeout=280)
    [built] = folder.glob("dicom_node-*.whl")
    return built


def test_the_wheel_holds_code_weights_configuration_and_migrations(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = f"{wheel.name.split('-py3')[0]}.data/data/share/dicom-node"

    for package in ("audit", "storage", "inference", "dicom_node"):
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
    for model in ("bodypart", "chest-findings"):
        assert f"inference/models/{model}/model.yaml" in names
        assert f"inference/models/{model}/weights.safetensors" in names
    assert "inference/data/regions.yaml" in names
    assert "inference/training/shipped/annotations/unifesp_read.csv" in names
    assert "inference/training/workbench/tasks/organs.yaml" in names
    assert "inference/evaluation/reports/pages/evaluate.html" in names
    assert f"{data}/config.yaml" in names
    assert f"{data}/alembic.ini" in names
    assert any(name.startswith(f"{data}/alembic/versions/0001") for name in names)
    assert not any(name.startswith(("tests/", "alembic/")) for name in names)


def test_the_installed_wheel_finds_its_own_parts(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True, timeout=280)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    script = (
        "import inference, storage.resources as r, storage.schema as s;"
        "print(inference.__file__); print(r.resource('config.yaml')); print(s.head_revision())"
    )

    answer = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    lines = answer.stdout.splitlines()
    assert lines[0].startswith(str(site))
    assert lines[1].startswith(str(site))
    assert lines[2]
