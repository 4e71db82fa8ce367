"""A workbench run from a task to a run folder: data, network, baselines, predictions, model."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from audit.errors import InvalidConfiguration
from inference.datafolder import data_folder
from inference.training.dataset import DataSet, limited
from inference.training.datasets import UnusableData, check_filled, read
from inference.training.datasets.splitting import SPLITS
from inference.training.device import Device, choose_device
from inference.training.export import plain, round_as_stored
from inference.training.provenance import code_commit
from inference.training.samples import CACHE, FloatArray, target_matrix
from inference.training.whole import whole
from inference.training.workbench.baselines import check_installed, hog_features, svm_logits
from inference.training.workbench.calibrated import Calibrated, calibrate
from inference.training.workbench.history import History
from inference.training.workbench.kept import (
    keep_predictions,
    of_outputs,
    output_classes,
    output_targets,
)
from inference.training.workbench.model import Facts, write_model
from inference.training.workbench.progress import Reporter
from inference.training.workbench.runfolder import BASELINES, HOG_SVM, SMALL_CNN, forget_run, run_in
from inference.training.workbench.scores import epoch_scores
from inference.training.workbench.squares import squares_of
from inference.training.workbench.starting import Start, start
from inference.training.workbench.task import Optimiser, TrainingTask
from inference.training.workbench.trainer import Diverged, Part, Trainer, logits_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a run was told besides its task."""

    data: Path
    out: Path
    """The run folder."""

    device: str = "auto"
    fresh: bool = False
    """Forget what an earlier run left in the folder."""

    baselines: tuple[str, ...] = BASELINES
    weights: Path | None = None
    limit: int = 0
    """Most images of each split, for a quick trial; 0: all."""

    threads: int = 0
    """Compute threads of the process; 0: as torch chooses."""

    command: str = ""
    """The command line, for the manifest."""

    cache: Path = CACHE
    """Where decoded images are kept."""


