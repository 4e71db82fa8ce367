"""The real images, which live outside the repository."""

import os
from pathlib import Path

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared" / "data"


def data_dir() -> Path:
    """Return the folder of real images, or skip the test where there is none.

    ``XRAY_DATA`` names it; otherwise ``../shared/data`` beside the repository is tried. With
    ``REQUIRE_PEERS=1`` in the environment the test fails instead, as in `tests.peers`.
    """
    named = os.environ.get("XRAY_DATA")
    folder = Path(named) if named else _BESIDE_THE_REPOSITORY
    if not folder.is_dir():
        message = "the real images are not here (set XRAY_DATA to their folder)"
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return folder
