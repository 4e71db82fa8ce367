"""Write the model folder of a workbench run, in the form that the registry reads."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from inference.architectures import PooledClassifier
from inference.evaluation.measures.metrics import youden_threshold
from inference.manifest import InputSpec, Label, ModelManifest, OperatingPoint
from inference.preprocess import RECIPE
from inference.training.backbones import IMAGENET_MEAN, IMAGENET_STD
from inference.training.dataset import DataSet
from inference.training.export import write_manifest, write_weights
from inference.training.samples import FloatArray, list_sha256
from inference.training.workbench.calibrated import Calibrated
from inference.training.workbench.kept import output_classes
from inference.training.workbench.task import TrainingTask
from inference.types import Task

VERSION = "0.1.0"
NOT_REPORTED = "a workbench model: nobody has decided that the node may report it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a run knows of its making."""

    command: str
    commit: str
    start: str
    precision: str
    device: str
    best_epoch: int
    epochs: int
    metrics: dict[str, Any]
    calibrated: Calibrated
    """Gives each label its temperature and bias."""

    validation: tuple[FloatArray, FloatArray]
    """Logits as the network says them and targets, (N, L) each, for the operating points."""


def write_model(
    folder: Path,
    task: TrainingTask,
    data: DataSet,
    network: PooledClassifier,
    facts: Facts,
) -> None:
    """Write ``model.yaml`` and ``weights.safetensors``.

    The manifest's task is `Task.OTHER`: the node loads such a folder and runs it on nothing.

    Parameters
    ----------
    folder : Path
    task : TrainingTask
    data : DataSet
        Everything that was trained on and measured.
    network : PooledClassifier
    facts : Facts
    """
    digest = write_weights(folder, network)
    names = output_classes(data.kind, data.classes)
    labels = _labels(names, facts.calibrated, facts.validation)
    manifest = ModelManifest(
        name=task.name,
        version=VERSION,
        task=Task.OTHER,
        architecture=task.network,
        description=task.description,
        licence=f"Weights: as the training images, whose terms are: {task.terms}. Not a medical "
        "device.",
        input=InputSpec(size=task.size, mean=IMAGENET_MEAN, std=IMAGENET_STD, preprocessing=RECIPE),
        labels=labels,
        data=_data_section(task, data),
        metrics=facts.metrics,
        training={
            "command": facts.command,
            "commit": facts.commit,
            "date": datetime.now(tz=UTC).date().isoformat(),
            "seed": task.seed,
            "start": facts.start,
            "device": facts.device,
            "precision": facts.precision,
            "epochs": facts.epochs,
            "best_epoch": facts.best_epoch,
            "task": task.document(),
        },
        weights_sha256=digest,
    )
    write_manifest(folder, manifest)


def _labels(
    names: tuple[str, ...], calibrated: Calibrated, validation: tuple[FloatArray, FloatArray]
) -> tuple[Label, ...]:
    per_output = calibrated.per_output
    probabilities, targets = per_output(validation[0]), validation[1]
    labels = []
    for column, name in enumerate(names):
        known = ~np.isnan(targets[:, column])
        truth, scores = targets[known, column] >= 0.5, probabilities[known, column]
        point = None
        if truth.any() and not truth.all():
            threshold = youden_threshold(scores, truth)
            point = OperatingPoint(present_at=threshold, absent_below=threshold)
        label = Label(
            key=name,
            role="auxiliary",
            reported=False,
            not_reported_because=NOT_REPORTED,
            operating_point=point,
            temperature=float(per_output.temperature[column]),
            bias=float(per_output.bias[column]),
        )
        labels.append(label)
    return tuple(labels)


def _data_section(task: TrainingTask, data: DataSet) -> dict[str, Any]:
    learned = data.part("train")
    return {
        "sources": [{"name": data.name, "terms": task.terms, "layout": task.data.form}],
        "kind": data.kind.value,
        "classes": list(data.classes),
        "images": {split: len(data.part(split)) for split in ("train", "val", "test")},
        "patients": len({sample.group for sample in data.samples}),
        "training_list_sha256": list_sha256(data.root, learned),
        "training_list_form": "sorted lines of '<sha256 of the file>  <path in the data folder>'",
    }
