"""Task files say everything that a training needs, and are refused whole when they do not."""

import pytest
import yaml

from audit.errors import InvalidConfiguration
from inference.training.dataset import TaskKind
from inference.training.datasets.layout import UNIFESP_CLASSES
from inference.training.shipped.labels import FINDING_KEYS
from inference.training.workbench.task import TrainingTask, read_task, shipped_tasks

SMALLEST = {"name": "some", "description": "d", "kind": "binary", "data": {"form": "folder"}}


def test_the_seed_systems_tasks_are_shipped():
    kinds = {name: read_task(name).kind for name in shipped_tasks()}

    assert kinds == {
        "pneumonia": TaskKind.BINARY,
        "organs": TaskKind.MULTI_CLASS,
        "body-parts": TaskKind.MULTI_LABEL,
        "chest-findings": TaskKind.MULTI_LABEL,
    }
    assert read_task("pneumonia").data.classes == ("NORMAL", "PNEUMONIA")
    assert read_task("body-parts").data.classes == UNIFESP_CLASSES
    assert read_task("chest-findings").classes == FINDING_KEYS


@pytest.mark.parametrize("name", sorted(shipped_tasks()))
def test_a_written_task_reads_as_it_was(name, tmp_path):
    task = read_task(name)
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump(task.document()))

    assert read_task(str(file)) == task


def test_a_value_can_be_changed_by_its_dotted_key():
    task = read_task("pneumonia", {"data.path": "chest_xray", "epochs": 3, "loss.name": "focal"})

    assert (task.data.path, task.epochs, task.loss.name) == ("chest_xray", 3, "focal")
    assert task.loss.smoothing == 0.02


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "resnet9000"}, "network must be one of"),
        ({"loss.name": "cross_entropy"}, "cross_entropy is for multi_class"),
        ({"classes": ["a", "b", "c"]}, "two classes: negative, positive"),
        ({"classes": ["a", "a"]}, "classes must differ"),
        ({"epoch": 3}, r"pneumonia.yaml: epoch: .*not permitted"),
        ({"augmentation.spin": 3}, "augmentation.spin"),
        ({"augmentation.noise": -1}, r"augmentation\.noise"),
        ({"augmentation.invert": 7}, r"augmentation\.invert"),
        ({"augmentation.zoom": [0, 0]}, r"augmentation\.zoom"),
        ({"augmentation.zoom": [1.2, 0.9]}, "the smaller factor comes first"),
        ({"seed": -1}, "seed"),
        ({"data.seed": -1}, r"data.*seed"),
        ({"data.form": "cube"}, "data"),
        ({"data.patient_pattern": "(("}, "no regular expression"),
        ({"name": "../up"}, "name"),
        ({"kind.of": "nonsense"}, r"kind\.of: the task has no such section"),
        ({"name.x.y": 1}, r"name\.x\.y: the task has no such section"),
    ],
)
def test_a_task_that_cannot_be_meant_is_refused_with_the_reason(changes, message):
    with pytest.raises(InvalidConfiguration, match=message):
        read_task("pneumonia", changes)


def test_an_unknown_task_lists_the_shipped_ones():
    with pytest.raises(InvalidConfiguration, match="body-parts, chest-findings, organs, pneu"):
        read_task("no-such-task")


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("name: [")

    with pytest.raises(InvalidConfiguration, match=r"broken\.yaml: no task file"):
        read_task(str(file))


def test_kind_and_classes_are_said_once():
    task = TrainingTask.model_validate({**SMALLEST, "classes": ["no", "yes"]})

    assert task.data.kind is TaskKind.BINARY
    assert task.data.classes == ("no", "yes")
    assert "classes" not in task.document()["data"]
