"""``dicom-node explain``: what it prints, what it refuses, and with which exit code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.cli.main import main
from tests.models import model_folder

pytestmark = pytest.mark.slow

pytest.importorskip("captum", reason="of the extra `train`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("models"), head_bias=[0.0, 1.0])


@pytest.fixture
def image(tmp_path):
    made = tmp_path / "image.png"
    Image.fromarray(np.arange(64 * 48, dtype=np.uint8).reshape(64, 48)).save(made)
    return made


def test_json_is_one_line_for_each_image_and_label(folder, image, tmp_path, capsys):
    asked = ["explain", str(folder), str(image), str(image), "--out", str(tmp_path / "o")]

    code = main([*asked, "--label", "mass", "--method", "grad-cam,integrated-gradients", "--json"])

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [line["label"] for line in lines] == ["mass", "mass"]
    assert set(lines[0]["methods"]) == {"grad-cam", "integrated-gradients"}
    assert not (tmp_path / "o" / "explain.html").exists()


def test_a_file_without_an_image_fails_but_does_not_stop_the_rest(folder, image, tmp_path, capsys):
    absent = tmp_path / "absent.png"

    code = main(["explain", str(folder), str(absent), str(image), "--method", "grad-cam",
                 "--out", str(tmp_path / "o")])  # fmt: skip

    said = capsys.readouterr()
    assert code == 1
    assert "error: absent.png" in said.err
    assert "image.png: mass" in said.out
    assert "random order" in said.out


def test_labelled_images_are_explained_a_few_of_a_split(folder, image, tmp_path, capsys):
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for number in range(2):
                shutil.copy(image, tmp_path / "set" / split / name / f"{number}.png")
    asked = ["explain", str(folder), "--layout", "folder", "--data", str(tmp_path / "set")]
    asked += ["--method", "grad-cam", "--out", str(tmp_path / "o"), "--json"]

    assert main([*asked, "--limit", "2"]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["image"]).parts[-3:-1] for line in lines] == [("test", "a"), ("test", "b")]
    assert main([*asked, "--split", "val"]) == 3
    assert "no val images; see --split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([], "name image files, or give --task or --layout"),
        (["{image}", "--task", "pneumonia"], "name image files, or give --task or --layout"),
        (["{image}", "--limit", "3"], "--limit: with --task or --layout only"),
    ],
)
def test_images_are_named_in_one_way(*, folder, image, tmp_path, told, reason, capsys):
    named = [argument.format(image=image) for argument in told]
    assert main(["explain", str(folder), *named, "--out", str(tmp_path / "o")]) == 3
    assert reason in capsys.readouterr().err


def test_an_unknown_label_or_method_is_a_mistake_of_usage(folder, image, tmp_path, capsys):
    out = tmp_path / "o"

    assert main(["explain", str(folder), str(image), "--label", "x", "--out", str(out)]) == 2
    assert "effusion, mass" in capsys.readouterr().err
    assert main(["explain", str(folder), str(image), "--method", "x", "--out", str(out)]) == 2
    assert "kernel-shap" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    "told", [("--threads", "-1"), ("--seed", "-1"), ("--seed", "4294967296"), ("--samples", "0")]
)
def test_a_number_that_cannot_be_meant_is_a_mistake_of_usage(folder, image, tmp_path, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["explain", str(folder), str(image), "--out", str(tmp_path / "o"), *told])
    assert f"argument {told[0]}: invalid" in capsys.readouterr().err


def test_a_model_that_is_neither_a_folder_nor_installed_is_refused_with_the_names(
    image, tmp_path, capsys
):
    assert main(["explain", "no-such-model", str(image), "--out", str(tmp_path / "o")]) == 3
    assert "chest-findings" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(folder, image, capsys):
    code = main(["explain", str(folder), str(image), "--method", "grad-cam", "--out", str(image)])

    assert code == 4
    assert "cannot be written" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(folder, image, tmp_path):
    code = (
        "import sys; sys.modules['captum'] = sys.modules['captum.attr'] = None;"
        "from dicom_node.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    asked = ["explain", str(folder), str(image), "--out", str(tmp_path / "o")]

    done = subprocess.run(
        [sys.executable, "-c", code, *asked], check=False, capture_output=True, text=True
    )

    assert done.returncode == 4
    assert "pip install '.[train]'" in done.stderr
