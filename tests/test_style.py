"""What a machine can check of the style, it checks."""

import subprocess
import sys

from tests.support.paths import ROOT


def test_the_linter_finds_nothing():
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
