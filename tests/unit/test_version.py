"""The commit that audit records name."""

from pathlib import Path

import pytest

from dicom_node.version import software_commit

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
    ],
)
def test_the_commit_is_what_is_checked_out(
    tmp_path: Path, files: dict[str, str], told: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")

    assert software_commit(tmp_path / "dicom_node", origin="") == told


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (f'{{"url": "https://host/node.git", "vcs_info": {{"commit_id": "{COMMIT}"}}}}', COMMIT),
        ('{"url": "file:///node.whl", "archive_info": {}}', ""),
        ('{"vcs_info": null}', ""),
        ("not json", ""),
    ],
)
def test_an_installation_from_a_repository_tells_its_commit(
    tmp_path: Path, origin: str, told: str
) -> None:
    assert software_commit(tmp_path / "dicom_node", origin=origin) == told
