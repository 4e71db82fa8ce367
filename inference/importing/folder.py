"""Write an imported network as a model folder, whole or not at all."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
_IMPORTED_SHA256 = "imported_sha256"
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


@contextmanager
def workplace(root: Path) -> Iterator[Path]:
    """Give a new folder on the disk of `root`, and remove it with what is in it at the end.

    Raises
    ------
    OSError
        When nothing can be written in `root`, or `root` cannot be made.
    """
    there = next(each for each in (root, *root.parents) if each.exists())
    with tempfile.TemporaryDirectory(dir=there, prefix=".importing-") as folder:
        yield Path(folder)


def check_name(
    name: str, *, root: Path, model_dirs: Iterable[Path] = (), replace: bool = False
) -> None:
    """Refuse a name that a model has already.

    Parameters
    ----------
    name : str
    root : Path
        Where the model folder will be.
    model_dirs : iterable of Path
        Other folders of models, whose names are taken too.
    replace : bool
        Allow an imported model of that name in `root`.

    Raises
    ------
    UnusableCheckpoint
    BrokenModel
        When a manifest in one of the folders cannot be read.
    """
    folder = root / name
    manifests = [file for each in model_dirs for file in each.glob("[!._]*/model.yaml")]
    others = (file.parent for file in manifests if file.parent.resolve() != folder.resolve())
    if name in {read_manifest(other).name for other in others}:
        raise UnusableCheckpoint("a model of that name is installed; name another with --name")
    if not folder.exists():
        return
    if not replace:
        raise UnusableCheckpoint(
            "a model of that name exists; --replace replaces it, or name another with --name"
        )
    old = read_manifest(folder)
    if old.name != name or _IMPORTED_SHA256 not in old.training:
        raise UnusableCheckpoint("only an imported model is replaced; name another with --name")


def write_folder(
    imported: Imported,
    wishes: Wishes,
    provenance: Provenance,
    *,
    root: Path,
    replace: bool = False,
) -> LoadedModel:
    """Write the model folder ``root / wishes.name``, check it as the node will, and return it.

    With `replace`, an imported model of that name gives way once the new one is whole.

    Raises
    ------
    UnusableCheckpoint
        When the name is taken, the tensors do not fit the network, or the wishes do not fit
        its labels or the form of a manifest.
    OSError
        When the folder cannot be written.
    """
    check_name(wishes.name, root=root, replace=replace)
    weights = _weights(imported)
    manifest = _manifest(imported, wishes, provenance, hashlib.sha256(weights).hexdigest())
    text = yaml.safe_dump(
        manifest.model_dump(mode="json", exclude_defaults=True),
        sort_keys=False,
        allow_unicode=True,
        width=96,
    )
    with workplace(root) as place:
        made = place / wishes.name
        made.mkdir()
        (made / "weights.safetensors").write_bytes(weights)
        (made / "model.yaml").write_text(text, encoding="utf-8")
        model = load_model(made)
        root.mkdir(parents=True, exist_ok=True)
        _move(made, root / wishes.name, aside=place / ".old")
    return model


def _move(made: Path, folder: Path, *, aside: Path) -> None:
    """Rename `made` to `folder`, the old one to `aside`; a failure leaves the old one there."""
    try:
        if folder.exists():
            folder.rename(aside)
        made.rename(folder)
    except BaseException:
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise


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
                _IMPORTED_SHA256: provenance.sha256,
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
