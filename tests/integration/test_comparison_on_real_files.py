"""The public networks on the real held-out chests: which images, which order, which pixels."""

import numpy as np
import pytest

from inference.evaluation.measures.metrics import auc
from inference.evaluation.shipped.comparison_rivals import ONNX_FILES, onnx_scores, teacher
from inference.training.samples import target_matrix
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.sources_chest import chest_samples
from tests.data import data_dir

pytestmark = pytest.mark.data


def test_the_teacher_answered_whole_patients_and_knows_the_findings():
    data = data_dir()
    everything = chest_samples(data)
    held_out = [s for s in everything if s.held_out]

    found = teacher(data, held_out, everything)

    assert "(0 are split)" in found.may_have_trained_on
    truth = target_matrix(held_out, FINDING_KEYS)[found.rows] >= 0.5
    areas = [auc(found.scores[:, c], truth[:, c]) for c in range(len(FINDING_KEYS))]
    assert np.mean(areas) > 0.75


def test_the_public_classifier_s_outputs_are_in_the_order_we_name():
    pytest.importorskip("onnxruntime", reason="of the extra `train`")
    data = data_dir()
    held_out = [s for s in chest_samples(data) if s.held_out][:160]

    scores = onnx_scores(
        data / ONNX_FILES["mobilenetv3s_dequantised"], [data / s.path for s in held_out]
    )

    truth = target_matrix(held_out, FINDING_KEYS) >= 0.5
    for key in ("Cardiomegaly", "Effusion", "Pneumothorax"):
        column = FINDING_KEYS.index(key)
        best = max(range(len(FINDING_KEYS)), key=lambda c: auc(scores[:, c], truth[:, column]))
        assert best == column
