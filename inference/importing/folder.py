"""Write an imported network as a model folder, whole or not at all."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import safetensors.torch
import yaml
from pydantic import ValidationError

from inference.architectures import build
from inference.importing.checkpoint import UnusableCheckpoint
from inference.importing.layouts import Imported, Output
from inference.manifest import CodeEntry, Label, ModelManifest, OperatingPoint, read_manifest
from inference.registry import SHIPPED, LoadedModel, load_model
from inference.types import Task

FIRST_VERSION = "1.0.0"
UNKNOWN_LICENCE = "Not stated; ask the maker of the checkpoint. For research only."

_ARCHITECTURE = "densenet121"
_FRACTURE = CodeEntry(scheme="SCT", value="125605004", meaning="Fracture of bone")
_NOT_MEASURED = "imported, and not yet measured on this site's own images"
_NOT_TRAINED = "the checkpoint says that this output was never trained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an imported network came from, for its manifest."""

    file_name: str
    sha256: str
    imported_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the person who imports decides."""

    name: str
    version: str = FIRST_VERSION
    licence: str = UNKNOWN_LICENCE
    report: Mapping[str, float | None] | None = None
    """Labels to report, with their operating points where the person names one."""


def write_folder(
    imported: Imported, wishes: Wishes, provenance: Provenance, *, root: Path
) -> LoadedModel:
    """Write the model folder ``root / wishes.name``, check it as the node will, and return it.

    Raises
    ------
    UnusableCheckpoint
        When the folder exists, the tensors do not fit the network, or the wishes do not fit
        its labels or the form of a manifest.
    """
    folder = root / wishes.name
    if folder.exists():
        raise UnusableCheckpoint("a model folder of that name exists; name another with --name")
    root.mkdir(parents=True, exist_ok=True)
    weights = _weights(imported)
    manifest = _manifest(imported, wishes, provenance, hashlib.sha256(weights).hexdigest())
    text = yaml.safe_dump(
        manifest.model_dump(mode="json", exclude_defaults=True),
        sort_keys=False,
        allow_unicode=True,
        width=96,
    )
    with tempfile.TemporaryDirectory(dir=root, prefix=".importing-") as temporary:
        made = Path(temporary) / wishes.name
        made.mkdir()
        (made / "weights.safetensors").write_bytes(weights)
        (made / "model.yaml").write_text(text, encoding="utf-8")
        model = load_model(made)
        made.rename(folder)
    return model


def _weights(imported: Imported) -> bytes:
    """Return the tensors as safetensors, once they fit the network: shape, kind, finite."""
    network = build(_ARCHITECTURE, len(imported.outputs))
    try:
        network.load_state_dict(imported.tensors)
    except RuntimeError as error:
        raise UnusableCheckpoint("the tensors are not those of a DenseNet-121") from error
    tensors = network.state_dict()
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise UnusableCheckpoint("a tensor holds what is not a number")
    return safetensors.torch.save(tensors)


def _manifest(
    imported: Imported, wishes: Wishes, provenance: Provenance, weights_sha256: str
) -> ModelManifest:
    shipped = read_manifest(SHIPPED / "chest-findings")
    known = {label.key: label for label in shipped.labels}
    report = dict(wishes.report or {})
    if unknown := sorted(set(report) - {output.key for output in imported.outputs}):
        keys = ", ".join(output.key for output in imported.outputs)
        raise UnusableCheckpoint(f"no label {', '.join(unknown)}; its labels are {keys}")
    try:
        return ModelManifest(
            name=wishes.name,
            version=wishes.version,
            task=Task.CHEST_FINDINGS,
            architecture=_ARCHITECTURE,
            description=f"Chest findings, imported; layout of the checkpoint: {imported.layout}.",
            licence=wishes.licence,
            input=imported.input,
            labels=tuple(_label(output, known, report) for output in imported.outputs),
            gates=shipped.gates,
            data={"sources": "Not known here; see the maker of the checkpoint."},
            metrics={},
            training={
                "imported_from": provenance.file_name,
                "imported_sha256": provenance.sha256,
                "imported_on": provenance.imported_on.isoformat(),
                "layout": imported.layout,
            },
            weights_sha256=weights_sha256,
        )
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
        raise UnusableCheckpoint(f"not a value that a model may have: {fields}") from error


def _label(output: Output, known: Mapping[str, Label], report: Mapping[str, float | None]) -> Label:
    """Return one label: coded as the shipped model codes it, reported where that is wished."""
    alike = known.get(output.key)
    code = alike.code if alike else _FRACTURE if output.key == "Fracture" else None
    wished = output.key in report
    if wished and not output.trained:
        raise UnusableCheckpoint(f"{output.key} cannot be reported: {_NOT_TRAINED}")
    threshold = report.get(output.key) if report.get(output.key) is not None else output.threshold
    if wished and threshold is None:
        raise UnusableCheckpoint(
            f"{output.key} has no operating point in the checkpoint; give one: {output.key}=0.5"
        )
    point = None
    if threshold is not None:
        point = OperatingPoint(present_at=threshold, absent_below=threshold)
    reason = _NOT_MEASURED if output.trained else _NOT_TRAINED
    return Label(
        key=output.key,
        role="finding",
        code=code,
        finding_site=alike.finding_site if alike else None,
        reported=wished,
        not_reported_because=None if wished else reason,
        operating_point=point,
    )
