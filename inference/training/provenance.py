"""Which code made a model."""

import subprocess
from importlib.metadata import version
from pathlib import Path

MADE = ("inference/models", "docs")
"""What trainings write: it is no code, and one of several in a row finds that of the one before."""


def code_commit() -> str:
    """Return the commit of this package's repository, or its version where it has none.

    A repository that the package merely lies in, in an environment of its own, is not its own.

    ``-dirty`` is added where a file of that commit was changed since, other than in `MADE`.
    """
    commit = _git("rev-parse", "HEAD") if _git("ls-files", Path(__file__).name) else ""
    if not commit:
        return f"dicom-node {version('dicom-node')}"
    others = (f":(top,exclude){folder}" for folder in MADE)
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *others)
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(  # noqa: S603 - our own arguments
            ["git", *arguments],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # no git
        return ""
    return result.stdout.strip()
