"""Readers of labelled images: folders of classes, tables of labels, UNIFESP's table.

Each form may hold DICOM files beside PNG and JPEG. `read` is the one entry.
"""

from pathlib import Path

from inference.training.dataset import DataSet
from inference.training.datasets.errors import UnusableData
from inference.training.datasets.folder import read_folder
from inference.training.datasets.layout import (
    FolderLayout,
    Layout,
    TableLayout,
    UnifespLayout,
    parse_layout,
)
from inference.training.datasets.splitting import check_filled, check_present
from inference.training.datasets.table import read_table

__all__ = [
    "FolderLayout",
    "Layout",
    "TableLayout",
    "UnifespLayout",
    "UnusableData",
    "check_filled",
    "check_present",
    "parse_layout",
    "read",
]


def read(layout: Layout, data: Path, *, name: str = "data") -> DataSet:
    """Return the labelled images that lie under `data` in the form of `layout`.

    Parameters
    ----------
    layout : Layout
        Where images and labels are, and how they are split.
    data : Path
        The data folder; `layout.path` is relative to it, and so is every sample's path
        to the set's `root`.
    name : str
        Name of the set, for reports.

    Raises
    ------
    UnusableData
        With every reason: a folder or table that is missing, a label that is no class, a
        patient on both sides of a split. What else training needs, `check_filled` says.
    """
    if not data.is_dir():
        raise UnusableData(["there is no data folder of that name"])
    if isinstance(layout, FolderLayout):
        return read_folder(layout, data, name)
    return read_table(layout, data, name)
