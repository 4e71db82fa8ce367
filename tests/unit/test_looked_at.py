"""Wrong labels are put right where false alarms are counted, and nowhere else."""

from pathlib import Path

import numpy as np

from inference.training.samples import Sample
from inference.training.shipped.filing import filing_trials
from inference.training.shipped.labels import BODYPART_KEYS, NOT_OURS, OTHERS
from inference.training.shipped.looked_at import looked_at, put_right

COUNT = BODYPART_KEYS.index(OTHERS)


def test_a_label_that_is_known_to_be_wrong_is_replaced_and_all_others_stay() -> None:
    uid, keys = next(iter(looked_at().items()))
    samples = [
        Sample(path=Path(f"images/{name}.jpg"), targets={}, group=name, source="unifesp")
        for name in (uid, "other")
    ]
    given = np.zeros((2, len(BODYPART_KEYS)), dtype=np.float32)
    given[:, BODYPART_KEYS.index("Clavicle")] = 1

    right = put_right(given, samples)

    assert [BODYPART_KEYS[column] for column in np.flatnonzero(right[0])] == keys
    assert np.array_equal(right[1], given[1])
    assert given[0, BODYPART_KEYS.index("Clavicle")] == 1


def test_trials_of_correct_filing_name_what_a_wrongly_labelled_image_shows() -> None:
    uid, keys = next(iter(looked_at().items()))
    sample = Sample(path=Path(f"{uid}.jpg"), targets={}, group="1", source="unifesp")
    given = np.zeros((1, len(BODYPART_KEYS)), dtype=np.float32)
    given[0, BODYPART_KEYS.index("Clavicle")] = 1
    given[0, BODYPART_KEYS.index(NOT_OURS)] = 0

    correct, _ = filing_trials(np.full(given.shape, 0.5), given, [sample], 0.9)

    assert [BODYPART_KEYS[column] for column in correct.expected] == keys
