"""What this software calls itself."""

import json
import re
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

MODEL_NAME = "dicom-node"
"""(0008,1090) Manufacturer's Model Name of everything that a node makes."""

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def software_version() -> str:
    """Return the version of the installed package, or ``0`` in a checkout without one."""
    try:
        return version("dicom-node")
    except PackageNotFoundError:
        return "0"


def software_commit(package: Path = Path(__file__).parent, origin: str | None = None) -> str:
    """Return the git commit that is checked out, or that pip installed from a repository.

    Changes that were not committed do not show. Empty where nothing tells, as for a released
    wheel, whose version says it.

    Parameters
    ----------
    package : Path
        The folder of this module.
    origin : str, optional
        What pip wrote down of where it installed from (``direct_url.json``, PEP 610); read
        from the installation when left out.
    """
    git = package.parent / ".git"
    head = _text(git / "HEAD")
    name = head.removeprefix("ref: ")
    packed = {line[41:]: line[:40] for line in _text(git / "packed-refs").splitlines()}
    commit = head if name == head else _text(git / name) or packed.get(name, "")
    if not _COMMIT.fullmatch(commit):
        commit = _installed_from(_origin() if origin is None else origin)
    return commit if _COMMIT.fullmatch(commit) else ""


def _origin() -> str:
    try:
        return distribution("dicom-node").read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return ""


def _installed_from(origin: str) -> str:
    try:
        return str(json.loads(origin)["vcs_info"]["commit_id"])
    except (ValueError, LookupError, TypeError):
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
