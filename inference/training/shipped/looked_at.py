"""Labels of UNIFESP that are plainly wrong, put right where false alarms are counted.

An image under the order that its wrong label names is filed wrongly, so an alarm on it is no
false one. The network is trained on the labels as they are given.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.training.samples import Sample
from inference.training.shipped.labels import BODYPART_KEYS, KEY_OF_SOURCE_NAME, OTHERS
from inference.training.shipped.sources_bodypart import ANNOTATIONS

REGION_COUNT = BODYPART_KEYS.index(OTHERS)


def looked_at(file: Path = ANNOTATIONS / "unifesp_labels_looked_at.csv") -> dict[str, list[str]]:
    """Return what images plainly show whose label is wrong: label keys by SOP Instance UID.

    Found among the alarms of the misfiling check and judged by eye; labels without an alarm
    were not looked at.
    """
    with file.open(encoding="utf-8") as rows:
        return {
            row["sop_instance_uid"]: [KEY_OF_SOURCE_NAME[name] for name in row["shows"].split("|")]
            for row in csv.DictReader(rows)
        }


def put_right(targets: NDArray[np.float32], samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Return `targets`, shape (N, L), columns as `BODYPART_KEYS`, with wrong labels replaced."""
    shown = looked_at()
    result = targets.copy()
    for row, sample in enumerate(samples):
        if keys := shown.get(sample.path.stem):
            result[row, :REGION_COUNT] = 0
            result[row, [BODYPART_KEYS.index(key) for key in keys]] = 1
    return result
