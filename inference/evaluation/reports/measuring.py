"""Measure a training run, or a stored model on labelled images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from audit.errors import InvalidConfiguration
from inference.evaluation.loaded import load_model
from inference.evaluation.reports.asked import labelled_images
from inference.evaluation.reports.evaluate import EVERY_SPLIT, Evaluation, evaluate
from inference.evaluation.reports.runs import ask, read_run, stated_thresholds
from inference.training.datasets import check_present
from inference.training.samples import Sample, Squares
from inference.training.workbench.progress import Reporter
from inference.training.workbench.squares import squares_of
from inference.training.workbench.task import read_task


def measure_run(folder: Path, data: Path, **asked: Any) -> tuple[Evaluation, Path]:
    """Measure what a run left, beside its baselines.

    Parameters
    ----------
    folder : Path
        The run folder.
    data : Path
        The data folder that the run was trained on.
    **asked
        `split`, `rounds` and `seed` of `inference.evaluation.reports.evaluate.evaluate`.

    Returns
    -------
    Evaluation
    Path
        The folder that the paths of its images are relative to.

    Raises
    ------
    InvalidConfiguration
        When the folder is no finished run, or the split is empty.
    """
    run = read_run(folder)
    task = read_task(str(folder / "task.yaml"))
    named = replace(run.network, name=f"{run.network.name}, {task.name}")
    found = evaluate(named, rivals=run.baselines, history=run.history, of_run=True, **asked)
    return found, data / task.data.path


def measure_model(
    folder: Path,
    data: Path,
    *,
    task: str | None,
    layout: str | None,
    changes: dict[str, Any],
    limit: int,
    reporter: Reporter,
    split: str,
    **asked: Any,
) -> tuple[Evaluation, Path]:
    """Measure a stored model; thresholds are its own where it states them.

    Parameters
    ----------
    folder : Path
        Model folder.
    data, task, layout, changes, limit
        Which images, as for `inference.evaluation.reports.asked.labelled_images`.
    reporter : Reporter
        Told how far the decoding is.
    split : str
        As for `inference.evaluation.reports.evaluate.evaluate`.
    **asked
        `rounds` and `seed` of the same.

    Returns
    -------
    Evaluation
    Path
        The folder that the paths of its images are relative to.

    Raises
    ------
    InvalidConfiguration
        When there is no such set, images of its table are missing, the split is empty, or the
        model lacks its classes.
    BrokenModel
        When the model cannot be loaded.
    """
    model = load_model(folder)
    images = labelled_images(data, task=task, layout=layout, changes=changes, limit=limit)
    check_present(images)
    needed = ("val", split)
    samples = tuple(s for s in images.samples if split == EVERY_SPLIT or s.split in needed)
    if not any(split in (EVERY_SPLIT, s.split) for s in samples):
        raise InvalidConfiguration([f"the data set has no {split} images; see --split"])

    def squares(of: tuple[Sample, ...]) -> Squares:
        return squares_of(images, of, size=model.manifest.input.size, reporter=reporter)

    reporter.line(f"asking {model.manifest.name} about {len(samples)} images")
    said = ask(model, images, samples, squares)
    left_out = tuple(name for name in images.classes if name not in said.classes)
    if left_out:
        reporter.line(f"left out, for {said.name} has no output for them: {', '.join(left_out)}")
    at = stated_thresholds(model, said)
    found = evaluate(said, fixed=at, split=split, left_out=left_out, **asked)
    return found, images.root
