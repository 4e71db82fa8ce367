"""Find, check and load the models: a folder each, pinned by sha256, nothing unpickled."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import safetensors.torch
import structlog
from safetensors import SafetensorError

from audit.errors import BrokenModel
from inference.architectures import PooledClassifier, build
from inference.manifest import ModelManifest, read_manifest
from inference.preprocess import RECIPE
from inference.runtime.port import Runtime
from inference.types import ModelIdentity, Task

SHIPPED = Path(__file__).parent / "models"
"""The models that come with the package."""

_CHANNELS = 3
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model folder whose manifest and weights fit together."""

    manifest: ModelManifest
    network: PooledClassifier
    """On the CPU, with its weights."""

    def identity(self, runtime: Runtime) -> ModelIdentity:
        """Return which network this is, and how `runtime` runs it."""
        return ModelIdentity(
            name=self.manifest.name,
            version=self.manifest.version,
            task=self.manifest.task,
            weights_sha256=self.manifest.weights_sha256,
            configuration_sha256=self.manifest.configuration_sha256,
            preprocessing=RECIPE,
            runtime=runtime.name,
            device=runtime.device,
            precision=runtime.precision,
        )


class Registry:
    """The loaded models by name."""

    def __init__(self, models: Iterable[LoadedModel]) -> None:
        by_name: dict[str, LoadedModel] = {}
        for model in models:
            if model.manifest.name in by_name:
                raise BrokenModel(f"two model folders are named {model.manifest.name!r}")
            by_name[model.manifest.name] = model
        self._models = MappingProxyType(by_name)

    @classmethod
    def load(cls, folders: Iterable[Path] = (), *, shipped: Path | None = SHIPPED) -> "Registry":
        """Load every model in the shipped folder and in `folders`.

        Parameters
        ----------
        folders : iterable of Path
            Folders that hold model folders (``inference.model_dirs``).
        shipped : Path, optional
            The folder of the shipped models; None leaves them out.

        Raises
        ------
        BrokenModel
            When a folder is missing or incomplete, a manifest does not validate, weights
            do not match their sha256 or their architecture, or a name occurs twice.
        """
        roots = [*([shipped] if shipped is not None else []), *folders]
        models = [load_model(folder) for root in roots for folder in _model_folders(root)]
        for manifest in (model.manifest for model in models):
            _log.info(
                "inference.model.loaded",
                model_name=manifest.name,
                model_version=manifest.version,
                weights_sha256=manifest.weights_sha256,
                configuration_sha256=manifest.configuration_sha256,
            )
        return cls(models)

    def __iter__(self) -> Iterator[LoadedModel]:
        return iter(self._models.values())

    @property
    def names(self) -> frozenset[str]:
        """The names of the models."""
        return frozenset(self._models)

    @property
    def of_the_workbench(self) -> frozenset[str]:
        """The names of models that answer none of the node's questions."""
        return frozenset(m.manifest.name for m in self if m.manifest.task is Task.OTHER)


def load_model(folder: Path) -> LoadedModel:
    """Return the model in `folder`.

    The bytes that are hashed are the bytes that are loaded.

    Raises
    ------
    BrokenModel
        When anything in the folder does not fit.
    """
    manifest = read_manifest(folder)
    try:
        weights = (folder / "weights.safetensors").read_bytes()
    except OSError as error:
        raise BrokenModel(f"{folder.name}: weights.safetensors cannot be read") from error
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise BrokenModel(f"{folder.name}: the weights do not match weights_sha256")
    if not len(manifest.input.mean) == len(manifest.input.std) == _CHANNELS:
        raise BrokenModel(f"{folder.name}: input.mean and input.std must have three values")
    try:
        network = build(manifest.architecture, len(manifest.labels))
        network.load_state_dict(safetensors.torch.load(weights))
    except (KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise BrokenModel(f"{folder.name}: {error}") from error
    return LoadedModel(manifest=manifest, network=network.eval())


def _model_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise BrokenModel(f"{root.name} is no folder of models")
    folders = sorted(e for e in root.iterdir() if e.is_dir() and e.name[0] not in "._")
    models = [folder for folder in folders if (folder / "model.yaml").exists()]
    for folder in folders:
        if folder not in models:  # such as the `lost+found` of a disk of its own
            _log.warning("inference.model.folder_skipped", model_name=folder.name)
    return models
