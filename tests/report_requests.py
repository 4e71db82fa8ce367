"""Report requests for tests of the builders: real or invented headers, constructed results."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from dicom_node.config.settings import ReportProfile
from dicom_node.report.build import build_overlays, build_sr, overlay_reference
from dicom_node.report.content import BuiltObject, ReportImage, ReportRequest
from inference.manifest import CodeEntry, Label
from inference.types import (
    Code,
    Decision,
    Expectation,
    ExpectationSource,
    HeatMap,
    ImageAnalysis,
    ImageVerdict,
    LabelOutput,
    ModelIdentity,
    Outcome,
    Prediction,
    RegionProbability,
    Task,
    Verdict,
)

CREATED_AT = datetime(2026, 1, 2, 23, 30, 15, tzinfo=UTC)

REGIONS = {
    "CHEST": Code(scheme="SCT", value="816094009", meaning="Chest"),
    "HAND": Code(scheme="SCT", value="85562004", meaning="Hand"),
    "PELVIS": Code(scheme="SCT", value="816092008", meaning="Pelvis"),
}

_FINDINGS = {
    "Effusion": ("60046008", "Pleural effusion", ("3120008", "Pleura")),
    "Pneumothorax": ("36118008", "Pneumothorax", ("3120008", "Pleura")),
    "Cardiomegaly": ("8186001", "Cardiomegaly", ("80891009", "Heart")),
    "Nodule": ("27925004", "Nodule", ("39607008", "Lung")),
    "Hernia": ("39839004", "Diaphragmatic hernia", None),
}


def _sct(value: str, meaning: str) -> CodeEntry:
    return CodeEntry(scheme="SCT", value=value, meaning=meaning)


LABELS = {
    ("chest-findings", key): Label(
        key=key,
        role="finding",
        code=_sct(value, meaning),
        finding_site=_sct(*site) if site else None,
    )
    for key, (value, meaning, site) in _FINDINGS.items()
}


def model(task: Task, *, name: str, weights: str = "weights") -> ModelIdentity:
    """Return the identity of an invented model; `weights` stands for its training."""
    return ModelIdentity(
        name=name,
        version="1.2.0",
        task=task,
        weights_sha256=hashlib.sha256(weights.encode()).hexdigest(),
        configuration_sha256=hashlib.sha256(name.encode()).hexdigest(),
        preprocessing="px-1",
        runtime="torch 2.13.0",
        device="cpu",
        precision="float32",
    )


BODY_PART = model(Task.BODY_PART, name="bodypart")
CHEST = model(Task.CHEST_FINDINGS, name="chest-findings")


def heat_map(key: str) -> HeatMap:
    """Return a heat map with one warm spot, over a square image."""
    rows, columns = np.mgrid[0:10, 0:10]
    spot = np.exp(-((rows - 4) ** 2 + (columns - 7) ** 2) / 6.0)
    values = tuple(tuple(float(value) for value in row) for row in spot)
    return HeatMap(key=key, method="grad-cam", values=values, content_box=(0.0, 0.0, 1.0, 1.0))


def _output(key: str, probability: float, decision: Decision) -> LabelOutput:
    return LabelOutput(
        key=key, logit=0.0, probability=probability, threshold=0.45, decision=decision
    )


def chest_findings() -> Prediction:
    """Return one present, one doubtful, two absent findings, and one not reported."""
    return Prediction(
        model=CHEST,
        outcome=Outcome.PREDICTED,
        labels=(
            _output("Nodule", 0.02, Decision.ABSENT),
            _output("Effusion", 0.41, Decision.UNDETERMINED),
            _output("Cardiomegaly", 0.11, Decision.ABSENT),
            _output("Pneumothorax", 0.913, Decision.PRESENT),
            _output("Hernia", 0.2, Decision.NOT_REPORTED),
        ),
        heat_maps=(heat_map("Pneumothorax"),),
    )


def not_run(task: Task, outcome: Outcome, reason_code: str, reason: str = "") -> Prediction:
    """Return a prediction of a model that was skipped or failed."""
    identity = BODY_PART if task is Task.BODY_PART else CHEST
    return Prediction(model=identity, outcome=outcome, reason_code=reason_code, reason=reason)


def verdict(kind: Verdict, *, expected: str = "CHEST", seen: str = "CHEST") -> ImageVerdict:
    """Return the verdict of a body-part check."""
    expectation = Expectation(regions=(expected,), source=ExpectationSource.BODY_PART_EXAMINED)
    return ImageVerdict(
        verdict=kind,
        expected=None if kind is Verdict.NOT_DECLARED else expectation,
        seen=(RegionProbability(region=seen, probability=0.998),),
        reason="",
    )


def _image(
    number: int,
    header: Dataset,
    path: Path,
    predictions: tuple[Prediction, ...],
    checked: ImageVerdict | None,
    *,
    pixel_sha256: str | None = "0" * 64,
) -> ReportImage:
    analysis = ImageAnalysis(pixel_sha256=pixel_sha256, predictions=predictions)
    return ReportImage(
        number=number,
        header=header,
        path=path,
        content_sha256="c" * 64,
        analysis=analysis,
        verdict=checked,
    )


def chest_image(header: Dataset, path: Path = Path("absent.dcm"), number: int = 1) -> ReportImage:
    """Return a chest radiograph as ordered, with findings."""
    seen = Prediction(model=BODY_PART, outcome=Outcome.PREDICTED)
    return _image(number, header, path, (seen, chest_findings()), verdict(Verdict.MATCH))


def other_image(header: Dataset, number: int, kind: Verdict = Verdict.MISMATCH) -> ReportImage:
    """Return an image that shows a hand where a chest was expected."""
    seen = Prediction(model=BODY_PART, outcome=Outcome.PREDICTED)
    skipped = not_run(
        Task.CHEST_FINDINGS, Outcome.SKIPPED, "gate.not_frontal_chest", "not a frontal chest"
    )
    checked = verdict(kind, seen="HAND")
    return _image(number, header, Path("absent.dcm"), (seen, skipped), checked)


def damaged_image(header: Dataset, number: int) -> ReportImage:
    """Return an image whose pixels no decoder reads."""
    predictions = tuple(not_run(task, Outcome.FAILED, "pixels.damaged") for task in Task)
    return _image(number, header, Path("absent.dcm"), predictions, None, pixel_sha256=None)


def request_for(*images: ReportImage, **overrides: Any) -> ReportRequest:
    """Return a request for a report on `images`, all of the first one's study."""
    request = ReportRequest(
        study_instance_uid=str(images[0].header.StudyInstanceUID),
        revision=1,
        images=images,
        labels=LABELS,
        regions=REGIONS,
        created_at=CREATED_AT,
        predecessor=None,
        manufacturer="Open DICOM AI Node",
        software_version="0.1.0",
        device_serial="node-1",
        uid_root="",
        sr_series_number=9001,
        sc_series_number=9002,
        sc_long_side_pixels=1280,
        maximum_heat_maps=40,
        maximum_pixels=100_000_000,
    )
    return replace(request, **overrides)


def built_report(request: ReportRequest, profile: ReportProfile) -> tuple[BuiltObject, ...]:
    """Return all objects of a report at once: the overlays, then the SR."""
    overlays = tuple(build_overlays(request))
    return (*overlays, build_sr(request, profile, dict(map(overlay_reference, overlays))))
