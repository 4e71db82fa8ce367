"""A study of a model on files: what ``dicom-node explain`` writes."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from inference.evaluation.explaining.explain import Explanation, explain
from inference.evaluation.explaining.methods import Effort, Map
from inference.evaluation.explaining.page import Studied, studied, write_study
from inference.evaluation.explaining.pictures import contact_sheet, overlay
from inference.overlay import Rgb
from inference.registry import LoadedModel
from inference.training.images import UnusableImage, read_picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for; empty `columns` are each image's most probable label."""

    out: Path
    columns: Sequence[int] = ()
    methods: Sequence[str]
    effort: Effort = field(default_factory=Effort)
    html: bool = False
    threads: int = 0
    """Compute threads; 0 leaves torch's own number."""


def study(
    model: LoadedModel,
    paths: Sequence[Path],
    request: Request,
    *,
    after_map: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Explain every image, and write overlays, contact sheets, ``explain.json`` and the page.

    Parameters
    ----------
    model : LoadedModel
    paths : sequence of Path
        DICOM or picture files. One that holds no image is reported and passed over.
    request : Request
    after_map : callable
        Called after each map.

    Returns
    -------
    list of dict
        For each image its ``image`` (the path as given) and either ``error`` or
        ``contact_sheet`` and ``labels``: `Explanation.document` with the names of the
        ``files`` of its overlays. ``explain.json`` holds the same.
    """
    if request.threads:
        torch.set_num_threads(request.threads)
    request.out.mkdir(parents=True, exist_ok=True)
    documents: list[dict[str, Any]] = []
    images: list[Studied] = []
    for number, path in enumerate(paths, start=1):
        try:
            display = read_picture(path)
        except UnusableImage as error:
            documents.append({"image": str(path), "error": str(error)})
            continue
        found = explain(
            model,
            display,
            columns=request.columns,
            methods=request.methods,
            effort=request.effort,
            after_map=after_map,
        )
        documents.append({"image": str(path), **_drawn(model, number, display, found, request.out)})
        if request.html:
            images.append(studied(path.name, display, found))
    _write_summary(model, documents, request)
    if request.html:
        unread = [Path(found["image"]).name for found in documents if "error" in found]
        write_study(request.out / "explain.html", model.manifest, images, unread, request.effort)
    return documents


def _drawn(
    model: LoadedModel, number: int, display: Map, found: Sequence[Explanation], out: Path
) -> dict[str, Any]:
    """Write the pictures of one image; return its document."""
    sheet = f"{number:03d}.png"
    _save(contact_sheet(display, found, model.manifest), out / sheet)
    labels = []
    for of in found:
        files = {}
        for made in of.maps:
            # the column keeps two labels apart whose keys differ in odd characters alone
            slug = re.sub(r"[^A-Za-z0-9]+", "-", of.label).strip("-")
            files[made.method] = f"{number:03d}-{of.column:02d}-{slug}-{made.method}.png"
            _save(overlay(display, made, of, model.manifest), out / files[made.method])
        labels.append({**of.document(), "files": files})
    return {"contact_sheet": sheet, "labels": labels}


def _write_summary(
    model: LoadedModel, documents: Sequence[dict[str, Any]], request: Request
) -> None:
    manifest = model.manifest
    summary = {
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "weights_sha256": manifest.weights_sha256,
        },
        "effort": asdict(request.effort),
        "images": documents,
    }
    text = json.dumps(summary, ensure_ascii=False, indent=1, allow_nan=False)
    (request.out / "explain.json").write_text(text + "\n", encoding="utf-8")


def _save(rgb: Rgb, path: Path) -> None:
    Image.fromarray(rgb).save(path)
