"""A file that is written whole is never seen in part."""

import pytest

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
