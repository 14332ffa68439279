"""Links and file names in README.md and docs/ lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "semantic_field"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Where a file that a page names may lie: the pages write `field/model.py`, not the whole path.
FOLDERS = [ROOT, SOURCES, ROOT / "src" / "embedded_ros", ROOT / "launch", ROOT / "src"]
OF_OTHERS = {"rs_launch.py", "my.launch.py"}  # another package's, and a file of the reader's
WORKSPACE = "src/semantic_field/"  # of the sources, and of the repository in a ROS 2 workspace
LINK = re.compile(r"\]\(([^)\s]+)\)")
PYTHON_FILE = re.compile(r"[\w./]*\w\.py\b")
FOLDER_OR_MODULE = re.compile(r"`((?:\w+/)+)`")
DOTTED = re.compile(r"`(semantic_field(?:\.\w+)+)`")
FENCE = re.compile(r"```.*?```", re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[`*]|\]\(.*?\)|\[", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def is_there(name: str) -> bool:
    """Whether a file that a page names exists."""
    name = name.lstrip("./").removeprefix(WORKSPACE)
    return any((folder / name).exists() for folder in FOLDERS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue  # another site
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_files_that_a_page_names_exist(page: Path) -> None:
    named = set(PYTHON_FILE.findall(page.read_text(encoding="utf-8")))
    unknown = {name for name in named if Path(name).name not in OF_OTHERS and not is_there(name)}
    assert not unknown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_folders_and_modules_of_the_library_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    rooms = {path.name for path in SOURCES.iterdir() if path.is_dir()}
    folders = [name for name in FOLDER_OR_MODULE.findall(text) if name.split("/")[0] in rooms]
    modules = [name.split(".")[1:] for name in DOTTED.findall(text)]
    missing = [name for name in folders if not (SOURCES / name).is_dir()]
    for parts in modules:  # the last part may be a name inside the module
        paths = [SOURCES.joinpath(*parts), SOURCES.joinpath(*parts).with_suffix(".py")]
        paths.append(SOURCES.joinpath(*parts[:-1]).with_suffix(".py"))
        if not any(path.exists() for path in paths):
            missing.append(".".join(parts))
    assert not missing


def test_the_picture_names_files_and_folders_that_exist() -> None:
    picture = (ROOT / "docs" / "images" / "architecture.svg").read_text(encoding="utf-8")
    named = re.findall(r">(\w+/[\w/]*(?:\.py)?)<", picture)
    assert len(named) > 15
    assert not {name for name in named if not is_there(name)}


def test_the_checks_see_what_they_look_for() -> None:
    """What is looked for occurs, so that a changed spelling cannot empty the checks."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert len(LINK.findall(text)) > 50
    assert len(PYTHON_FILE.findall(text)) > 50
    assert "field/views/" in FOLDER_OR_MODULE.findall(text)
    assert not is_there("mapping/no_such_module.py")
    assert "what-goes-in-what-comes-out" in anchors(ROOT / "README.md")
