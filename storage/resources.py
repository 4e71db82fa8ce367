"""Files that ship beside the packages: the sample configuration and the migrations."""

import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from audit.errors import Fault

DISTRIBUTION = "dicom-node"
_SHARE = Path("share") / DISTRIBUTION
_PACKAGES = Path(__file__).resolve().parents[1]


class MissingResource(Fault):
    """The installation lacks a file that it should have come with."""

    code = "storage.resource.missing"


def resource(name: str) -> Path:
    """Return where the shipped file `name` (such as ``config.yaml``) lies.

    In a checkout that is its top folder, in an installation ``share/dicom-node``.

    Raises
    ------
    MissingResource
        When the installation lacks it.
    """
    for folder in _folders():
        if (folder / name).is_file():
            return folder / name
    raise MissingResource(f"the installation lacks its file {name}")


def _folders() -> Iterator[Path]:
    if (_PACKAGES / "setup.cfg").is_file():
        yield _PACKAGES
    try:
        recorded = files(DISTRIBUTION) or []
    except PackageNotFoundError:
        recorded = []
    for path in recorded:
        if path.parent.parts[-2:] == _SHARE.parts:
            yield Path(str(path.locate())).resolve().parent
    yield _PACKAGES / _SHARE  # pip install --target, which the record of files misplaces
    yield Path(sysconfig.get_path("data")) / _SHARE
