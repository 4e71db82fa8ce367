"""What the other tests lean on: nothing that is missing goes unnoticed on the build server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data import data_dir
from tests.peers import require


@pytest.mark.parametrize("ask", [data_dir, lambda: require("no-such-program")])
def test_what_is_missing_skips_a_test_and_fails_it_where_it_is_required(
    ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XRAY_DATA", str(tmp_path / "absent"))
    monkeypatch.delenv("REQUIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception):
        ask()

    monkeypatch.setenv("REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception):
        ask()
