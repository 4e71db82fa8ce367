"""A model names the commit of its code; what an earlier training wrote makes no other code."""

import subprocess
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from inference.training import provenance

MADE = ("inference/models/bodypart/model.yaml", "docs/models/bodypart.md")
CODE = "inference/types.py"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit_named_in(folder: Path) -> str:
    spec = spec_from_file_location("copied", folder / "inference/training/provenance.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.code_commit())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    code = tmp_path / "inference/training/provenance.py"
    for file in (code, *(tmp_path / name for name in (*MADE, CODE))):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("before\n")
    code.write_text(Path(provenance.__file__).read_text())
    return tmp_path


@pytest.fixture
def repository(folder: Path) -> Path:
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "all")
    return folder


@pytest.mark.parametrize("changed", [(), MADE])
def test_models_and_cards_of_an_earlier_training_change_no_code(repository, changed):
    for name in changed:
        (repository / name).write_text("after\n")
    (repository / "notes.txt").write_text("in no commit\n")
    assert commit_named_in(repository) == git(repository, "rev-parse", "HEAD")


def test_changed_code_is_told(repository):
    (repository / CODE).write_text("after\n")
    assert commit_named_in(repository) == git(repository, "rev-parse", "HEAD") + "-dirty"


def test_without_a_repository_the_version_is_named(folder, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    assert commit_named_in(folder) == f"dicom-node {version('dicom-node')}"


def test_without_git_the_version_is_named(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit_named_in(repository) == f"dicom-node {version('dicom-node')}"


def test_a_repository_that_the_package_is_no_part_of_is_not_named(repository):
    git(repository, "rm", "-rq", "--cached", "inference")
    git(repository, "commit", "-qm", "an environment is no part of it")
    assert commit_named_in(repository) == f"dicom-node {version('dicom-node')}"
