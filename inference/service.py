"""One image in, everything the models say of it out.

The file is decoded once. The body part comes first; then each further model runs where
its gates are open. Whatever happens to an image, every model that was asked for leaves
a prediction: predicted, skipped or failed, and why.
"""

import hashlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from audit.clock import Clock
from audit.errors import BrokenModel, InvalidConfiguration, NodeError, Transient
from audit.metrics import Metrics
from inference.batcher import Batcher
from inference.cam import heat_map
from inference.decide import closed_gate, label_output
from inference.manifest import ModelManifest
from inference.preprocess import letterbox, network_input
from inference.reader import DisplayImage, UnreadableImage, read_display
from inference.registry import LoadedModel, Registry
from inference.runtime.port import RawOutput, RuntimeFor
from inference.types import Decision, ImageAnalysis, ModelIdentity, Outcome, Prediction, Task

NOT_FINITE = "model.output_not_finite"
_NOT_FINITE_REASON = "The network's output is not a number."

_log = structlog.get_logger()


class InferenceFailed(Transient):
    """A network could not be run, as when the device's memory is full."""

    code = "inference.model.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceOptions:
    """Limits of the service."""

    maximum_pixels: int = 100_000_000
    """Largest Rows x Columns that is decoded."""

    workers: int = 4
    """Images decoded at the same time."""

    batch_size: int = 8
    batch_wait_ms: float = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    """A model with the thread that runs it."""

    manifest: ModelManifest
    identity: ModelIdentity
    batcher: Batcher


