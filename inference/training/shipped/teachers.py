"""What trained networks say of the training images, as a part of what is learned.

Two answer: the DenseNet-121 of reproduce-chexnet, whose probabilities its authors published for
some of the images, and the small public classifier, which is run here on all of them. A student
that is told a teacher's doubts learns from what the teacher had seen (Hinton et al., 2015).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference.evaluation.shipped.comparison_rivals import (
    ONNX_FILES,
    onnx_scores,
    published,
)
from inference.training.samples import FloatArray, Sample

PUBLIC = "mobilenetv3s_dequantised"

SUREST = 0.99
"""More than this no teacher says: half of it and an absent label never count as present."""


def taught(
    targets: FloatArray, data: Path, samples: Sequence[Sample], *, weight: float, public: bool
) -> FloatArray:
    """Return the targets with the teachers' probabilities mixed in, where a teacher answers.

    Parameters
    ----------
    targets : ndarray of float32, shape (N, L)
        Labels in the order of `FINDING_KEYS`; those that are NaN stay unknown.
    data : Path
        The data folder.
    samples : sequence of Sample
        The N training images.
    weight : float
        Of the mean of the teachers that answer, against the label.
    public : bool
        Whether the public classifier is asked, too.
    """
    answers = published(data)
    unknown = np.full(targets.shape[1], np.nan)
    teachers = [np.array([answers.get(sample.path.stem, unknown) for sample in samples])]
    if public:
        paths = [data / sample.path for sample in samples]
        teachers.append(onnx_scores(data / ONNX_FILES[PUBLIC], paths))
    mixed = targets.copy()
    answered = ~np.isnan(teachers).all(axis=0)
    said = np.minimum(np.nanmean(np.array(teachers)[:, answered], axis=0), SUREST)
    mixed[answered] = (1 - weight) * targets[answered] + weight * said
    return mixed
