"""The labelled images that a command names: by a task, or by a layout."""

from pathlib import Path
from typing import Any

import yaml

from audit.errors import InvalidConfiguration
from inference.training.dataset import DataSet, limited
from inference.training.datasets import Layout, UnusableData, check_present, parse_layout, read
from inference.training.workbench.task import read_task

_HOW = "--layout takes a form (folder, csv, unifesp) or a mapping such as '{form: csv, path: nih}'"


def labelled_images(
    data: Path, *, task: str | None, layout: str | None, changes: dict[str, Any], limit: int = 0
) -> DataSet:
    """Return labelled images to look at or to measure on, not to train on.

    Patients in several splits are kept, and splits, classes or images may be missing, so that
    a report can say so. Images that only a layout describes are shared out to no split that
    they do not bring, unless it says so.

    Parameters
    ----------
    data : Path
        The data folder.
    task, layout : str, optional
        Exactly one: a shipped task or a task file; a form or a YAML mapping.
    changes : dict
        Dotted keys of the task, or keys of the layout, and the values in their place.
    limit : int
        Most images of each split, evenly along its list; 0: all.

    Raises
    ------
    InvalidConfiguration
        With every reason why there is no such set.
    """
    if (task is None) == (layout is None):
        raise InvalidConfiguration(["name a task or give --layout, one of the two"])
    if task is not None:
        described = read_task(task, changes)
        name, form = described.name, described.data
    else:
        form = _layout(layout or "", changes)
        name = (data / form.path).resolve().name
    found = read(form.model_copy(update={"leaks": "keep"}), data, name=name)
    if not found.samples:
        check_present(found)
        raise UnusableData(["the data set holds no image"])
    return limited(found, limit)


def _layout(text: str, changes: dict[str, Any]) -> Layout:
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError:
        said = None
    if isinstance(said, str):
        said = {"form": said}
    if not isinstance(said, dict):
        raise InvalidConfiguration([_HOW])
    return parse_layout({"val_share": 0.0, "test_share": 0.0, **said, **changes})
