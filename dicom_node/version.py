"""What this software calls itself."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MODEL_NAME = "dicom-node"
"""(0008,1090) Manufacturer's Model Name of everything that a node makes."""

COMMIT_FILE = "_commit.txt"
"""Beside this module in what was built: the commit that it was built from."""

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def software_version() -> str:
    """Return the version of the installed package, or ``0`` in a checkout without one."""
    try:
        return version("dicom-node")
    except PackageNotFoundError:
        return "0"


def software_commit(package: Path = Path(__file__).parent) -> str:
    """Return the git commit that this software was built from, or that is checked out.

    Changes that were not committed do not show. Empty where nothing tells.

    Parameters
    ----------
    package : Path
        The folder of this module.
    """
    built = _text(package / COMMIT_FILE)
    if _COMMIT.fullmatch(built):
        return built
    git = package.parent / ".git"
    head = _text(git / "HEAD")
    name = head.removeprefix("ref: ")
    packed = {line[41:]: line[:40] for line in _text(git / "packed-refs").splitlines()}
    commit = head if name == head else _text(git / name) or packed.get(name, "")
    return commit if _COMMIT.fullmatch(commit) else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
