"""What two public networks answer on the held-out images, for `comparison`.

* ``chexnet_densenet121``: probabilities that the authors of reproduce-chexnet published for
  the test fold of their DenseNet-121. The fold is split by patient (in our images too, the
  answers cover a patient wholly or not at all; `partly_covered` counts the exceptions), so
  it never trained on the images compared here. Images that it never answered may be of its
  training patients, and are left out.
* ``mobilenetv3s_int8`` and ``mobilenetv3s_dequantised``: a small public classifier of 15
  exclusive classes. It trained on images with at most one finding, drawn from all of
  ChestX-ray14, so it may know some of ours: it is compared on all held-out images, and
  again on those with several findings, which its training left out.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from inference.training.samples import Sample
from inference.training.shipped.labels import FINDING_KEYS

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

TEACHER_FILE = Path("chest/nih14/chexnet_densenet121_teacher_probs.csv")
ONNX_FILES = {
    "mobilenetv3s_int8": Path("weights/nih15_mobilenetv3s_int8_elsadiq7.onnx"),
    "mobilenetv3s_dequantised": Path("weights/nih15_mobilenetv3s_dequant_fp32.onnx"),
}

ONNX_KEYS = (
    "No Finding", "Infiltration", "Atelectasis", "Effusion", "Nodule", "Pneumothorax", "Mass",
    "Consolidation", "Pleural_Thickening", "Cardiomegaly", "Emphysema", "Fibrosis", "Edema",
    "Pneumonia", "Hernia",
)  # fmt: skip
"""Order of the public classifier's outputs, of which a softmax is taken."""

_ONNX_SIDE, _ONNX_MEAN, _ONNX_STD, _BATCH = 224, 0.485, 0.229, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A public network's answers on some of the held-out images."""

    name: str
    images_are: str
    """Which images are compared."""

    may_have_trained_on: str
    """Which of them it may have seen in training."""

    rows: NDArray[np.int64]
    """Places of those images among the held-out ones."""

    scores: FloatArray
    """Shape (rows, labels), in the order of `FINDING_KEYS`."""


def partly_covered(answered: set[str], samples: Sequence[Sample]) -> int:
    """Return how many patients have images with and images without an answer."""
    with_answer = {s.group for s in samples if s.path.stem in answered}
    without = {s.group for s in samples if s.path.stem not in answered}
    return len(with_answer & without)


def published(data: Path) -> dict[str, FloatArray]:
    """Return the teacher's published probabilities (L,) by the stem of the image's name.

    In the order of `FINDING_KEYS`.
    """
    with (data / TEACHER_FILE).open(newline="", encoding="utf-8") as file:
        return {
            Path(row["Image Index"]).stem: np.array(
                [float(row[f"prob_{key}"]) for key in FINDING_KEYS]
            )
            for row in csv.DictReader(file)
        }


def teacher(data: Path, samples: Sequence[Sample], everything: Sequence[Sample]) -> Rival:
    """Return the teacher's published answers.

    Parameters
    ----------
    data : Path
        The data folder.
    samples, everything : sequence of Sample
        The held-out images, and those of both splits.
    """
    answers = published(data)
    rows = [place for place, sample in enumerate(samples) if sample.path.stem in answers]
    split = partly_covered(set(answers), everything)
    return Rival(
        name="chexnet_densenet121",
        images_are="held-out images of the test fold it was published with",
        may_have_trained_on=f"none: that fold holds whole patients ({split} are split)",
        rows=np.array(rows, dtype=np.int64),
        scores=np.array([answers[samples[row].path.stem] for row in rows]),
    )


def public(data: Path, samples: Sequence[Sample], truth: BoolArray) -> list[Rival]:
    """Return the public classifier's answers, int8 and dequantised, on both choices of images.

    Parameters
    ----------
    data : Path
        The data folder.
    samples : sequence of Sample
        The held-out images.
    truth : ndarray of bool, shape (N, L)
        Their findings, in the order of `FINDING_KEYS`.
    """
    every = np.arange(len(samples))
    several = np.flatnonzero(truth.sum(axis=1) > 1)
    rivals = []
    for name, file in ONNX_FILES.items():
        scores = onnx_scores(data / file, [data / sample.path for sample in samples])
        for rows, images_are, seen in (
            (every, "all held-out images", "any image with at most one finding"),
            (several, "held-out images with several findings", "none: it trained on no such image"),
        ):
            rivals.append(
                Rival(
                    name=name,
                    images_are=images_are,
                    may_have_trained_on=seen,
                    rows=rows,
                    scores=scores[rows],
                )
            )
    return rivals


def onnx_scores(weights: Path, images: Sequence[Path]) -> FloatArray:
    """Return the public classifier's softmax (N, L), in the order of `FINDING_KEYS`.

    Parameters
    ----------
    weights : Path
        One of `ONNX_FILES`.
    images : sequence of Path
        Pictures; each is made grey, resized to 224 x 224 without regard to its aspect, and
        normalised by 0.485 and 0.229, as its authors do.
    """
    import onnxruntime  # noqa: PLC0415 - of the extra `train` only

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    parts = [
        session.run(None, {"input": np.stack([_onnx_input(path) for path in batch])})[0]
        for batch in (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    ]
    logits = np.concatenate(parts).astype(np.float64)
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = grown / grown.sum(axis=1, keepdims=True)
    return probabilities[:, [ONNX_KEYS.index(key) for key in FINDING_KEYS]]


def _onnx_input(path: Path) -> NDArray[np.float32]:
    with Image.open(path) as image:
        grey = image.convert("L").resize((_ONNX_SIDE, _ONNX_SIDE))
    pixels = np.asarray(grey, dtype=np.float32)[np.newaxis] / 255.0
    return ((pixels - _ONNX_MEAN) / _ONNX_STD).astype(np.float32)
