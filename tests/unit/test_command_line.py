"""The command line as a whole: what it offers, and that it loads no more than it needs."""

import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from audit.entries import RecordKind
from audit.store import AuditFilter, query
from dicom_node.bootstrap_data import open_database
from dicom_node.cli import main as command_line
from dicom_node.config.load import load
from inference.orders import PatientKey
from storage.engine import migrate
from storage.schema import upgrade
from storage.session import Database
from storage.states import JobState
from storage.unmapped import note_texts
from tests.filings import add_job, filed
from tests.reconciling import Bench, order

HEAVY = ("torch", "openvino", "fastapi", "pynetdicom", "highdicom", "scipy")


def commands() -> list[str]:
    """Return every module beside `main` that registers a command."""
    folder = Path(command_line.__file__).parent
    return sorted(path.stem for path in folder.glob("*.py") if "def register(" in path.read_text())


def usage(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        command_line.main(words)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = usage(capsys, "--help")
    assert code == 0
    assert sorted(re.findall(r"^ {4}(\w+)", out, re.MULTILINE)) == commands()


@pytest.mark.parametrize("name", commands())
def test_every_command_has_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = usage(capsys, name, "--help")
    assert code == 0
    assert out.startswith(f"usage: dicom-node {name} ")


def test_an_unknown_command_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = usage(capsys, "adit", "list")
    assert code == command_line.EXIT_USAGE
    assert all(name in err for name in commands())


@pytest.mark.parametrize("words", [["--help"], ["audit", "--help"], ["studies", "--help"]])
def test_looking_loads_neither_networks_nor_servers(words: list[str]) -> None:
    code = (
        "import json, sys\n"
        "from dicom_node.cli.main import build_parser\n"
        f"build_parser({words!r})\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(json.loads(ran.stdout))


@pytest.mark.parametrize(
    "words",
    [
        ["studies"],
        ["jobs", "list"],
        ["jobs", "redrive", "deliver:1:pacs"],
        ["accession", "list"],
        ["accession", "unmapped"],
        ["accession", "accept", "1"],
        ["audit", "list"],
        ["audit", "show", "1"],
        ["audit", "verify"],
    ],
    ids=" ".join,
)
def test_a_store_that_no_node_has_made_is_told_and_left_unmade(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Such as when the command is run in another folder than the node."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DICOM_NODE_CONFIG", raising=False)
    assert command_line.main(words) == command_line.EXIT_UNAVAILABLE
    assert "the database has no tables: `dicom-node serve` makes them" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_has_no_tables_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node-data").mkdir()
    (tmp_path / "node-data" / "node.db").touch()
    assert command_line.main(["studies"]) == command_line.EXIT_UNAVAILABLE
    assert "the database has no tables" in capsys.readouterr().err


def test_brackets_and_colons_in_a_strangers_text_are_printed_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"storage: {{root: {tmp_path / 'node'}, minimum_free_bytes: 0}}\n")
    monkeypatch.setenv("COLUMNS", "200")
    assert command_line.main(["db", "upgrade", "--config", str(config)]) == 0
    with open_database(load(config)) as database:
        migrate(database)
        bench = Bench(database, tmp_path / "files")
        tags = {"AccessionNumber": "A[/1]", "PatientID": "P[/2]", "StudyDescription": "XR KNEE"}
        bench.book.keep((order("B[/3]", "ANKLE", patient=PatientKey(patient_id="P[/2]")),))
        bench.check(bench.image("ANKLE", **tags))
        with database.transaction() as connection:
            note_texts(connection, [("StudyDescription", "Gadget [ap/lat] :smile:")])
    capsys.readouterr()

    for words, told in (
        (["accession", "list"], "A[/1]"),
        (["accession", "show", "1"], "B[/3]"),
        (["accession", "unmapped"], "Gadget [ap/lat] :smile:"),
        (["studies"], "P[/2]"),
        (["jobs", "list"], "notify:1:open:webhook"),
    ):
        assert command_line.main([*words, "--config", str(config)]) == 0
        assert told in capsys.readouterr().out


def test_a_person_redrives_and_discards_parked_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each key once, and in the name of an account that may have none, as in a container."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DICOM_NODE_CONFIG", raising=False)
    monkeypatch.setattr(getpass, "getuser", nobody)
    (tmp_path / "node-data").mkdir()
    database = Database(f"sqlite:///{tmp_path}/node-data/node.db", pool_size=2)
    migrate(database)
    upgrade(database)
    study_id = filed(database).study_id
    with database.transaction() as connection:
        for key in ("analyse:1", "analyse:2"):
            add_job(connection, key, study_id, JobState.PARKED)

    def said(*words: str) -> tuple[int, list[str]]:
        code = command_line.main(["jobs", *words])
        return code, capsys.readouterr().out.splitlines()

    assert said("redrive", "analyse:1", "analyse:1") == (0, ["analyse:1: re-driven"])
    assert said("discard", "--dry-run", "analyse:2") == (0, ["analyse:2: would be discarded"])
    assert said("discard", "analyse:1", "analyse:2") == (
        1,
        ["analyse:1: is not parked", "analyse:2: discarded"],
    )
    assert said("redrive", "--all-parked") == (0, ["nothing is parked"])
    assert command_line.main(["audit", "verify"]) == 0
    with database.reading() as connection:
        records = list(query(connection, AuditFilter()))
    changes = [row.body for row in records if row.kind is RecordKind.JOB_CHANGED]
    assert [(body["job_key"], body["outcome"]) for body in changes] == [
        ("analyse:1", "redriven"),
        ("analyse:2", "discarded"),
    ]
    assert {row.body["actor"] for row in records} == {f"uid:{os.getuid()}"}
    database.close()


def nobody() -> str:
    raise KeyError("getpwuid(): uid not found")
