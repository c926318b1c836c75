"""The `fairuse` command, run as people run it."""

import subprocess
import sys


def fairuse(*arguments, cwd=None):
    command = [sys.executable, "-m", "streams", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=99, check=False, cwd=cwd)


def assert_one_sentence(result, code, *words):
    assert code == result.returncode, result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
