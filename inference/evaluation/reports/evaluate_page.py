"""The HTML report of an evaluation."""

from importlib.metadata import version
from pathlib import Path

from inference.evaluation.measures.subgroups import MEAN
from inference.evaluation.reports.evaluate import Evaluation
from inference.evaluation.reports.evaluate_figures import figures
from inference.evaluation.reports.page import thumbnails, write_page

_MEASURE_NAMES = {
    "mean_auc": "Mean AUC",
    "mean_average_precision": "Mean average precision",
    "macro_f1": "Mean F1",
    "all_right": "Images with every label right",
}
_CONTENTS = {
    "summary": "Summary",
    "classes": "Classes",
    "curves": "Curves",
    "confusion": "Which class is taken for which",
    "calibration": "Do probabilities mean what they say",
    "points": "Operating points",
    "subgroups": "Subgroups",
    "baselines": "What the network adds",
    "learning": "Learning curves",
    "failures": "Worst errors",
}
_NEEDS = {"curves": "roc", "calibration": "reliability", "learning": "learning"}


def write_evaluation(found: Evaluation, file: Path, *, root: Path | None) -> int:
    """Write the report, and return how many of the worst errors lack the thumbnail asked for.

    Parameters
    ----------
    found : Evaluation
        What was measured.
    file : Path
        The HTML file.
    root : Path or None
        The folder that the paths of the images are relative to; None leaves thumbnails out.
    """
    drawn = figures(found)
    shown = thumbnails(root, [f.path for f in found.failures]) if root else {}
    write_page(
        file,
        "evaluate.html",
        title=f"How good is {found.name}?",
        version=version("dicom-node"),
        found=found,
        figures=drawn,
        thumbnails=shown,
        names_files=bool(found.failures),
        measure_names=_MEASURE_NAMES,
        mean_rows=[row for row in found.subgroups if row.label == MEAN],
        label_rows=[row for row in found.subgroups if row.label != MEAN],
        contents=[
            (id_, name)
            for id_, name in _CONTENTS.items()
            if _NEEDS.get(id_, id_) in drawn or id_ not in _NEEDS
        ],
    )
    return sum(failure.path not in shown for failure in found.failures) if root else 0
