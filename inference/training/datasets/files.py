"""Find image files, and read what a DICOM header says of the patient."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydicom import dcmread

from inference.training.images import is_dicom

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm", ".dicom", ".dic"}
_TAGS = [
    "PatientID",
    "IssuerOfPatientID",
    "PatientSex",
    "PatientAge",
    "ViewPosition",
    "StudyInstanceUID",
]


def image_files(folder: Path) -> Iterator[Path]:
    """Yield the image files below `folder`, sorted; hidden ones and others are left out.

    Files whose name ends like a UID, or has no ending, count when they are DICOM.
    """
    for path in files_below(folder):
        suffix = path.suffix.lower()
        unnamed = not suffix or suffix[1:].isdigit()
        if suffix in _SUFFIXES or (unnamed and is_dicom(path)):
            yield path


def files_below(folder: Path) -> list[Path]:
    """Return the files below `folder` but for hidden ones, sorted; links to folders are followed.

    A folder that was met already, or lies above, is not entered.
    """
    met = {folder.resolve(), *folder.resolve().parents}
    found: list[Path] = []
    for within, folders, names in os.walk(folder, followlinks=True):
        here = Path(within)
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and (here / name).resolve() not in met
        ]
        met.update((here / name).resolve() for name in folders)
        found += [here / name for name in names if name[0] != "." and (here / name).is_file()]
    return sorted(found)


class Finder:
    """Finds the image that a table's line names, wherever it lies below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, name: str) -> list[Path]:
        """Return the files that `name` may mean: one when all is well.

        A path relative to the folder is taken as it is; otherwise the file name counts, with
        or without its ending and the ``-c`` of the UNIFESP competition, and what folders both
        name: one list of folders must end with the other.
        """
        relative = PurePosixPath(name)
        if not name or relative.is_absolute() or ".." in relative.parts:
            return []
        if (self._folder / relative).is_file():
            return [self._folder / relative]
        if self._by_name is None:
            self._by_name = self._index()
        named = relative.parent.parts
        return [path for path in self._by_name.get(relative.name, []) if self._fits(path, named)]

    def _fits(self, path: Path, named: tuple[str, ...]) -> bool:
        folders = path.relative_to(self._folder).parent.parts
        both = min(len(named), len(folders))
        return folders[len(folders) - both :] == named[len(named) - both :]

    def _index(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        for path in image_files(self._folder):
            stem = path.stem if path.suffix.lower() in _SUFFIXES else path.name
            for name in {path.name, stem, stem.removesuffix("-c")}:
                found[name].append(path)
        return found


def patient_group(number: str) -> str:
    """Return a name for a patient that does not hold the patient's number."""
    return f"p-{hashlib.sha256(number.encode()).hexdigest()[:12]}"


def dicom_facts(path: Path) -> tuple[str | None, dict[str, str]]:
    """Return the group and the attributes that a DICOM header tells; neither when it cannot.

    The group is the patient's, else the study's.
    """
    try:
        ds = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
        told = {keyword: str(ds.get(keyword) or "").strip() for keyword in _TAGS}
    except Exception:  # noqa: BLE001 - damaged files raise whatever pydicom did not foresee
        return None, {}
    number = told["PatientID"]
    number = f"{number}\\{told['IssuerOfPatientID']}" if number else told["StudyInstanceUID"]
    given = attributes(told["PatientSex"], told["PatientAge"], told["ViewPosition"])
    return (patient_group(number) if number else None), given


def attributes(sex: str, age: str, view: str) -> dict[str, str]:
    """Return what is known of sex (``M``, ``F`` …), age in whole years and view.

    Ages are numbers, or DICOM's ``058Y`` (PS3.5 Section 6.2, AS), where less than a year is 0.
    """
    known = {"sex": sex.strip()[:1].upper(), "age": _years(age.strip()), "view": view.strip()}
    return {key: value for key, value in known.items() if value}


def _years(age: str) -> str:
    number, unit = (age[:-1], age[-1].upper()) if age[-1:].isalpha() else (age, "Y")
    per_year = {"Y": 1, "M": 12, "W": 52, "D": 365}.get(unit)
    try:
        return str(int(float(number)) // per_year) if per_year else ""
    except (ValueError, OverflowError):
        return ""