class InferenceService:
    """Runs the models of a registry; safe to call from any thread.

    Parameters
    ----------
    registry : Registry
        The loaded models.
    runtime_for : RuntimeFor
        Makes the runtime of a network, as `inference.runtime.choice.runtimes` returns it.
    options : InferenceOptions
    clock, metrics
        Ports of `audit`.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        runtime_for: RuntimeFor,
        options: InferenceOptions,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._decoding = threading.BoundedSemaphore(options.workers)
        self._left_out = registry.of_the_workbench
        for name in self._left_out:
            _log.warning("inference.model.left_out", model_name=name)
        self._models = {
            model.manifest.name: self._started(model, runtime_for)
            for model in registry
            if model.manifest.name not in self._left_out
        }

    def analyse(self, path: Path, model_names: Sequence[str]) -> ImageAnalysis:
        """Return what the named models say of the image in `path`.

        Parameters
        ----------
        path : Path
            A stored DICOM file.
        model_names : sequence of str
            In any order; they run body part first.

        Raises
        ------
        InvalidConfiguration
            When a name is not installed (see `check_models`).
        InferenceFailed
            When a network could not be run; nothing is known of the image then.
        StoredFileUnreachable
            When the storage does not give the file's bytes.
        NoMemoryToDecode
            When the machine has too little memory now.
        """
        models = self._ordered(model_names)
        began_s = self._clock.monotonic_s()
        try:
            image, squares = self._prepared(path, {m.manifest.input.size for m in models})
        except UnreadableImage as error:
            return self._unreadable(error, models)
        predictions: list[Prediction] = []
        for model in models:
            closed = closed_gate(model.manifest.gates, predictions)
            if closed is not None:
                code, reason = closed
                predictions.append(self._without_answer(model, Outcome.SKIPPED, code, reason))
            else:
                square = squares[model.manifest.input.size]
                predictions.append(self._predicted(model, image, square))
        self._metrics.observe("inference_image_seconds", self._clock.monotonic_s() - began_s)
        return ImageAnalysis(
            pixel_sha256=image.pixel_sha256,
            rows=image.rows,
            columns=image.columns,
            predictions=tuple(predictions),
            notes=image.notes,
        )

    def check_models(self, model_names: Iterable[str]) -> None:
        """Check the models of one route, at start.

        Raises
        ------
        InvalidConfiguration
            When a model is not installed, or has a gate that no other model of the
            route answers: it would never run.
        """
        names = list(model_names)
        manifests = [self._models[name].manifest for name in names if name in self._models]
        answered = {(m.task, label.key) for m in manifests for label in m.labels}
        problems = self._not_installed(names) + [
            f"model {manifest.name!r} waits for {gate.label!r} of a {gate.task} model "
            "that the route does not name"
            for manifest in manifests
            for gate in manifest.gates
            if (gate.task, gate.label) not in answered
        ]
        if problems:
            raise InvalidConfiguration(problems)

    def identities(self) -> tuple[ModelIdentity, ...]:
        """Return which networks run here, in the order of their names."""
        return tuple(self._models[name].identity for name in sorted(self._models))

    def manifest(self, model_name: str) -> ModelManifest:
        """Return the manifest of an installed model.

        Raises
        ------
        InvalidConfiguration
            When no model has that name.
        """
        return self._ordered((model_name,))[0].manifest

    def warm_up(self) -> None:
        """Run every network once, so that the first image does not pay for it.

        Raises
        ------
        BrokenModel
            When an output has the wrong shape or is not finite.
        """
        for name, model in self._models.items():
            spec = model.manifest.input
            blank = np.zeros((len(spec.mean), spec.size, spec.size), dtype=np.float32)
            output = self._run(model, blank)
            labels = len(model.manifest.labels)
            right = output.logits.shape == (1, labels) and output.cams.shape[:2] == (1, labels)
            if not (right and np.isfinite(output.logits).all()):
                raise BrokenModel(f"{name}: the network's output does not fit its labels")

    def close(self) -> None:
        """Answer what was asked, then stop every thread; may be called twice."""
        for model in self._models.values():
            model.batcher.close()

    def _started(self, model: LoadedModel, runtime_for: RuntimeFor) -> _Running:
        runtime = runtime_for(model.network, model.manifest.input.size)
        batcher = Batcher(
            runtime,
            name=model.manifest.name,
            batch_size=self._options.batch_size,
            batch_wait_ms=self._options.batch_wait_ms,
            clock=self._clock,
            metrics=self._metrics,
        )
        return _Running(model.manifest, model.identity(runtime), batcher)

    def _not_installed(self, names: Iterable[str]) -> list[str]:
        other = "is of the workbench: the node asks none of its questions"
        return [
            f"model {name!r} {other if name in self._left_out else 'is not installed'}"
            for name in names
            if name not in self._models
        ]

    def _ordered(self, model_names: Iterable[str]) -> list[_Running]:
        names = list(dict.fromkeys(model_names))
        if problems := self._not_installed(names):
            raise InvalidConfiguration(problems)
        tasks = list(Task)
        return sorted(
            (self._models[name] for name in names), key=lambda m: tasks.index(m.manifest.task)
        )

    def _prepared(
        self, path: Path, sizes: Iterable[int]
    ) -> tuple[DisplayImage, dict[int, NDArray[np.float32]]]:
        """Decode, and shrink to each input size."""
        with self._decoding:
            began_s = self._clock.monotonic_s()
            image = read_display(path, maximum_pixels=self._options.maximum_pixels)
            squares = {size: letterbox(image.display, size=size) for size in sizes}
            self._metrics.observe("inference_decode_seconds", self._clock.monotonic_s() - began_s)
        return image, squares

    def _predicted(
        self, model: _Running, image: DisplayImage, square: NDArray[np.float32]
    ) -> Prediction:
        manifest = model.manifest
        started_at, began_s = self._clock.now(), self._clock.monotonic_s()
        tensor = network_input(square, mean=manifest.input.mean, std=manifest.input.std)
        output = self._run(model, tensor)
        if not (np.isfinite(output.logits).all() and np.isfinite(output.cams).all()):
            return self._without_answer(model, Outcome.FAILED, NOT_FINITE, _NOT_FINITE_REASON)
        labels = tuple(
            label_output(float(logit), label)
            for logit, label in zip(output.logits[0], manifest.labels, strict=True)
        )
        rows, columns = image.display.shape
        heat_maps = tuple(
            heat_map(label.key, cam, rows=rows, columns=columns, size=manifest.input.size)
            for label, said, cam in zip(manifest.labels, labels, output.cams[0], strict=True)
            if label.role == "finding" and said.decision is Decision.PRESENT
        )
        return Prediction(
            model=model.identity,
            outcome=Outcome.PREDICTED,
            labels=labels,
            heat_maps=heat_maps,
            tensor_sha256=hashlib.sha256(tensor.astype("<f4", order="C").tobytes()).hexdigest(),
            started_at=started_at.isoformat(),
            duration_ms=round(1000.0 * (self._clock.monotonic_s() - began_s), 3),
        )

    def _run(self, model: _Running, tensor: NDArray[np.float32]) -> RawOutput:
        try:
            return model.batcher.submit(tensor)
        except NodeError:
            raise
        except Exception as error:
            raise InferenceFailed(f"{model.manifest.name} could not be run") from error

    def _without_answer(
        self, model: _Running, outcome: Outcome, reason_code: str, reason: str
    ) -> Prediction:
        return Prediction(
            model=model.identity,
            outcome=outcome,
            reason_code=reason_code,
            reason=reason,
            started_at=self._clock.now().isoformat(),
        )

    def _unreadable(self, error: UnreadableImage, models: Sequence[_Running]) -> ImageAnalysis:
        problem = error.problem
        _log.warning("inference.image.refused", reason_code=problem.value, error_type=error.cause)
        return ImageAnalysis(
            pixel_sha256=None,
            predictions=tuple(
                self._without_answer(model, Outcome.FAILED, problem.value, problem.sentence)
                for model in models
            ),
        )
