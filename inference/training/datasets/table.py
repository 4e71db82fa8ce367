"""Read a CSV of labels: NIH's form, 0/1 columns, or UNIFESP's."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inference.training.dataset import DataSet, TaskKind
from inference.training.datasets.errors import UnusableData
from inference.training.datasets.files import Finder, attributes, dicom_facts, patient_group
from inference.training.datasets.layout import TableLayout, UnifespLayout
from inference.training.datasets.splitting import Found, settled, split_named
from inference.training.images import is_dicom
from inference.training.samples import Sample, Split

_COLUMNS = {
    "file": ("file", "image index", "filename", "image", "path", "sopinstanceuid"),
    "labels": ("finding labels", "finding_labels", "labels", "label", "class"),
    "target": ("target",),
    "patient": ("patient id", "patient_id", "patientid"),
    "sex": ("sex", "patient gender", "patient sex", "gender"),
    "age": ("age", "patient age"),
    "view": ("view", "view position", "view_position"),
    "split": ("split",),
}
"""What a column may be called, small letters."""

_UNKNOWN = {"", "-1", "-1.0", "nan"}


@dataclass(frozen=True, slots=True)
class _Table:
    layout: TableLayout | UnifespLayout
    rows: list[dict[str, str]]
    columns: Mapping[str, str]
    """The keys of `_COLUMNS` that the table has, and their names there."""

    classes: tuple[str, ...]
    test_names: frozenset[str]

    def cell(self, row: dict[str, str], meaning: str) -> str:
        return (row.get(self.columns.get(meaning, "")) or "").strip()


class _BadLine(Exception):
    """What is wrong with one line."""


class _NoImage(Exception):
    """The image that a line names is not there."""


def read_table(layout: TableLayout | UnifespLayout, data: Path, name: str) -> DataSet:
    """Return the data set; see `inference.training.datasets.read`."""
    root = data / layout.path
    table = _load(layout, root)
    finder, problems, missing, found = Finder(root / layout.images), [], [], []
    named: set[Path] = set()
    for line, row in enumerate(table.rows, start=2):
        try:
            image = _found(table, row, root, finder, name)
            if image.sample.path in named:
                raise _BadLine(f"{image.sample.path} is named twice")
        except _NoImage:
            missing.append(f"{layout.table}, line {line}")
            continue
        except _BadLine as error:
            problems.append(f"{layout.table}, line {line}: {error}")
            continue
        named.add(image.sample.path)
        found.append(image)
    if problems:
        raise UnusableData(problems)
    return DataSet(
        name=name,
        kind=layout.kind,
        classes=table.classes,
        samples=settled(found, layout),
        root=root,
        missing=tuple(missing),
    )


def _load(layout: TableLayout | UnifespLayout, root: Path) -> _Table:
    try:
        with (root / layout.table).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnusableData([f"{layout.table}: no table that can be read"]) from error
    written = {str(key).strip().lower(): key for key in rows[0]} if rows else {}
    columns = {
        meaning: written[names]
        for meaning, known in _COLUMNS.items()
        for names in reversed(known)
        if names in written
    }
    if "file" not in columns:
        found = f"its columns: {', '.join(map(str, rows[0]))}" if rows else "it has no line"
        raise UnusableData(
            [
                f"{layout.table}: no column that names the image (a table with commas, and one of "
                f"{', '.join(_COLUMNS['file'])}); {found}"
            ]
        )
    classes = layout.classes or _named_classes(layout, rows, columns)
    if layout.kind is TaskKind.BINARY and len(classes) != 2:
        raise UnusableData([f"{layout.table}: a binary task has two classes, not {len(classes)}"])
    listed = (root / layout.table).with_name("test_list.txt")  # as ChestX-ray14 gives its split
    names = listed.read_text(encoding="utf-8").split() if listed.is_file() else []
    return _Table(layout, rows, columns, classes, frozenset(names))


def _named_classes(
    layout: TableLayout | UnifespLayout, rows: list[dict[str, str]], columns: Mapping[str, str]
) -> tuple[str, ...]:
    if "labels" not in columns:
        raise UnusableData([f"{layout.table}: no column of labels; the layout must name classes"])
    texts = {row[columns["labels"]] or "" for row in rows}
    found = {part.strip() for text in texts for part in text.split(layout.separator)}
    if not (named := found - {"", layout.nothing}):
        raise UnusableData([f"{layout.table}: no line has a label; the layout must name classes"])
    return tuple(sorted(named))


def _found(table: _Table, row: dict[str, str], root: Path, finder: Finder, name: str) -> Found:
    written = table.cell(row, "file")
    files = finder.find(written)
    if not files:
        raise _NoImage
    if len(files) > 1:
        raise _BadLine("several files have the image's name")
    path = files[0].relative_to(root)
    group = f"f-{path}"
    told = attributes(*(table.cell(row, key) for key in ("sex", "age", "view")))
    if is_dicom(files[0]):
        header_group, header = dicom_facts(files[0])
        group, told = header_group or group, header | told
    if patient := table.cell(row, "patient"):
        group = patient_group(patient)
    sample = Sample(
        path=path, targets=_targets(table, row), group=group, source=name, attributes=told
    )
    return Found(sample, _given(table, row, files[0].name))


def _given(table: _Table, row: dict[str, str], file_name: str) -> Split | None:
    if table.test_names:
        return "test" if file_name in table.test_names else "train"
    written = table.cell(row, "split")
    split = split_named(written)
    if written and split is None:
        raise _BadLine("the split is none of train, val and test")
    return split


def _targets(table: _Table, row: dict[str, str]) -> dict[str, float]:
    if "target" in table.columns:
        targets = _named(table, _of_numbers(table, row))
    elif all(key in row for key in table.classes):
        targets = {
            key: value for key in table.classes if (value := _cell_value(row[key])) is not None
        }
    elif "labels" in table.columns:
        parts = table.cell(row, "labels").split(table.layout.separator)
        targets = _named(table, {part.strip() for part in parts})
    else:
        raise _BadLine("no column of labels, and not one column per class")
    one_class = [0.0] * (len(table.classes) - 1) + [1.0]
    if table.layout.kind is not TaskKind.MULTI_LABEL and sorted(targets.values()) != one_class:
        raise _BadLine("an image of this task shows exactly one class: one 1, else 0")
    return targets


def _named(table: _Table, present: set[str]) -> dict[str, float]:
    others = present - set(table.classes) - {"", table.layout.nothing}
    if others and table.layout.other_classes == "refuse":
        raise _BadLine(f"a label is none of the {len(table.classes)} classes")
    return {key: float(key in present) for key in table.classes}


def _of_numbers(table: _Table, row: dict[str, str]) -> set[str]:
    try:
        numbers = [int(number) for number in table.cell(row, "target").split()]
        if min(numbers, default=0) < 0:
            raise IndexError
        return {table.classes[number] for number in numbers}
    except (ValueError, IndexError):
        raise _BadLine(f"Target holds no class number 0 to {len(table.classes) - 1}") from None


def _cell_value(cell: str | None) -> float | None:
    text = (cell or "").strip().lower()
    if text in _UNKNOWN:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise _BadLine("a label's column holds something else than 0, 1, or blank for unknown")
    return value
