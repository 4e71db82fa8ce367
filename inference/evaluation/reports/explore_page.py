"""The HTML report of an exploration."""

from collections.abc import Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np

from inference.evaluation.reports.explore import Exploration, SubgroupShare, shows
from inference.evaluation.reports.explore_figures import figures
from inference.evaluation.reports.inventory import Facts
from inference.evaluation.reports.page import thumbnails, write_page
from inference.training.dataset import DataSet

_SAMPLES = 7
_MOST = 50
"""Rows of a table of files; the JSON has all."""

_MOST_TWINS = 15
_CONTENTS = {
    "summary": "Summary",
    "balance": "Classes",
    "together": "Classes that occur together",
    "samples": "Samples",
    "greys": "Grey values",
    "sizes": "Sizes",
    "subgroups": "Subgroups",
    "twins": "Duplicates",
    "leaks": "Leakage between splits",
    "files": "Files that cannot be used",
}
_NEEDS = {"together": "together", "greys": "histograms", "sizes": "sizes"}


def write_exploration(
    found: Exploration,
    data: DataSet,
    facts: Sequence[Facts],
    file: Path,
    *,
    images: bool = True,
    seed: int = 0,
) -> None:
    """Write the report.

    Parameters
    ----------
    found : Exploration
        What was found.
    data : DataSet
        The images and their labels.
    facts : sequence of Facts
        Of the readable images.
    file : Path
        The HTML file.
    images : bool
        Put thumbnails into the page.
    seed : int
        Of the choice of samples.
    """
    drawn = figures(found, data, facts)
    samples = _samples(data, facts, seed) if images else {}
    twins = sorted(found.twins, key=lambda set_: len(set_.splits) < 2)  # leaks first
    exact = [set_ for set_ in twins if set_.exact]
    near = [set_ for set_ in twins if not set_.exact]
    exact_shown, near_shown = exact[:_MOST_TWINS], near[:_MOST_TWINS]
    pictured = chain(*samples.values(), *(set_.paths[:4] for set_ in exact_shown + near_shown))
    absent = {id_ for id_, needed in _NEEDS.items() if needed not in drawn}
    if not samples:
        absent.add("samples")
    write_page(
        file,
        "explore.html",
        title=f"What is in {found.name}?",
        version=version("dicom-node"),
        found=found,
        figures=drawn,
        samples=samples,
        by_attribute=_by_attribute(found.subgroups),
        thumbnails=thumbnails(data.root, dict.fromkeys(pictured)) if images else {},
        names_files=bool(samples or twins or found.unreadable or found.blank or found.passed_over),
        exact=exact,
        exact_shown=exact_shown,
        near=near,
        near_shown=near_shown,
        leaking_twins=sum(len(set_.splits) > 1 for set_ in twins),
        groups_shown=found.shared_groups[:_MOST],
        unreadable_shown=found.unreadable[:_MOST],
        blank_shown=found.blank[:_MOST],
        missing_shown=found.missing[:_MOST],
        passed_over_shown=found.passed_over[:_MOST],
        contents=[(id_, name) for id_, name in _CONTENTS.items() if id_ not in absent],
    )


def _by_attribute(rows: Sequence[SubgroupShare]) -> dict[str, list[SubgroupShare]]:
    names = dict.fromkeys(row.attribute for row in rows)
    return {name: [row for row in rows if row.attribute == name] for name in names}


def _samples(data: DataSet, facts: Sequence[Facts], seed: int) -> dict[str, list[str]]:
    """Return the paths of a few readable images of each class, drawn by chance."""
    readable = {fact.path for fact in facts}
    random = np.random.default_rng(seed)
    chosen = {}
    for label in data.classes:
        paths = [s.path.as_posix() for s in data.samples if shows(s, label) and s.path in readable]
        rows = random.permutation(len(paths))[:_SAMPLES]
        chosen[label] = [paths[row] for row in sorted(rows)]
    return {label: paths for label, paths in chosen.items() if paths}
