"""Pseudonyms: the same for the same patient, worthless without the key."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from audit.pseudonym import BrokenKey, Pseudonyms, open_key

KEY = bytes(range(32))


def test_a_pseudonym_is_hmac_sha256_of_kind_issuer_and_number() -> None:
    expected = hmac.new(KEY, b"patient\x00HOSP\x0077", hashlib.sha256).hexdigest()

    assert Pseudonyms(KEY).patient("77", "HOSP") == expected


def test_other_numbers_issuers_kinds_and_keys_have_other_pseudonyms() -> None:
    ours = Pseudonyms(KEY)

    made = {
        ours.patient("77"),
        ours.patient("78"),
        ours.patient("77", "HOSP"),
        ours.accession("77"),
        Pseudonyms(KEY[::-1]).patient("77"),
    }

    assert len(made) == 5


def test_an_absent_number_has_no_pseudonym() -> None:
    assert Pseudonyms(KEY).patient("", "HOSP") == ""
    assert Pseudonyms(KEY).accession("") == ""


def test_a_short_key_is_refused() -> None:
    with pytest.raises(BrokenKey):
        Pseudonyms(b"short")


def test_a_key_file_is_made_once_for_its_owner_only_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "pseudonym.key"

    first = open_key(path).patient("77")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_key(path).patient("77") == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["pseudonym.key"]


def test_two_new_nodes_have_different_keys(tmp_path: Path) -> None:
    one, two = open_key(tmp_path / "a"), open_key(tmp_path / "b")

    assert one.patient("77") != two.patient("77")


@pytest.mark.parametrize("content", ["", "not hex", "abcd", "00" * 31])
def test_a_damaged_key_file_is_refused_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pseudonym.key"
    path.write_text(content)

    with pytest.raises(BrokenKey):
        open_key(path)

    assert path.read_text() == content


def test_a_key_file_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenKey):
        open_key(tmp_path / "absent" / "pseudonym.key")
