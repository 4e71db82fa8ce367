"""What a process frees stays with it, once it is told to keep it."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from inference.runtime.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(16 * 2**20, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
kept = keep_freed_memory()
faults()
print(kept, given_back, faults())
"""


@pytest.mark.slow
def test_blocks_that_are_freed_are_not_faulted_in_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    told, given_back, kept = done.stdout.split()
    if told == "False":
        pytest.skip("this C library cannot be told to")
    assert int(kept) < int(given_back) / 5
