"""Read a folder of classes."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from inference.training.dataset import DataSet, TaskKind
from inference.training.datasets.errors import UnusableData
from inference.training.datasets.files import (
    dicom_facts,
    files_below,
    image_files,
    patient_group,
)
from inference.training.datasets.layout import FolderLayout
from inference.training.datasets.splitting import Found, settled, split_named
from inference.training.images import is_dicom
from inference.training.samples import Sample, Split


def read_folder(layout: FolderLayout, data: Path, name: str) -> DataSet:
    """Return the data set; see `inference.training.datasets.read`."""
    root = data / layout.path
    if not root.is_dir():
        raise UnusableData([f"{layout.path}: no such folder in the data folder"])
    folders = list(_class_folders(root))
    written = sorted({folder.name for _, folder in folders})
    classes = layout.classes or tuple(written)
    class_of = {name: _class_of(name, classes) for name in written}
    others = [name for name, own in class_of.items() if own is None]
    if others and layout.other_classes == "refuse":
        raise UnusableData(
            [
                f"{layout.path}: folder {other!r} is none of the classes ({', '.join(classes)})"
                for other in others
            ]
        )
    if len(classes) < 2:
        raise UnusableData([f"{layout.path}: fewer than two folders of classes"])
    kind = layout.kind or (TaskKind.BINARY if len(classes) == 2 else TaskKind.MULTI_CLASS)
    if kind is TaskKind.BINARY and len(classes) != 2:
        raise UnusableData([f"{layout.path}: a binary task has two classes, not {len(classes)}"])
    found = [
        Found(_sample(path, root, {key: float(key == own) for key in classes}, layout, name), split)
        for split, folder in folders
        if (own := class_of[folder.name]) is not None
        for path in image_files(folder)
    ]
    taken = {each.sample.path for each in found}
    return DataSet(
        name=name,
        kind=kind,
        classes=classes,
        samples=settled(found, layout),
        root=root,
        passed_over=tuple(
            within.as_posix()
            for path in files_below(root)
            if (within := path.relative_to(root)) not in taken and not _of_a_run(within, root)
        ),
    )


def _class_of(folder: str, classes: tuple[str, ...]) -> str | None:
    """Return the class that a folder's name says: written so, else the only one but for case."""
    if folder in classes:
        return folder
    alike = [key for key in classes if key.casefold() == folder.casefold()]
    return alike[0] if len(alike) == 1 else None


def _class_folders(root: Path) -> Iterator[tuple[Split | None, Path]]:
    """Yield the folders of classes with the split they lie in."""
    top = _folders(root)
    splits = [(folder, split_named(folder.name)) for folder in top]
    if all(split is None or (split == "val" and not _folders(folder)) for folder, split in splits):
        # A class may be called "valid"; what is called so without folders in it is no split.
        yield from ((None, folder) for folder in top)
        return
    for folder, split in splits:
        if split is not None:
            yield from ((split, inner) for inner in _folders(folder))


def _folders(root: Path) -> list[Path]:
    return sorted(
        p for p in root.iterdir() if p.is_dir() and p.name[0] not in "._" and not _holds_runs(p)
    )


def _of_a_run(within: Path, root: Path) -> bool:
    return len(within.parts) > 1 and _holds_runs(root / within.parts[0])


def _holds_runs(folder: Path) -> bool:
    """Return whether it is where ``dicom-node train`` writes, by default beside the classes."""
    return any(folder.glob("run.json")) or any(folder.glob("*/run.json"))


def _sample(
    path: Path, root: Path, targets: dict[str, float], layout: FolderLayout, name: str
) -> Sample:
    within = path.relative_to(root)
    sample = Sample(
        path=within,
        targets=targets,
        group=f"f-{within}",
        source=name,
    )
    if is_dicom(path):
        group, attributes = dicom_facts(path)
        sample = replace(sample, group=group or sample.group, attributes=attributes)
    matched = re.search(layout.patient_pattern, path.name) if layout.patient_pattern else None
    if matched:
        told = "".join(part or "" for part in matched.groups()) or matched.group()
        sample = replace(sample, group=patient_group(told))
    return sample
