"""Type annotations of the three packages say what is so."""

import subprocess
import sys

from tests.support.paths import ROOT


def test_the_type_checker_finds_nothing():
    """What it checks stands in pyproject.toml."""
    found = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
