"""Labelled images are read from folders, tables and DICOM files, and split by patient."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.errors import InvalidConfiguration
from inference.pixels import GreyTransform, grey_picture
from inference.training.dataset import DataSet, TaskKind
from inference.training.datasets import UnusableData, check_filled, files, parse_layout, read
from inference.training.images import UnusableImage, read_picture
from tests.builders import chest_radiograph, part10_bytes


def draw(path: Path, grey: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 6), grey).save(path)
    return path


def table(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def dicom(path: Path, **changes: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(part10_bytes(chest_radiograph(**changes)))


def read_form(form: str, data: Path, **more: object) -> DataSet:
    return read(parse_layout({"form": form, **more}), data)


def read_to_train(form: str, data: Path, **more: object) -> DataSet:
    layout = parse_layout({"form": form, **more})
    return check_filled(read(layout, data), layout)


def splits(data: DataSet) -> Counter[str]:
    return Counter(sample.split for sample in data.samples)


def test_folders_below_train_val_and_test_keep_their_splits(tmp_path):
    for split in ("train", "val", "test"):
        for name in ("PNEUMONIA", "NORMAL"):
            draw(tmp_path / "chest" / split / name / "a.png")

    data = read_form("folder", tmp_path, path="chest")

    assert data.kind is TaskKind.BINARY
    assert data.classes == ("NORMAL", "PNEUMONIA")
    assert splits(data) == {"train": 2, "val": 2, "test": 2}
    first = data.part("val")[0]
    assert first.path == Path("val/NORMAL/a.png")
    assert first.targets == {"NORMAL": 1.0, "PNEUMONIA": 0.0}
    assert (data.root / first.path).is_file()


def test_a_class_may_be_called_valid(tmp_path):
    for name in ("invalid", "valid"):
        for number in range(10):
            draw(tmp_path / name / f"{number}.png")

    data = read_form("folder", tmp_path)

    assert data.classes == ("invalid", "valid")
    assert len(data.samples) == 20


def test_splits_whose_images_lie_in_no_class_are_refused(tmp_path):
    for name in ("train", "test", "more"):
        draw(tmp_path / name / "a.png")

    with pytest.raises(UnusableData, match="fewer than two folders of classes"):
        read_form("folder", tmp_path)


def test_plain_class_folders_are_shared_out_the_same_way_each_time_and_class_by_class(tmp_path):
    for name, count in (("bone", 60), ("brain", 20), ("heart", 20), ("lungs", 20)):
        for index in range(count):
            draw(tmp_path / name / f"{index}.png")

    data = read_form("folder", tmp_path)

    assert data.kind is TaskKind.MULTI_CLASS
    assert data == read_form("folder", tmp_path)
    assert data != read_form("folder", tmp_path, seed=1)
    for name, share in (("bone", 9), ("brain", 3), ("heart", 3), ("lungs", 3)):
        own = [s for s in data.samples if s.targets[name]]
        for split in ("val", "test"):
            assert abs(sum(s.split == split for s in own) - share) <= 1


def test_a_missing_validation_split_is_taken_from_training_alone(tmp_path):
    for name in ("a", "b"):
        for index in range(20):
            draw(tmp_path / "train" / name / f"{index}.png")
        draw(tmp_path / "test" / name / "t.png")

    data = read_form("folder", tmp_path)

    assert splits(data)["test"] == 2
    assert {s.path.parts[0] for s in data.part("val")} == {"train"}


def test_images_of_a_patient_named_in_the_file_name_stay_together(tmp_path):
    for patient in range(30):
        for image in range(4):
            draw(tmp_path / ("a" if patient % 2 else "b") / f"person{patient}_{image}.png")

    data = read_form("folder", tmp_path, patient_pattern=r"^(person\d+)_")

    groups = {split: {s.group for s in data.part(split)} for split in ("train", "val", "test")}
    assert sum(map(len, groups.values())) == 30
    assert not any("person" in s.group for s in data.samples)


def leaking(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        for patient in range(6):
            draw(tmp_path / "train" / name / f"{name}{patient}_1.png")
        draw(tmp_path / "val" / name / f"{name}5_2.png")
        draw(tmp_path / "test" / name / f"{name}5_3.png")
    return tmp_path


def test_a_patient_on_both_sides_of_a_given_split_is_refused(tmp_path):
    with pytest.raises(UnusableData, match=r"4 images of patients who are in another split"):
        read_form("folder", leaking(tmp_path), patient_pattern=r"^(\w\d)_")


def test_leaks_can_be_dropped_for_the_test_side_or_kept_to_be_looked_at(tmp_path):
    root = leaking(tmp_path)

    kept = read_form("folder", root, patient_pattern=r"^(\w\d)_", leaks="keep")
    assert splits(kept) == {"train": 12, "val": 2, "test": 2}

    with pytest.raises(UnusableData, match="the val split has no images"):
        read_to_train("folder", root, patient_pattern=r"^(\w\d)_", leaks="drop")
    dropped = read_to_train("folder", root, patient_pattern=r"^(\w\d)_", leaks="drop", val_share=0)
    assert splits(dropped) == {"train": 10, "test": 2}


def test_a_folder_that_is_no_class_is_refused_or_left_out(tmp_path):
    for name in ("a", "b", "c"):
        for index in range(9):
            draw(tmp_path / name / f"{index}.png")

    with pytest.raises(UnusableData, match="folder 'c' is none of the classes"):
        read_form("folder", tmp_path, classes=["a", "b"])
    data = read_form("folder", tmp_path, classes=["b", "a"], other_classes="ignore")
    assert data.classes == ("b", "a")
    assert len(data.samples) == 18


def test_a_folder_s_letters_may_be_larger_or_smaller_than_the_class_s(tmp_path):
    for name in ("Normal", "pneumonia"):
        for index in range(9):
            draw(tmp_path / name / f"{index}.png")

    data = read_form("folder", tmp_path, classes=["NORMAL", "PNEUMONIA"])

    assert data.classes == ("NORMAL", "PNEUMONIA")
    assert {s.path.parts[0]: s.targets["PNEUMONIA"] for s in data.samples} == {
        "Normal": 0.0,
        "pneumonia": 1.0,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no line"),
        (
            "name,labels\na.png,Mass\n",
            "no column that names the image .*columns: name, labels",
        ),
        ("file;labels\na.png;Mass\n", "with commas.* its columns: file;labels"),
        ("file,labels\na.png,No Finding\n", "no line has a label"),
    ],
)
def test_a_table_that_names_no_image_or_no_class_is_refused(tmp_path, text, said):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UnusableData, match=said):
        read_form("csv", tmp_path, kind="multi_label")


def test_too_few_patients_for_every_split_is_an_error_that_says_so(tmp_path):
    draw(tmp_path / "a" / "1.png")
    draw(tmp_path / "b" / "1.png")

    with pytest.raises(UnusableData, match="split has no images"):
        read_to_train("folder", tmp_path)


def test_a_class_without_training_images_is_an_error_of_training_alone(tmp_path):
    for split in ("train", "val", "test"):
        draw(tmp_path / split / "a" / f"{split}.png")
    draw(tmp_path / "test" / "b" / "only.png")

    assert splits(read_form("folder", tmp_path)) == {"train": 1, "val": 1, "test": 2}
    with pytest.raises(UnusableData, match="no training image shows: b"):
        read_to_train("folder", tmp_path)


def test_a_set_of_test_images_alone_is_read_but_not_trained_on(tmp_path):
    for name in ("a", "b"):
        draw(tmp_path / "test" / name / "1.png")

    assert splits(read_form("folder", tmp_path)) == {"test": 2}
    with pytest.raises(UnusableData, match="the train split has no images"):
        read_to_train("folder", tmp_path)


def nih(tmp_path: Path, **changes: str) -> Path:
    rows = []
    for index in range(40):
        name = f"{index // 2:08d}_{index % 2:03d}.png"
        draw(tmp_path / f"images_{index % 3:03d}" / "images" / name)
        labels = ("No Finding", "Mass", "Mass|Edema", "Edema")[index // 2 % 4]
        row = {"Image Index": name, "Finding Labels": labels, "Follow-up #": "0"}
        row |= {"Patient ID": str(index // 2), "Patient Age": "058Y", "Patient Gender": "F"}
        rows.append({**row, "View Position": "PA", **(changes if index == 3 else {})})
    table(tmp_path / "labels.csv", rows)
    return tmp_path


def test_the_nih_table_gives_labels_patients_and_attributes(tmp_path):
    data = read_form("csv", nih(tmp_path))

    assert data.kind is TaskKind.MULTI_LABEL
    assert data.classes == ("Edema", "Mass")
    assert len(data.samples) == 40
    third = next(s for s in data.samples if s.path.name == "00000002_000.png")
    assert third.targets == {"Edema": 1.0, "Mass": 1.0}
    assert third.attributes == {"sex": "F", "age": "58", "view": "PA"}
    split_of = {s.group: set() for s in data.samples}
    for sample in data.samples:
        split_of[sample.group].add(sample.split)
    assert len(split_of) == 20
    assert all(len(found) == 1 for found in split_of.values())


def test_the_test_list_that_comes_with_nih_is_kept(tmp_path):
    names = [f"{p:08d}_{i:03d}.png" for p in (3, 9) for i in (0, 1)]
    nih(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "labels.csv").rename(tmp_path / "meta" / "labels.csv")
    (tmp_path / "meta" / "test_list.txt").write_text("\n".join(names))

    data = read_form("csv", tmp_path, table="meta/labels.csv")

    assert sorted(s.path.name for s in data.part("test")) == names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Finding Labels": "Pneumonitis"}, "line 5: a label is none of the 2 classes"),
        ({"Image Index": "00000000_000.png"}, "line 5: .*00000000_000.png is named twice"),
    ],
)
def test_a_bad_line_of_a_table_is_named(tmp_path, change, message):
    with pytest.raises(UnusableData, match=message):
        read_form("csv", nih(tmp_path, **change), classes=["Edema", "Mass"])


def test_a_line_takes_no_image_of_another_folder(tmp_path):
    for name in ("b/0.png", "b/1.png", "train/p1/2.png"):
        draw(tmp_path / name)
    names = ["c/0.png", "b/1.png", "Set-v1/train/p1/2.png"]
    table(tmp_path / "labels.csv", [{"file": name, "A": "1", "B": "0"} for name in names])

    found = read_form("csv", tmp_path, classes=["A", "B"])

    assert [s.path.as_posix() for s in found.samples] == ["b/1.png", "train/p1/2.png"]
    assert found.missing == ("labels.csv, line 2",)


def test_files_of_no_class_are_told_and_links_are_followed(tmp_path):
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"):
        draw(root / name)
    for name in ("Holdout/a/1.png", "train/stray.png", "runs/mine/1.png"):
        draw(root / name)
    (root / "runs" / "mine" / "run.json").write_text("{}")
    (root / "train" / "a" / "2.gif").write_bytes(b"GIF89a")
    draw(elsewhere / "3.png")
    (root / "train" / "b" / "patient").symlink_to(elsewhere)
    (root / "train" / "b" / "round").symlink_to(root / "train")

    found = read_form("folder", root)

    paths = {sample.path.as_posix() for sample in found.samples if sample.split != "test"}
    assert paths == {"train/a/1.png", "train/b/1.png", "train/b/patient/3.png"}
    assert set(found.passed_over) == {"Holdout/a/1.png", "train/stray.png", "train/a/2.gif"}


def test_what_a_run_wrote_beside_the_classes_is_no_class(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        draw(tmp_path / name)
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "run.json").write_text("{}")

    assert read_form("folder", tmp_path).classes == ("a", "b")


def test_a_damaged_header_tells_nothing_and_stops_nothing(tmp_path, monkeypatch):
    def unforeseen(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(files, "dcmread", unforeseen)

    assert files.dicom_facts(tmp_path / "any.dcm") == (None, {})


def test_a_picture_is_turned_as_its_file_says(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(
        tmp_path / "turned.png", exif=exif
    )

    assert read_picture(tmp_path / "turned.png").shape == (20, 10)


@pytest.mark.parametrize(("interpretation", "left"), [(0, 1.0), (1, 0.0)])
def test_deep_greys_count_from_white_where_the_file_says_so(tmp_path, interpretation, left):
    values = np.tile(np.linspace(0, 60000, 8), (4, 1)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.tiff", tiffinfo={262: interpretation})

    assert read_picture(tmp_path / "deep.tiff")[0, 0] == pytest.approx(left, abs=1e-4)


@pytest.mark.parametrize("name", ["gone.png", "../labels.csv", ""])
def test_a_missing_image_is_named_and_stops_training_alone(tmp_path, name):
    nih(tmp_path, **{"Image Index": name})

    found = read_form("csv", tmp_path)

    assert (found.missing, len(found.samples)) == (("labels.csv, line 5",), 39)
    with pytest.raises(UnusableData, match="line 5: no such image file"):
        read_to_train("csv", tmp_path)


def test_one_column_per_class_may_leave_a_label_unknown(tmp_path):
    rows = []
    for index in range(30):
        draw(tmp_path / "images" / f"{index}.png")
        row = {"file": f"images/{index}.png", "Mass": ("1", "0", "", "-1")[index % 4]}
        split = ("train", "val", "eval")[index // 4 % 3]
        rows.append({**row, "Edema": "1.0", "patient_id": str(index), "split": split})
    table(tmp_path / "labels.csv", rows)

    data = read_form("csv", tmp_path, classes=["Mass", "Edema"])

    assert [s.targets.get("Mass") for s in data.samples[:4]] == [1.0, 0.0, None, None]
    assert data.samples[8].split == "test"


@pytest.mark.parametrize("cells", ["1,1", "0,0", "0.5,0.5", "1,", ","])
def test_an_image_of_a_task_of_one_class_shows_exactly_one(tmp_path, cells):
    draw(tmp_path / "1.png")
    draw(tmp_path / "2.png")
    (tmp_path / "labels.csv").write_text(f"file,a,b\n1.png,0,1\n2.png,{cells}\n")

    with pytest.raises(UnusableData, match="line 3: an image of this task shows exactly one class"):
        read_form("csv", tmp_path, classes=["a", "b"], kind="multi_class")
    assert len(read_form("csv", tmp_path, classes=["a", "b"]).samples) == 2


def test_the_unifesp_competition_names_classes_by_number_and_images_by_uid(tmp_path):
    rows = []
    for index in range(220):
        uid = f"1.2.3.{index}"
        draw(tmp_path / "train" / f"study{index // 5}" / f"{uid}-c.png")
        target = f"{index % 22} {(index + 1) % 22} " if index % 2 else f"{index % 22}"
        rows.append({"SOPInstanceUID": uid, "Target": target})
    table(tmp_path / "train.csv", rows)

    data = read_form("unifesp", tmp_path, table="train.csv", images="train")

    assert len(data.classes) == 22
    twenty_first = next(s for s in data.samples if s.path.name == "1.2.3.21-c.png")
    assert [k for k, v in twenty_first.targets.items() if v] == ["Abdomen", "Wrist"]

    rows[7]["Target"] = "22"
    table(tmp_path / "train.csv", rows)
    with pytest.raises(UnusableData, match="line 9: Target holds no class number 0 to 21"):
        read_form("unifesp", tmp_path, table="train.csv", images="train")


def test_dicom_files_bring_patient_sex_age_and_view_but_no_patient_number(tmp_path):
    for index in range(12):
        told = {"PatientID": f"FAKE-{index // 2}", "PatientSex": "M", "PatientAge": "007M"}
        dicom(tmp_path / ("a" if index % 4 < 2 else "b") / f"{index}.dcm", **told)

    data = read_form("folder", tmp_path, val_share=0.3, test_share=0.3)

    assert len({s.group for s in data.samples}) == 6
    assert not any("FAKE" in s.group for s in data.samples)
    assert data.samples[0].attributes == {"sex": "M", "age": "0", "view": "PA"}


def test_a_dicom_file_has_the_grey_values_that_the_node_feeds(tmp_path):
    ds = chest_radiograph(PhotometricInterpretation="MONOCHROME1")
    for keyword in ("WindowCenter", "WindowWidth"):
        if keyword in ds:
            delattr(ds, keyword)
    path = tmp_path / "1.2.3"
    path.write_bytes(part10_bytes(ds))

    stored = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
    expected = grey_picture(stored, GreyTransform(inverted=True)).display
    np.testing.assert_allclose(read_picture(path), expected, atol=1e-6)


def test_sixteen_bit_images_are_stretched_not_clipped(tmp_path):
    values = np.linspace(1000, 40000, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "deep.png")

    picture = read_picture(tmp_path / "deep.png")

    np.testing.assert_allclose(picture, (values - 1000.0) / 39000.0, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_grey_values_that_are_no_numbers_are_no_image(tmp_path, value):
    values = np.ones((8, 8), np.float32)
    values[3, 3] = value
    Image.fromarray(values).save(tmp_path / "float.tiff")

    with pytest.raises(UnusableImage, match=r"float\.tiff"):
        read_picture(tmp_path / "float.tiff")


@pytest.mark.parametrize("name", ["broken.png", "broken.dcm"])
def test_an_unreadable_image_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not an image at all")

    with pytest.raises(UnusableImage, match=name):
        read_picture(tmp_path / name)


def test_a_missing_folder_or_table_is_an_error(tmp_path):
    with pytest.raises(UnusableData, match="nowhere: no such folder"):
        read_form("folder", tmp_path, path="nowhere")
    with pytest.raises(UnusableData, match=r"labels.csv: no table"):
        read_form("csv", tmp_path)


def test_a_layout_may_not_leave_the_data_folder():
    with pytest.raises(InvalidConfiguration, match="stay inside it"):
        parse_layout({"form": "folder", "path": "../elsewhere"})
    with pytest.raises(InvalidConfiguration, match="layout"):
        parse_layout({"form": "cube"})
