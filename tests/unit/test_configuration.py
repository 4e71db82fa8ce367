"""The configuration is validated whole, and its page is what the code says."""

from pathlib import Path
from typing import Any

import pytest

from audit.errors import InvalidConfiguration
from dicom_node.config.accession import AcceptAction
from dicom_node.config.describe import describe
from dicom_node.config.load import load, validate
from tests.nodes import dimse_pacs

ROOT = Path(__file__).resolve().parents[2]


def test_the_shipped_configuration_is_valid() -> None:
    settings = load(ROOT / "config.yaml")

    assert settings.routes[0].destinations == ("pacs",)
    assert settings.database_url.endswith("node-data/node.db")


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(InvalidConfiguration) as failure:
        validate(
            {
                "dimse": {"ae_title": "", "prot": 1, "port": True},
                "destinations": [{"kind": "dimse", "name": "pacs", "host": "h", "port": 1}],
            }
        )

    assert sorted(failure.value.problems) == [
        "destinations.0.dimse.ae_title: is required",
        "dimse.ae_title: must be a valid AE value (PS3.5 Section 6.2)",
        "dimse.port: input should be a valid integer",
        "dimse.prot: unknown key",
    ]


def test_a_route_to_nowhere_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="unknown destination 'pacs'"):
        validate({"routes": [{"name": "r", "destinations": ["pacs"]}]})


@pytest.mark.parametrize("routes", [[], [{"name": "kept-here", "destinations": []}]])
def test_correcting_with_nowhere_to_send_to_is_refused(routes: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidConfiguration, match=r"accession\.on_accept .* no destination"):
        validate({"accession": {"on_accept": "correct"}, "routes": routes})


@pytest.mark.parametrize("by", ["route", "name"])
def test_correcting_goes_where_reports_go_or_where_it_is_told(by: str) -> None:
    routes = [{"name": "r", "destinations": ["pacs"]}] if by == "route" else []
    accession = {"correction_destinations": ["pacs"]} if by == "name" else {}
    settings = validate(
        {
            "destinations": [dimse_pacs(11112)],
            "routes": routes,
            "accession": {"on_accept": "correct", **accession},
        }
    )
    assert settings.accession.on_accept is AcceptAction.CORRECT


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "is not valid YAML at line 1"),
        ("- 1", "must be a mapping of sections"),
        ("log: {level: loud}", "log.level: input should be"),
        ("dimse: {port: 1}\nlog: {}\ndimse: {}\n", "line 3: dimse is there already, at line 1"),
        ("dimse:\n  port: 1\n  port: 2\n", "line 3: port is there already, at line 2"),
        ("# gr\xfcn\n# Gr\xfc\xdfe\n".encode("latin-1"), "line 1 is not UTF-8"),
        (
            "routes: [{name: a, match: {description_pattern: '(chest'}}]",
            r"routes\.0\.match\.description_pattern: is no regular expression",
        ),
    ],
)
def test_a_bad_file_is_explained(tmp_path: Path, text: str | bytes, problem: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(InvalidConfiguration, match=problem):
        load(path)


def test_a_mapping_may_be_lent_to_several(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "destinations:\n"
        "- &pacs {kind: dimse, name: one, host: a, port: 104, ae_title: A}\n"
        "- {<<: *pacs, name: two}\n"
    )
    assert [d.name for d in load(path).destinations] == ["one", "two"]


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "url", ["http://pacs:abc/x", "http://pacs:99999", "http://[::1/x", "https://", "http://a..b"]
)
def test_an_address_that_names_no_machine_is_refused(url: str) -> None:
    with pytest.raises(InvalidConfiguration) as failure:
        validate({"destinations": [{"kind": "stow", "name": "pacs", "url": url}]})
    assert failure.value.problems == [
        "destinations.0.stow.url: must name a machine, and a port at most"
    ]


@pytest.mark.parametrize("host", ["", " ", "pacs..local", "x" * 64 + ".local"])
def test_a_host_that_no_resolver_can_be_asked_for_is_refused(host: str) -> None:
    peer = {"host": host, "port": 104, "ae_title": "PACS"}
    with pytest.raises(InvalidConfiguration) as failure:
        validate({"destinations": [{"kind": "dimse", "name": "pacs", **peer}], "worklist": peer})
    assert sorted(failure.value.problems) == [
        "destinations.0.dimse.host: must be the name or the address of a machine",
        "worklist.host: must be the name or the address of a machine",
    ]


def test_no_problem_repeats_a_value() -> None:
    with pytest.raises(InvalidConfiguration) as failure:
        validate({"database": {"url": 5, "pool_size": "hunter2"}, "secret": "hunter2"})

    assert "hunter2" not in str(failure.value)


def test_the_documentation_is_what_the_settings_say() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == describe()


def test_the_documentation_lists_the_words_that_a_key_takes() -> None:
    rows = {line.split("|")[1].strip(): line for line in describe().splitlines() if "|" in line}
    assert "One of `notify`, `correct`." in rows["`on_accept`"]
    assert "Some of `P`, `T`, `D`." in rows["`processing_ids`"]
    assert rows["`profile`"].count("`ihe-air`") == 1  # the description names both already
