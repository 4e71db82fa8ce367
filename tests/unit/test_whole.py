"""A file that is written whole is never seen in part."""

from pathlib import Path

import pytest

from inference.training.export import take_place
from inference.training.whole import whole


def test_a_file_is_replaced_when_all_is_written(tmp_path):
    file = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        with whole(file) as stream:
            stream.write(content)
            assert not file.exists() or file.read_bytes() == b"first"
        assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


def test_what_was_interrupted_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def interrupted() -> None:
        with whole(file) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_model_takes_its_place_weights_first(tmp_path, monkeypatch):
    made, folder = tmp_path / "model" / ".new", tmp_path / "model"
    made.mkdir(parents=True)
    for name in ("weights.safetensors", "model.yaml"):
        (folder / name).write_text(f"old {name}")
        (made / name).write_text(f"new {name}")
    (made / "left over").write_text("of a start that was interrupted")
    order, replace = [], Path.replace

    def replaced(file: Path, target: Path) -> Path:
        order.append(file.name)
        return replace(file, target)

    monkeypatch.setattr(Path, "replace", replaced)
    take_place(made, folder)

    assert order == ["weights.safetensors", "model.yaml"]
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "weights.safetensors": "new weights.safetensors",
        "model.yaml": "new model.yaml",
    }
