"""What `evaluate` measures: curves, thresholds, tables, comparison and failures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from audit.errors import InvalidConfiguration
from inference.evaluation.measures.confusion import confusion
from inference.evaluation.measures.curves import class_curves
from inference.evaluation.measures.failures import failures
from inference.evaluation.measures.metrics import (
    average_precision,
    share_interval,
    youden_threshold,
)
from inference.evaluation.measures.operating import YOUDEN, decide, operating_points, thresholds
from inference.evaluation.measures.predictions import Predictions, probabilities_of
from inference.evaluation.measures.rivals import hold_against
from inference.evaluation.measures.scores import class_rows, summary
from inference.evaluation.reports.documents import document, write_json
from inference.evaluation.reports.evaluate import EVERY_SPLIT, MANIFEST, evaluate
from inference.training.dataset import TaskKind
from tests.predictions import drawn_predictions

BINARY, MULTI_CLASS, MULTI_LABEL = TaskKind.BINARY, TaskKind.MULTI_CLASS, TaskKind.MULTI_LABEL


def test_probabilities_that_are_no_numbers_are_refused() -> None:
    drawn = drawn_predictions(BINARY)
    odd = replace(drawn, probabilities=np.where(np.eye(len(drawn), 2), np.nan, 0.5))
    for predictions, rivals in ((odd, []), (drawn, [odd])):
        with pytest.raises(InvalidConfiguration, match="no finite numbers"):
            evaluate(predictions, rivals=rivals, rounds=2)


def test_probabilities_of_exclusive_classes_add_up_to_one_and_those_of_labels_need_not() -> None:
    logits = np.array([[2.0, 2.0, 0.0]], dtype=np.float32)
    assert probabilities_of(logits, MULTI_CLASS).sum() == pytest.approx(1)
    assert probabilities_of(logits, MULTI_LABEL)[0, 2] == 0.5


def test_curves_run_from_corner_to_corner_and_bins_hold_every_image() -> None:
    part = drawn_predictions(BINARY).part("test")
    curves = class_curves("b", part.probabilities[:, 1], part.truth[:, 1])
    assert curves is not None
    assert (curves.roc[0], curves.roc[-1]) == ((0, 0), (1, 1))
    assert curves.precision_recall[0] == (0, 1)
    assert sum(b.images for b in curves.reliability) == len(part)
    assert all(b.found_95[0] <= b.found <= b.found_95[1] for b in curves.reliability)


def test_a_class_that_every_image_shows_has_no_curves() -> None:
    assert class_curves("b", np.linspace(0, 1, 5), np.ones(5, dtype=bool)) is None


def test_the_youden_threshold_is_the_best_of_all_thresholds() -> None:
    part = drawn_predictions(BINARY).part("val")
    scores, truth = np.round(part.probabilities[:, 1], 2), part.truth[:, 1]
    index = {c: (scores[truth] >= c).mean() + (scores[~truth] < c).mean() for c in set(scores)}
    assert index[youden_threshold(scores, truth)] == pytest.approx(max(index.values()))


def test_thresholds_keep_what_they_promise_on_the_images_that_chose_them() -> None:
    part = drawn_predictions(MULTI_LABEL).part("val")
    points = operating_points(part, part)
    assert {p.label for p in points} == set(part.classes)
    for point in points:
        if point.rule.startswith("sensitivity at least"):
            assert point.sensitivity >= int(point.rule[-4:-2]) / 100
        if point.rule.startswith("specificity at least"):
            assert point.specificity >= int(point.rule[-4:-2]) / 100


def test_operating_points_are_counted_on_the_other_images() -> None:
    predictions = drawn_predictions(BINARY)
    chosen, counted = predictions.part("val"), predictions.part("test")
    (point,) = [p for p in operating_points(chosen, counted) if p.rule == YOUDEN]
    decided = counted.probabilities[:, 1] >= thresholds(chosen)[1]
    assert point.sensitivity == decided[counted.truth[:, 1]].mean()
    assert point.specificity == (~decided[~counted.truth[:, 1]]).mean()


def test_of_exclusive_classes_exactly_the_most_probable_is_decided() -> None:
    part = drawn_predictions(MULTI_CLASS)
    decided = decide(part, np.full(3, 0.99))
    assert (decided.argmax(axis=1) == part.probabilities.argmax(axis=1)).all()
    assert (decided.sum(axis=1) == 1).all()


def test_rows_and_summary_agree_with_scikit_learn() -> None:
    part = drawn_predictions(MULTI_CLASS).part("test")
    decided = decide(part, np.zeros(3))
    truth, said = part.truth.argmax(axis=1), decided.argmax(axis=1)
    rows = class_rows(part, decided, None, rounds=20)
    assert [r.sensitivity.value for r in rows] == pytest.approx(
        recall_score(truth, said, average=None)
    )
    found = summary(part, decided, rounds=20)
    assert found["all_right"].value == pytest.approx(accuracy_score(truth, said))
    assert found["macro_f1"].value == pytest.approx(f1_score(truth, said, average="macro"))
    assert found["mean_auc"].value == pytest.approx(np.mean([r.auc.value for r in rows]))
    assert all(m.low <= m.value <= m.high for m in found.values() if not np.isnan(m.low))


def test_a_share_that_no_draw_changes_has_wilsons_interval_another_measure_none() -> None:
    part = drawn_predictions(MULTI_CLASS).part("test")
    perfect = replace(part, probabilities=part.targets)
    found = summary(perfect, perfect.truth, rounds=20)
    assert (found["all_right"].low, found["all_right"].high) == share_interval(120, 120)
    assert np.isnan([found["mean_auc"].low, found["mean_average_precision"].low]).all()
    row = class_rows(perfect, perfect.truth, None, rounds=20)[0]
    assert row.sensitivity.low == share_interval(row.present, row.present)[0] < 1
    assert row.specificity.low == share_interval(120 - row.present, 120 - row.present)[0]
    assert row.precision.low == row.sensitivity.low
    assert np.isnan([row.auc.low, row.average_precision.low, row.f1.low]).all()


def test_images_that_all_show_a_class_have_no_average_precision() -> None:
    assert np.isnan(average_precision(np.array([0.2, 0.9]), np.array([True, True])))
    assert average_precision(np.array([0.2, 0.9]), np.array([False, True])) == 1.0


def test_an_unknown_label_counts_neither_for_nor_against() -> None:
    part = drawn_predictions(MULTI_LABEL).part("test")
    targets = part.targets.copy()
    targets[::2, 0] = np.nan
    hidden = replace(part, targets=targets)
    wrong = ~decide(hidden, thresholds(part))
    rows = class_rows(hidden, wrong, None, rounds=5)
    assert (rows[0].images, rows[1].images) == (len(part) - len(part) // 2, len(part))
    assert all(f.path not in part.paths[::2] or f.worst != "A" for f in failures(hidden, wrong))


def test_the_confusion_matrix_of_exclusive_classes_is_the_usual_one() -> None:
    part = drawn_predictions(MULTI_CLASS).part("test")
    decided = decide(part, np.zeros(3))
    expected = confusion_matrix(part.truth.argmax(axis=1), decided.argmax(axis=1))
    assert np.array(confusion(part, decided).counts).tolist() == expected.tolist()


def test_an_image_of_which_nothing_was_said_is_counted_as_such() -> None:
    part = drawn_predictions(MULTI_LABEL).part("test")
    found = confusion(part, np.zeros(part.truth.shape, dtype=bool))
    assert found.nothing == found.totals == tuple(part.truth.sum(axis=0))


def test_a_better_network_gains_on_a_baseline_and_none_on_itself() -> None:
    network = drawn_predictions(BINARY).part("test")
    baseline = drawn_predictions(BINARY, noise=4.0, name="baseline").part("test")
    at = np.full(2, 0.5)
    ours = decide(network, at)
    weak, same = hold_against(
        network, ours, [(baseline, decide(baseline, at)), (network, ours)], rounds=200
    )
    assert weak.gain["mean_auc"].low > 0
    assert (same.gain["mean_auc"].low, same.gain["mean_auc"].high) == (0, 0)


def test_a_baseline_in_another_order_is_compared_image_by_image() -> None:
    network = drawn_predictions(BINARY).part("test")
    turned = network.take(np.arange(len(network))[::-1][:50])
    at = np.full(2, 0.5)
    (rival,) = hold_against(network, decide(network, at), [(turned, decide(turned, at))], rounds=5)
    assert rival.images == 50
    assert all(gain.value == 0 for gain in rival.gain.values())


def test_a_classifier_of_other_images_is_not_compared() -> None:
    part = drawn_predictions(BINARY)
    ours, theirs = part.part("test"), part.part("val")
    at = np.full(2, 0.5)
    assert hold_against(ours, decide(ours, at), [(theirs, decide(theirs, at))], rounds=5) == []


def test_the_gallery_shows_wrong_answers_only_the_worst_first() -> None:
    part = drawn_predictions(MULTI_LABEL).part("test")
    decided = decide(part, np.full(3, 0.5))
    found = failures(part, decided, most=7)
    assert len(found) == 7
    assert [f.error for f in found] == sorted((f.error for f in found), reverse=True)
    assert all(set(f.truth) != set(f.said) and f.error >= 0.5 for f in found)


def test_nobody_fails_where_all_is_right() -> None:
    part = drawn_predictions(MULTI_CLASS)
    assert failures(part, part.truth) == []


@pytest.mark.parametrize("kind", list(TaskKind))
def test_an_evaluation_of_every_kind_can_be_written_as_strict_json(
    kind: TaskKind, tmp_path: Path
) -> None:
    found = evaluate(drawn_predictions(kind), rounds=10, history={"epoch": [1.0, float("nan")]})
    write_json(found, tmp_path / "deep" / "evaluation.json")
    read = json.loads((tmp_path / "deep" / "evaluation.json").read_text())
    assert read["images"] == 120
    assert read["history"]["epoch"] == [1.0, None]
    assert len(read["class_rows"]) == (1 if kind is BINARY else 3)


def test_an_evaluation_says_which_images_chose_the_thresholds() -> None:
    predictions = drawn_predictions(BINARY)
    alone = predictions.part("test")
    stated = evaluate(alone, rounds=5, fixed=np.array([0.5, 0.5]))
    assert evaluate(predictions, rounds=5).thresholds_chosen_on == "val"
    assert evaluate(alone, rounds=5).thresholds_chosen_on == "test"
    assert (stated.thresholds_chosen_on, stated.points_chosen_on) == (MANIFEST, "test")


def test_every_split_together_can_be_measured_and_chooses_its_own_thresholds() -> None:
    found = evaluate(drawn_predictions(BINARY), split=EVERY_SPLIT, rounds=5)
    assert (found.images, found.points_chosen_on) == (240, EVERY_SPLIT)


def test_equal_seeds_give_equal_evaluations() -> None:
    predictions: Predictions = drawn_predictions(MULTI_LABEL)
    first, second = (document(evaluate(predictions, rounds=10, seed=3)) for _ in range(2))
    assert first == second
    assert first != document(evaluate(predictions, rounds=10, seed=4))


def test_a_split_without_images_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="no image of the test split"):
        evaluate(drawn_predictions(BINARY).part("val"), split="test", rounds=5)
