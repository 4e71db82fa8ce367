"""Outside programs that some tests drive."""

import os
import shutil

import pytest


def require(*programs: str) -> None:
    """Skip the test when one of `programs` is not installed.

    With ``REQUIRE_PEERS=1`` in the environment (the build server's setting) the test
    fails instead, so that a missing program cannot hide a broken peer.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    message = f"not installed here: {', '.join(missing)}"
    if os.environ.get("REQUIRE_PEERS") == "1":
        pytest.fail(message)
    pytest.skip(message)
