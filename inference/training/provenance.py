"""Which code made a model."""

import subprocess
from importlib.metadata import version
from pathlib import Path


def code_commit() -> str:
    """Return the commit of this package's repository, or its version where it has none.

    ``-dirty`` is added where files differ from the commit.
    """
    result = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],  # noqa: S607
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or f"dicom-node {version('dicom-node')}"
