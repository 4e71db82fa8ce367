"""A result row's document: one prediction with what belongs to its image (pure)."""

from collections.abc import Iterable
from typing import Any

from inference.types import (
    ImageAnalysis,
    ImageVerdict,
    Prediction,
    prediction_from_json,
    prediction_to_json,
    verdict_from_json,
    verdict_to_json,
)


def result_document(
    analysis: ImageAnalysis, prediction: Prediction, verdict: ImageVerdict | None
) -> dict[str, Any]:
    """Return the JSON document of one prediction of `analysis`."""
    return {
        "prediction": prediction_to_json(prediction),
        "verdict": verdict_to_json(verdict) if verdict is not None else None,
        "pixel_sha256": analysis.pixel_sha256,
        "rows": analysis.rows,
        "columns": analysis.columns,
        "notes": list(analysis.notes),
    }


def read_documents(
    documents: Iterable[dict[str, Any]],
) -> tuple[ImageAnalysis, ImageVerdict | None]:
    """Return what the documents of one image say together.

    An image without any document (its analysis was parked) has an empty analysis.
    """
    known = list(documents)
    if not known:
        return ImageAnalysis(pixel_sha256=None, notes=("analysis.parked",)), None
    first = known[0]
    verdicts = [verdict_from_json(d["verdict"]) for d in known if d["verdict"] is not None]
    analysis = ImageAnalysis(
        pixel_sha256=first["pixel_sha256"],
        rows=first["rows"],
        columns=first["columns"],
        predictions=tuple(prediction_from_json(d["prediction"]) for d in known),
        notes=tuple(first["notes"]),
    )
    return analysis, verdicts[0] if verdicts else None
