"""A cv_bridge that was built for another NumPy: one line says what is used in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src"
# What NumPy 2 does when a module compiled for NumPy 1 is imported: pages on stderr, then an error.
FAKE = """
import sys
sys.stderr.write("A module that was compiled using NumPy 1.x cannot be run in\\n" * 20)
sys.stderr.write("Traceback (most recent call last):  File ...\\n")
{fail}
"""
PROGRAM = """
import embedded_ros
embedded_ros.install()
import numpy as np
from std_msgs.msg import Header
from semantic_field.nodes import conversions
image = conversions.image_message(np.arange(6, dtype=np.uint16).reshape(2, 3), "16UC1", Header())
print(conversions.image_array(image).tolist())
"""
FAILURES = {
    "ImportError": 'raise ImportError("numpy.core.multiarray failed to import")',
    "AttributeError": 'raise AttributeError("_ARRAY_API not found")',
    "it was built for another NumPy": """
class CvBridge:
    def imgmsg_to_cv2(self, message, desired_encoding="passthrough"):
        return None
""",
    "SystemError": 'raise SystemError("initialization of cv_bridge_boost raised")',
}


def run(folder: Path, first: bool) -> subprocess.CompletedProcess:
    start = "import sys; sys.path.insert(0, sys.argv[1]); import cv_bridge_first\n" if first else ""
    (folder / "cv_bridge_first.py").write_text(
        "import importlib.abc, importlib.util, sys\n"
        "class First(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cv_bridge':\n"
        "            file = sys.argv[1] + '/fake.py'\n"
        "            return importlib.util.spec_from_file_location(name, file)\n"
        "def install():\n    sys.meta_path.insert(0, First())\n"
    )
    program = PROGRAM
    if first:
        program = program.replace(
            "import numpy as np", "cv_bridge_first.install()\nimport numpy as np"
        )
    return subprocess.run(
        [sys.executable, "-c", start + program, str(folder)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("kind", FAILURES)
def test_one_line_says_what_is_used(tmp_path, kind):
    (tmp_path / "fake.py").write_text(FAKE.format(fail=FAILURES[kind]))
    done = run(tmp_path, first=True)
    assert done.stdout == "[[0, 1, 2], [3, 4, 5]]\n"
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and "NumPy" in lines[0] and kind in lines[0], done.stderr


def test_nothing_is_said_where_it_works(tmp_path):
    assert run(tmp_path, first=False).stderr == ""