class Run:
    """One task on one data folder, in one run folder.

    Parameters
    ----------
    task : TrainingTask
    options : RunOptions
    reporter : Reporter

    Raises
    ------
    InvalidConfiguration
        When the data, the device, the weights or the run folder cannot be used, or packages of a
        baseline are missing.
    """

    def __init__(self, task: TrainingTask, options: RunOptions, reporter: Reporter) -> None:
        self._options, self._reporter = options, reporter
        if HOG_SVM in options.baselines:
            check_installed()
        self._device = choose_device(options.device, task.precision, threads=options.threads)
        found = check_filled(read(task.data, options.data, name=task.name), task.data)
        self._data = limited(found, options.limit)
        self._task = task.model_copy(update={"classes": self._data.classes})
        weights = self._start().told
        self._parts = self._loaded()
        self._identity = _identity(self._task, self._data, self._parts, self._device, weights)
        _check_learnable(self._task, self._parts)
        self._measured = (*self._data.part("val"), *self._data.part("test"))

    def finish(self) -> dict[str, Any]:
        """Train what is not trained yet, write the run folder, return its summary."""
        begun = self._start()
        folder = self._folder()
        commit = run_in(folder)["commit"]  # of the code that began the run
        self._told(begun)
        history = History(folder / "history.csv", self._reporter, folder / "tensorboard")
        best = self._train(self._task, begun, folder, history)
        round_as_stored(begun.network)
        logits = self._answers(begun)
        calibrated, scores = self._keep(folder / "predictions.npz", self._task.network, logits)
        summary: dict[str, Any] = {"network": self._task.network, "best_epoch": best, **scores}
        summary["baselines"] = self._baselines_measured(folder)
        facts = Facts(
            command=self._options.command,
            commit=commit,
            start=begun.told,
            precision=self._device.precision_name,
            device=self._device.name,
            best_epoch=best,
            epochs=len(history.rows),
            metrics=plain({"measured_by": "dicom-node train", **summary}),
            calibrated=calibrated,
            validation=(logits["val"], self._parts["val"].targets),
        )
        write_model(folder / "model", self._task, self._data, begun.network, facts)
        return {"task": self._task.name, "folder": str(folder), **plain(summary)}

    def _loaded(self) -> dict[str, Part]:
        parts: dict[str, Part] = {}
        for split in SPLITS:
            samples = self._data.part(split)
            squares = squares_of(
                self._data,
                samples,
                size=self._task.size,
                reporter=self._reporter,
                cache=self._options.cache,
            )
            parts[split] = Part(squares, output_targets(self._data, samples))
        return parts

    def _folder(self) -> Path:
        """Return the run folder, made ready for this run and no other.

        What no run wrote is neither removed nor replaced.
        """
        folder = self._options.out
        folder.mkdir(parents=True, exist_ok=True)
        before = run_in(folder)
        if before and self._options.fresh:
            forget_run(folder)
        elif before and before["identity"] != self._identity:
            raise InvalidConfiguration(
                [
                    "the run folder holds a run of another task, data set, precision or start: "
                    "take --fresh to forget it, or another --out"
                ]
            )
        if not (folder / "run.json").exists():
            told = {"identity": self._identity, "commit": code_commit()}
            with whole(folder / "run.json") as stream:
                stream.write((json.dumps(told) + "\n").encode())
        if not (folder / "task.yaml").exists():
            text = yaml.safe_dump(self._task.document(), sort_keys=False, allow_unicode=True)
            with whole(folder / "task.yaml") as stream:
                stream.write(text.encode())
        return folder

    def _start(self) -> Start:
        folders = [self._options.data / "weights", data_folder() / "weights"]
        outputs = len(output_classes(self._data.kind, self._data.classes))
        begun = start(self._task, outputs, self._options.weights, folders)
        stages = len(begun.network.features)
        if self._task.frozen_stages > stages:
            raise InvalidConfiguration(
                [f"frozen_stages: {self._task.network} has no more than {stages} stages"]
            )
        return begun

    def _told(self, begun: Start) -> None:
        counts = ", ".join(f"{len(self._data.part(s))} {s}" for s in SPLITS)
        self._reporter.line(f"{self._task.name}: {self._data.kind.value}, {counts} images")
        self._reporter.line(
            f"{self._task.network} on {self._device.name} in {self._device.precision_name}, "
            f"starting weights: {begun.told}"
        )
        if passed_over := self._data.passed_over:
            self._reporter.line(
                f"passed over: {len(passed_over)} files, such as {passed_over[0]}; see `explore`"
            )
        if unseen := self._unseen():
            self._reporter.line(f"learned from no training image: {', '.join(unseen)}")
        if self._task.frozen_stages and not begun.pretrained:
            self._reporter.line("no stage stays frozen: what is in it is from chance")

    def _unseen(self) -> list[str]:
        """Return the classes that no training image shows."""
        classes = self._data.classes
        columns = target_matrix(self._data.part("train"), classes).T
        shown = [bool((column >= 0.5).any()) for column in columns]  # NaN is unknown
        return [name for name, there in zip(classes, shown, strict=True) if not there]

    def _train(self, task: TrainingTask, begun: Start, folder: Path, history: History) -> int:
        trainer = Trainer(
            task,
            begun.network,
            pretrained=begun.pretrained,
            train=self._parts["train"],
            val=self._parts["val"],
            folder=folder,
            identity=self._identity,
            device=self._device,
            reporter=self._reporter,
            history=history,
        )
        return trainer.run()

    def _answers(self, begun: Start) -> dict[str, FloatArray]:
        return {
            split: logits_of(begun.network, self._parts[split].squares, self._device)
            for split in ("val", "test")
            if len(self._parts[split].squares)
        }

    def _keep(
        self, file: Path, name: str, logits: dict[str, FloatArray]
    ) -> tuple[Calibrated, dict[str, Any]]:
        """Calibrate, write the predictions, and return the scores of each split."""
        kind = self._data.kind
        calibrated = calibrate(logits["val"], self._parts["val"].targets, kind)
        said = calibrated.logits(np.concatenate(list(logits.values())))
        keep_predictions(file, of_outputs(name, self._data, self._measured, said))
        return calibrated, {
            split: epoch_scores(calibrated.logits(own), self._parts[split].targets, kind)
            for split, own in logits.items()
        }

    def _baselines(self) -> list[str]:
        return [n for n in BASELINES if n in self._options.baselines]

    def _baselines_measured(self, folder: Path) -> dict[str, Any]:
        measured = {}
        for name in self._baselines():
            try:
                measured[name] = self._baseline(name, folder)
            except Diverged:
                self._reporter.line(f"baseline {name} diverged and is left out")
        return measured

    def _baseline(self, name: str, folder: Path) -> dict[str, Any]:
        self._reporter.line(f"baseline {name}")
        logits = self._hog_svm() if name == HOG_SVM else self._small_cnn(folder / SMALL_CNN)
        if name == SMALL_CNN:
            shutil.copyfile(folder / SMALL_CNN / "history.csv", folder / f"history-{name}.csv")
        return self._keep(folder / f"predictions-{name}.npz", name, logits)[1]

    def _hog_svm(self) -> dict[str, FloatArray]:
        measured = [s for s in ("val", "test") if len(self._parts[s].squares)]
        features = {
            split: hog_features(self._parts[split].squares, self._reporter)
            for split in ("train", *measured)
        }
        learned, targets = features.pop("train"), self._parts["train"].targets
        found = svm_logits(learned, targets, list(features.values()), seed=self._task.seed)
        return dict(zip(features, found, strict=True))

    def _small_cnn(self, folder: Path) -> dict[str, FloatArray]:
        folder.mkdir(exist_ok=True)
        changes = {
            "network": "small_cnn",
            "pretrained": False,
            "optimiser": Optimiser(rate=2e-3, head_rate=2e-3),
        }
        task = self._task.model_copy(update=changes)
        outputs = len(output_classes(self._data.kind, self._data.classes))
        begun = start(task, outputs, None, [])
        self._train(task, begun, folder, History(folder / "history.csv", self._reporter))
        return self._answers(begun)


def _check_learnable(task: TrainingTask, parts: dict[str, Part]) -> None:
    if len(parts["train"].squares) < 2 or not len(parts["val"].squares):
        raise UnusableData(["training needs two training images and one validation image"])
    measured = epoch_scores(np.zeros_like(parts["val"].targets), parts["val"].targets, task.kind)
    if task.stopping.monitor == "auc" and np.isnan(measured["auc"]):
        raise UnusableData(
            [
                "the validation images show no class both present and absent: `stopping.monitor` "
                "cannot be auc"
            ]
        )


def _identity(
    task: TrainingTask, data: DataSet, parts: dict[str, Part], device: Device, weights: str
) -> str:
    """Return a digest of everything that decides the result, the code apart."""
    told: Sequence[Any] = [
        task.document(),
        device.precision_name,
        weights,
        [[str(s.path), s.split, s.group, s.targets] for s in data.samples],
        [hashlib.sha256(parts[split].squares.pixels.data).hexdigest() for split in SPLITS],
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
