"""Losses and learning rates against values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from inference.training.dataset import TaskKind
from inference.training.folds import balance
from inference.training.losses import one_of, positive_weights, sigmoid_loss, softmax_loss
from inference.training.workbench.objective import objective_of, rate_factor
from inference.training.workbench.task import Balance, Loss, RateSchedule, TrainingTask

NAN = float("nan")
ONE = torch.ones(1)


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_binary_cross_entropy_is_the_mean_of_minus_log_of_the_truth():
    loss = sigmoid_loss(column(logit(0.8), logit(0.3)), column(1, 0), positive_weight=ONE)

    assert float(loss) == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2, rel=1e-5)


def test_unknown_targets_count_nothing():
    loss = sigmoid_loss(column(logit(0.8), 5.0), column(1, NAN), positive_weight=ONE)

    assert float(loss) == pytest.approx(-math.log(0.8), rel=1e-5)
    assert float(sigmoid_loss(column(3.0), column(NAN), positive_weight=ONE)) == 0.0


def test_a_present_label_weighs_as_told():
    loss = sigmoid_loss(column(logit(0.8), logit(0.3)), column(1, 0), positive_weight=3 * ONE)

    assert float(loss) == pytest.approx(-(3 * math.log(0.8) + math.log(0.7)) / 2, rel=1e-5)


def test_focal_loss_fades_what_is_already_right():
    loss = sigmoid_loss(
        column(logit(0.9), logit(0.1)), column(1, 1), positive_weight=ONE, gamma=2.0
    )

    expected = -(0.1**2 * math.log(0.9) + 0.9**2 * math.log(0.1)) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_smoothing_moves_binary_targets_towards_one_half():
    loss = sigmoid_loss(column(logit(0.8)), column(1), positive_weight=ONE, smoothing=0.1)

    assert float(loss) == pytest.approx(-(0.95 * math.log(0.8) + 0.05 * math.log(0.2)), rel=1e-5)


def test_cross_entropy_is_minus_log_of_the_true_class():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]))
    targets = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])

    loss = softmax_loss(logits, targets, class_weight=torch.ones(3))
    assert float(loss) == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2, rel=1e-5)

    weighted = softmax_loss(logits, targets, class_weight=torch.tensor([1.0, 1.0, 3.0]))
    assert float(weighted) == pytest.approx(-(math.log(0.7) + 3 * math.log(0.3)) / 4, rel=1e-5)

    focal = softmax_loss(logits, targets, class_weight=torch.ones(3), gamma=2.0)
    expected = -(0.3**2 * math.log(0.7) + 0.7**2 * math.log(0.3)) / 2
    assert float(focal) == pytest.approx(expected, rel=1e-5)


def test_smoothed_cross_entropy_is_what_torch_computes():
    logits, classes = torch.randn((6, 4), generator=torch.manual_seed(1)), torch.arange(6) % 4

    ours = softmax_loss(logits, torch.eye(4)[classes], class_weight=torch.ones(4), smoothing=0.2)

    theirs = torch.nn.functional.cross_entropy(logits, classes, label_smoothing=0.2)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_extreme_logits_stay_finite_and_keep_a_gradient():
    logits = column(-80.0, 80.0).requires_grad_()

    sigmoid_loss(logits, column(1, 0), positive_weight=ONE, gamma=2.0).backward()

    assert torch.isfinite(logits.grad).all()
    assert (logits.grad.abs() > 0.1).all()


def task(kind: TaskKind, **more: object) -> TrainingTask:
    return TrainingTask.model_validate(
        {"name": "some", "description": "", "kind": kind, "data": {"form": "csv"}, **more}
    )


def test_rare_classes_weigh_more_up_to_a_limit():
    targets = np.array([[1.0]] * 1 + [[0.0]] * 99, dtype=np.float32)
    plain = task(TaskKind.MULTI_LABEL)
    capped = task(TaskKind.MULTI_LABEL, balance=Balance(weight_most=4.0))

    losses = [
        float(objective_of(t, targets, "cpu")(column(0.0), column(1.0))) for t in (plain, capped)
    ]

    assert losses == pytest.approx([math.log(2), 4 * math.log(2)], rel=1e-5)


def test_the_rarer_of_two_classes_weighs_more_whichever_it_is():
    rare = np.array([[1.0]] * 1 + [[0.0]] * 99, dtype=np.float32)
    told = task(TaskKind.BINARY, balance=Balance(weight_most=4.0))

    for targets, answer in ((rare, 1.0), (1 - rare, 0.0)):
        loss = objective_of(told, targets, "cpu")
        assert float(loss(column(0.0), column(answer))) == pytest.approx(4 * math.log(2))
        assert float(loss(column(0.0), column(1 - answer))) == pytest.approx(math.log(2))


def test_a_multi_class_task_may_still_choose_sigmoids():
    logits, targets = torch.zeros((1, 2)), torch.tensor([[1.0, 0.0]])
    ones = np.eye(2, dtype=np.float32)
    both = task(TaskKind.MULTI_CLASS, loss=Loss(name="bce"))
    single = task(TaskKind.MULTI_CLASS, loss=Loss(name="cross_entropy", smoothing=0.5))

    assert float(objective_of(both, ones, "cpu")(logits, targets)) == pytest.approx(math.log(2))
    assert float(objective_of(single, ones, "cpu")(logits, targets)) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        (RateSchedule(name="cosine", warmup_epochs=0), 0, 1.0),
        (RateSchedule(name="cosine", warmup_epochs=0), 5, 0.505),
        (RateSchedule(name="cosine", warmup_epochs=0), 10, 0.01),
        (RateSchedule(name="cosine", warmup_epochs=2), 0.95, 0.5 * (0.01 + 0.99 * 0.97787)),
        (RateSchedule(name="one_cycle"), 0, 0.01),
        (RateSchedule(name="one_cycle"), 3, 1.0),
        (RateSchedule(name="one_cycle"), 6.5, 0.505),
        (RateSchedule(name="one_cycle"), 10, 0.01),
        (RateSchedule(name="step", warmup_epochs=0, step_epochs=4), 3.9, 1.0),
        (RateSchedule(name="step", warmup_epochs=0, step_epochs=4), 4.0, 0.1),
        (RateSchedule(name="step", warmup_epochs=0, step_epochs=4), 9.0, 0.01),
    ],
)
def test_rates_follow_their_schedule(schedule, epoch, expected):
    assert rate_factor(schedule, epoch=epoch, epochs=10) == pytest.approx(expected, abs=1e-4)


def test_softmax_loss_is_the_hand_computed_one() -> None:
    logits = torch.tensor([[1.0, 2.0, 9.0], [5.0, 5.0, 5.0]])
    targets = torch.tensor([[0.0, 1.0, float("nan")], [0.0, 0.0, 0.0]])
    found = float(one_of(logits, targets, smoothing=0.1))
    share = math.exp(2) / (math.exp(1) + math.exp(2))
    assert found == pytest.approx(-(0.95 * math.log(share) + 0.05 * math.log(1 - share)), rel=1e-5)


def test_unknown_targets_do_not_count() -> None:
    logits = torch.tensor([[2.0, -1.0]])
    known = sigmoid_loss(logits, torch.tensor([[1.0, float("nan")]]), positive_weight=torch.ones(2))
    alone = sigmoid_loss(logits[:, :1], torch.tensor([[1.0]]), positive_weight=torch.ones(1))
    torch.testing.assert_close(known, alone)


def test_rare_labels_weigh_more() -> None:
    targets = np.zeros((100, 2), dtype=np.float32)
    targets[:90, 0] = 1
    targets[95:, 1] = 1
    weights = balance(targets, most=4.0)
    assert weights[0] == 1.0
    assert 1.0 < weights[99] <= 4.0
    assert positive_weights(targets, most=3.0).tolist() == [1.0, 3.0]
