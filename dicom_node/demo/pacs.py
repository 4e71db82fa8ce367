"""The demonstration's PACS: Orthanc where it is installed, else our own small archive."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from dicom_node.demo.archive import Archive
from dicom_node.demo.orthanc import Orthanc, running_orthanc


class Pacs(Protocol):
    """What the demonstration asks of a PACS."""

    name: str
    ae_title: str
    port: int

    def uids(self) -> set[str]:
        """Return the SOP Instance UIDs that it holds."""
        ...

    def file(self, sop_instance_uid: str) -> bytes:
        """Return the stored Part 10 file of an instance."""
        ...


class _OrthancPacs:
    def __init__(self, orthanc: Orthanc) -> None:
        self.name = "Orthanc"
        self.ae_title = orthanc.ae_title
        self.port = orthanc.dicom_port
        self.uids = orthanc.sop_instance_uids
        self.file = orthanc.file


class _ArchivePacs:
    def __init__(self, archive: Archive) -> None:
        self.name = "our own small archive (Orthanc is not installed)"
        self.ae_title = archive.ae_title
        self.port = archive.port
        self._archive = archive

    def uids(self) -> set[str]:
        return {path.stem for path in self._archive.files()}

    def file(self, sop_instance_uid: str) -> bytes:
        return (self._archive.folder / f"{sop_instance_uid}.dcm").read_bytes()


@contextmanager
def stand_in_pacs(folder: Path) -> Iterator[Pacs]:
    """Run a PACS whose data lie in `folder`, and end it afterwards."""
    if shutil.which("Orthanc"):
        with running_orthanc(folder) as orthanc:
            yield _OrthancPacs(orthanc)
    else:
        with Archive(folder) as archive:
            yield _ArchivePacs(archive)
