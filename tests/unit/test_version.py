"""The commit that audit records name."""

from pathlib import Path

import pytest

from dicom_node.version import COMMIT_FILE, software_commit

COMMIT, OTHER = "a1" * 20, "b2" * 20


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, ""),
        ({".git/HEAD": COMMIT}, COMMIT),
        ({".git/HEAD": "ref: refs/heads/main", ".git/refs/heads/main": COMMIT}, COMMIT),
        (
            {
                ".git/HEAD": "ref: refs/heads/main",
                ".git/packed-refs": f"# packed\n{OTHER} refs/heads/old\n{COMMIT} refs/heads/main",
            },
            COMMIT,
        ),
        ({".git/HEAD": "ref: refs/heads/main"}, ""),
        ({".git/HEAD": "damaged"}, ""),
        ({f"dicom_node/{COMMIT_FILE}": COMMIT, ".git/HEAD": OTHER}, COMMIT),
        ({f"dicom_node/{COMMIT_FILE}": "", ".git/HEAD": OTHER}, OTHER),
    ],
)
def test_the_commit_is_what_was_built_or_else_what_is_checked_out(
    tmp_path: Path, files: dict[str, str], told: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")

    assert software_commit(tmp_path / "dicom_node") == told
