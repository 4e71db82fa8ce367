"""Outside programs that tests talk to."""

import os
import shutil

import pytest


def require(*programs: str) -> None:
    """Skip the test when a program is missing; fail it when ``REQUIRE_PEERS=1``."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    message = f"not installed: {', '.join(missing)}"
    if os.environ.get("REQUIRE_PEERS") == "1":
        pytest.fail(message)
    pytest.skip(message)
