"""Networks trained alone that answer together, and what of their answers is reported."""

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.architectures import build
from inference.evaluation.shipped.heldout import several_findings
from inference.manifest import Label
from inference.training.samples import Sample
from inference.training.shipped.chest_labels import FEWEST, with_reporting
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.shipped.options import Member, Options, members_of, parse_options
from inference.training.shipped.run import Trained, together


def told(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Options:
    monkeypatch.setattr("sys.argv", ["train", *arguments])
    return parse_options(
        "x", model="x", members="resnet18:0", size=64, epochs=1, variants=1, version="0.0.1"
    )


def test_members_are_named_with_what_they_keep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    members = "mobilenet_v2:7,efficientnet_lite0:6"
    options = told(monkeypatch, "--members", members, "--data", str(tmp_path))
    assert options.members == (Member("mobilenet_v2", 7), Member("efficientnet_lite0", 6))
    assert build(options.architecture, 2).head.in_features == 2560
    assert members_of(",".join(map(str, options.members))) == options.members


def test_a_processor_that_is_not_there_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        told(monkeypatch, "--device", "cuda")
    assert ended.value.code == 2
    assert "there is no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "value", "reason"),
    [
        ("--version", "1.0", "a version is three numbers"),
        ("--epochs", "0", "0 is less than 1"),
        ("--variants", "0", "0 is less than 1"),
        ("--threads", "-1", "-1 is less than 1"),
        ("--size", "8", "8 is less than 32"),
        ("--data", "nowhere", "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_is_begun(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argument: str,
    value: str,
    reason: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        told(monkeypatch, argument, value)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("vgg:1", "NAME:N"),
        ("mobilenet_v2", "NAME:N"),
        ("mobilenet_v2:-1", "NAME:N"),
        ("mobilenet_v2:7,", "NAME:N"),
        ("mobilenet_v2:20", "at most 19 stages"),
        ("resnet18:1", "at most 0 stages"),
        ("mobilenet_v2:7,small_cnn:0", "maps of one size"),
    ],
)
def test_a_member_that_cannot_be_is_refused(text: str, reason: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=reason):
        members_of(text)


def test_together_the_members_say_the_mean_of_what_each_said() -> None:
    torch.manual_seed(4)
    logits = np.random.default_rng(4).normal(size=(2, 6, 3)).astype(np.float32)
    alone = [
        Trained(
            network=build("resnet18", 3).eval(),
            logits=logits[i],
            disguised=logits[i] + 1,
            commits=(f"commit{i}",),
        )
        for i in range(2)
    ]

    joined = together(alone)

    np.testing.assert_allclose(joined.logits, logits.mean(axis=0))
    np.testing.assert_allclose(joined.disguised, logits.mean(axis=0) + 1)
    assert joined.commits == ("commit0", "commit1")
    assert joined.members == tuple(alone)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        each = [member.network(images)[0] for member in alone]
        torch.testing.assert_close(joined.network(images)[0], torch.stack(each).mean(dim=0))


def test_images_with_several_findings_are_told_from_the_others() -> None:
    def sample(*present: str) -> Sample:
        targets = {key: float(key in present) for key in FINDING_KEYS}
        return Sample(path=Path("x"), targets=targets, group="", source="nih")

    samples = [sample(), sample("Mass"), sample("Mass", "Edema"), sample(*FINDING_KEYS)]
    assert several_findings(samples).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("low", "unseen_low", "unseen_present", "reason"),
    [
        (0.70, 0.66, FEWEST, None),
        (0.64, 0.70, FEWEST, "on the held-out images is 0.64, below 0.65"),
        (0.70, 0.61, FEWEST, "with several findings is 0.61, below 0.65"),
        (0.60, 0.61, FEWEST, "on the held-out images is 0.60, below 0.65"),
        (0.70, math.nan, FEWEST, "with several findings is nan, below 0.65"),
        (0.70, 0.70, FEWEST - 1, f"only {FEWEST - 1} held-out images"),
    ],
)
def test_a_finding_is_reported_where_both_intervals_lie_high_enough(
    low: float, unseen_low: float, unseen_present: int, reason: str | None
) -> None:
    def part(lowest: float, present: int) -> dict[str, object]:
        return {"findings": {"Mass": {"auc_95": [lowest, 0.9], "present": present}}}

    held_out = {**part(low, 99), "unseen": part(unseen_low, unseen_present)}
    label = with_reporting(Label(key="Mass", role="finding"), held_out)

    assert label.reported == (reason is None)
    assert (label.not_reported_because is None) == (reason is None)
    assert reason is None or reason in str(label.not_reported_because)
