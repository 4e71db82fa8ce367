"""Adds the commit to what is built; all the rest is in setup.cfg."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))
from dicom_node.version import COMMIT_FILE, software_commit  # noqa: E402


class BuildWithCommit(build_py):
    """The packages, with the commit that they are of."""

    def run(self) -> None:
        """Build, then write it."""
        super().run()
        if not self.editable_mode:
            _write(Path(self.build_lib))


class SourceWithCommit(sdist):
    """The sources, with the commit that they are of."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Make the tree, then write it."""
        super().make_release_tree(base_dir, files)
        _write(Path(base_dir))


def _write(root: Path) -> None:
    commit = software_commit()
    if commit:
        (root / "dicom_node" / COMMIT_FILE).write_text(commit + "\n", encoding="ascii")


setup(cmdclass={"build_py": BuildWithCommit, "sdist": SourceWithCommit})
