"""The package as ROS 2 and pip see it: manifest, install rules, wheel, documentation."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from catkin_pkg.package import InvalidPackage, parse_package, parse_package_string

from semantic_field import cli

ROOT = Path(__file__).resolve().parents[2]
NODES = ROOT / "src" / "semantic_field" / "nodes"
EMBEDDED = ROOT / "src" / "embedded_ros"
EXECUTABLES = (
    "inference_node",
    "mapping_node",
    "query_node",
    "replay_node",
    "scorer_node",
    "single_process",
)
INTERFACES = sorted(
    str(path.relative_to(ROOT))
    for folder, kind in (("msg", "msg"), ("srv", "srv"))
    for path in (ROOT / folder).glob(f"*.{kind}")
)
# Where Debian's ament-cmake and rosidl-cmake packages put themselves.
DEBIAN_AMENT = [
    Path(f"/usr/share/{name}/cmake") for name in ("ament_cmake", "rosidl_cmake", "rosidl_adapter")
]


@pytest.fixture(scope="module")
def manifest():
    return parse_package(str(ROOT / "package.xml"))


@pytest.fixture(scope="module")
def cmake_lists() -> str:
    return (ROOT / "CMakeLists.txt").read_text()


def referenced_packages() -> set[str]:
    """Packages whose messages the interface files use."""
    text = "\n".join((ROOT / name).read_text() for name in INTERFACES)
    return set(re.findall(r"^(\w+)/\w+", text, flags=re.MULTILINE))


# --- package.xml ---------------------------------------------------------------------------------


def test_manifest_passes_the_checks_of_the_ros_tools(manifest):
    manifest.validate()
    assert manifest.get_build_type() == "ament_cmake"
    assert manifest.licenses == ["Apache-2.0"]
    assert [group.name for group in manifest.member_of_groups] == ["rosidl_interface_packages"]


def test_the_check_of_the_manifest_can_fail():
    text = (ROOT / "package.xml").read_text().replace("semantic-field@example.org", "nobody")
    with pytest.raises(InvalidPackage, match=r"[Ee]mail"):
        parse_package_string(text).validate()


def test_build_and_run_dependencies_cover_the_interfaces(manifest):
    assert referenced_packages() == {"geometry_msgs", "sensor_msgs", "std_msgs"}
    for wanted in referenced_packages():
        assert wanted in {d.name for d in manifest.build_depends}
        assert wanted in {d.name for d in manifest.exec_depends}


# Which ROS package brings a Python module, where that is not the package of the same name.
BROUGHT_BY = {"tf2_ros": "tf2_ros_py"}  # tf2_ros itself is C++
# Of package.xml, but no import: run time of the interfaces, and the commands that the docs use.
NOT_IMPORTED = {"rosidl_default_runtime"} | {
    f"ros2{verb}" for verb in ("launch", "lifecycle", "node", "param", "run", "service", "topic")
}
# What the docs run besides, and a robot need not have: its Debian packages stand in install.md.
ON_REQUEST = {"bag": "ros2bag", "tf2_ros": "tf2-ros", "tf2_tools": "tf2-tools"}


def of_ros(names: set[str]) -> set[str]:
    """Those of the top-level modules that a ROS 2 installation brings."""
    from embedded_ros.definitions import has_interfaces

    served = {path.parent.name for path in (EMBEDDED / "packages").glob("*/__init__.py")}
    return {n for n in names - {"semantic_field"} if n in served or has_interfaces(n)}


def ros_modules() -> set[str]:
    """What nodes, launch files and scripts import of ROS 2."""
    folders = (NODES, ROOT / "launch", ROOT / "scripts")
    return of_ros(imported_names([path for folder in folders for path in folder.rglob("*.py")]))


def test_every_ros_package_that_is_imported_is_a_dependency_and_no_other(manifest):
    declared = {d.name for d in manifest.exec_depends if not d.name.startswith("python3-")}
    imported = {BROUGHT_BY.get(name, name) for name in ros_modules()}
    assert {"rclpy", "sensor_msgs", "launch", "tf2_ros_py"} <= imported
    assert declared - NOT_IMPORTED == imported


def test_every_import_is_the_standard_librarys_ros_s_or_pips():
    files = [*(ROOT / "src" / "semantic_field").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    known = set(sys.stdlib_module_names) | {"semantic_field", "embedded_ros"} | ros_modules()
    pip = {"torch", "numpy", "numba", "llvmlite", "scipy", "skimage", "cv2", "matplotlib", "yaml"}
    pip |= {"torchmetrics", "safetensors", "jaxtyping", "rich", "tokenizers", "huggingface_hub"}
    pip |= {"open_clip", "transformers", "rosbags", "triton", "tinycudann"}
    pip |= {"backports", "compression"}  # zstd, before Python 3.14 and since
    assert imported_names(files) <= known | pip


def test_the_commands_of_the_docs_are_dependencies_or_named_in_install_md(manifest):
    texts = [(ROOT / page).read_text() for page in PAGES]
    texts += [path.read_text() for path in (ROOT / "scripts").glob("*.sh")]
    commands = set(re.findall(r"\bros2 (?:run )?([a-z]\w+) ", "\n".join(texts)))
    assert {"launch", "service", "bag", "tf2_ros"} <= commands
    declared = {d.name for d in manifest.exec_depends}
    missing = {c for c in commands - {"semantic_field"} if f"ros2{c}" not in declared}
    assert missing <= set(ON_REQUEST), f"add ros2<command> to package.xml: {missing}"
    install = (ROOT / "docs" / "install.md").read_text()
    for name in missing:
        assert f"ros-$ROS_DISTRO-{ON_REQUEST[name]}" in install


def imported_names(files: list[Path]) -> set[str]:
    """Top-level names that the modules import."""
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found


# --- CMakeLists.txt ------------------------------------------------------------------------------


def test_cmake_names_every_interface_file_and_no_other(cmake_lists):
    assert sorted(re.findall(r"^\s+((?:msg|srv)/\w+\.\w+)$", cmake_lists, re.M)) == INTERFACES


def test_cmake_finds_what_the_interfaces_use(cmake_lists):
    (names,) = re.findall(r"DEPENDENCIES ([\w ]+)\n", cmake_lists)
    assert set(names.split()) == referenced_packages()
    for name in names.split():
        assert f"find_package({name} REQUIRED)" in cmake_lists


@pytest.mark.parametrize("name", EXECUTABLES)
def test_node_scripts_can_be_executed(name):
    path = NODES / f"{name}.py"
    assert path.read_text().startswith("#!/usr/bin/env python3\n")
    assert path.stat().st_mode & 0o111 == 0o111, f"chmod +x {path} and commit it"


def test_no_subpackage_hides_the_generated_ones():
    for name in ("msg", "srv", "action"):
        assert not (ROOT / "src" / "semantic_field" / name).exists()
    assert not (ROOT / "setup.cfg").exists()


@pytest.fixture(scope="module", params=["copied", "symlinked"])
def installed(request, tmp_path_factory) -> Path:
    """What colcon build (--symlink-install) installs; only its Python generator is a stand-in."""
    if shutil.which("cmake") is None or not all(path.is_dir() for path in DEBIAN_AMENT):
        pytest.skip("needs cmake and Debian's packages ament-cmake and rosidl-cmake")
    folder = tmp_path_factory.mktemp(request.param)
    for name in referenced_packages():
        (folder / "found" / name).mkdir(parents=True)
        (folder / "found" / name / f"{name}Config.cmake").touch()
    build, prefix = folder / "build", folder / "install"
    options = {
        "CMAKE_INSTALL_PREFIX": prefix,
        "CMAKE_PREFIX_PATH": f"{folder / 'found'};{ROOT / 'test' / 'cmake'}",
        "Python3_EXECUTABLE": "/usr/bin/python3",  # the one that Debian's ament belongs to
        "AMENT_CMAKE_SYMLINK_INSTALL": int(request.param == "symlinked"),
    }
    command = ["cmake", "-S", ROOT, "-B", build, *(f"-D{k}={v}" for k, v in options.items())]
    for step in (command, ["cmake", "--build", build], ["cmake", "--install", build]):
        done = subprocess.run(step, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return prefix


def python_dir(prefix: Path) -> Path:
    (found,) = prefix.glob("lib/python3*/*-packages")
    return found


def test_installed_sources_and_generated_messages_are_one_package(installed):
    probe = (
        "import semantic_field, semantic_field.geometry, semantic_field.msg, semantic_field.srv;"
        "print(semantic_field.msg.FieldStatus.__name__, semantic_field.srv.Query.__name__);"
        "print(semantic_field.__doc__)"
    )
    environment = {"PYTHONPATH": str(python_dir(installed)), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, env=environment, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("FieldStatus Query\nA live semantic neural field")


def test_installed_sources_are_complete(installed):
    for package in ("semantic_field", "embedded_ros"):
        source, target = ROOT / "src" / package, python_dir(installed) / package
        modules = {path.relative_to(source) for path in source.rglob("*.py")}
        assert modules
        assert {m for m in modules if not (target / m).is_file()} == set()


def test_installed_executables_launch_files_and_interfaces(installed):
    for name in EXECUTABLES:
        path = installed / "lib" / "semantic_field" / name
        assert path.read_text() == (NODES / f"{name}.py").read_text()
        assert path.stat().st_mode & 0o111 == 0o111
    share = installed / "share" / "semantic_field"
    for folder in ("launch", "config"):
        files = {p.name for p in (ROOT / folder).iterdir() if p.is_file()}
        assert files <= {p.name for p in (share / folder).iterdir()}
    for name in (*INTERFACES, "package.xml"):
        assert (share / name).is_file()
    # The real adapter read every definition: a line it does not understand would have stopped it.
    assert (share / "srv" / "Query.idl").read_text().count("struct Query_") == 2


# --- pip -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory) -> Path:
    """A virtual environment with the wheel in it; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "msg", "srv", "launch", "config"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    for name in (
        "package.xml",
        "setup.py",
        "requirements.txt",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, tree])
    run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"])
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    run([*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", site, wheel])
    # Appended to the path as it is, so an editable install over there is not seen.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    shutil.rmtree(tree)
    return python


def run(command: list) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


WEIGHTS = Path("semantic_field/generalizable/weights")


def shipped_files() -> set[str]:
    """Model card and weights in the repository."""
    found = {path.name for path in (ROOT / "src" / WEIGHTS).iterdir() if path.is_file()}
    assert "README.md" in found
    return found


def test_installed_weights(installed):
    names = {path.name for path in (python_dir(installed) / WEIGHTS).iterdir()}
    assert shipped_files() <= names


@pytest.mark.embedded_only("the wheel is for machines without ROS 2")
def test_wheel_brings_weights(fresh_python):
    probe = (
        "from semantic_field.generalizable.training.weight_files import shipped_weights;"
        "from importlib import resources as r;"
        "f = r.files('semantic_field') / 'generalizable' / 'weights';"
        "print(*(p.name for p in f.iterdir()));"
        "print(*(p.name for p in shipped_weights().values()))"
    )
    files, weights = run([fresh_python, "-c", probe]).split("\n")[:2]
    assert shipped_files() <= set(files.split())
    assert set(weights.split()) == {n for n in shipped_files() if n.endswith(".safetensors")}


@pytest.mark.embedded_only("the wheel is for machines without ROS 2")
def test_wheel_finds_its_launch_files_and_interfaces(fresh_python):
    probe = (
        "import embedded_ros; embedded_ros.install();"
        "from ament_index_python.packages import get_package_share_directory as share;"
        "from semantic_field.srv import Query;"
        "from std_srvs.srv import Trigger;"
        "print(share('semantic_field')); print(Query.Request(text='mug').text)"
    )
    share, text = run([fresh_python, "-c", probe]).splitlines()
    assert text == "mug"
    assert fresh_python.parents[1] in Path(share).parents
    for folder in ("launch", "config"):
        files = {p.name for p in (ROOT / folder).iterdir() if p.is_file()}
        assert files == {p.name for p in (Path(share) / folder).iterdir() if p.is_file()}


def test_every_package_of_pip_that_is_imported_is_a_requirement():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = {canonical(re.split(r"[<>=~!]", n)[0]) for n in lines if n and n[0] != "#"}
    wanted.add("llvmlite")  # numba's other half, of a version that numba alone may choose
    wanted.add("triton")  # comes with CUDA builds of torch, and is used where it is found
    packages = importlib.metadata.packages_distributions()
    imported = imported_names(list((ROOT / "src").rglob("*.py"))) - set(sys.stdlib_module_names)
    own = {"semantic_field", "embedded_ros"}
    third = {
        n: {canonical(d) for d in packages[n]}
        for n in imported - own - of_ros(imported)
        if n in packages
    }
    assert "torch" in third
    assert {name: found for name, found in third.items() if not found & wanted} == {}


def canonical(distribution: str) -> str:
    return distribution.strip().lower().replace("_", "-")


@pytest.mark.embedded_only("the wheel is for machines without ROS 2")
def test_wheel_says_what_the_manifest_says(fresh_python, manifest):
    probe = (
        "from importlib.metadata import metadata, entry_points as e;"
        "m = metadata('semantic_field'); print(m['Name'], m['Version'], m['Requires-Python']);"
        "print(*[p.value for p in e(group='console_scripts') if p.name == 'semantic-field'])"
    )
    first, command = run([fresh_python, "-c", probe]).splitlines()
    assert first == f"{manifest.name} {manifest.version} >=3.10"
    assert command == "semantic_field.cli:main"


# --- documentation -------------------------------------------------------------------------------


def test_changelog_begins_with_this_version(manifest):
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == manifest.version


PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    assert [link for link in links if "://" not in link and not leads_somewhere(path, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in anchors(target.read_text()))


def anchors(text: str) -> set[str]:
    """What the headings of a page are called in links, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_anchors_are_those_of_github():
    assert anchors("# A\n## 1. There's no `x_y` - yet, or\n") == {"a", "1-theres-no-x_y---yet-or"}


def shell_lines(text: str) -> list[str]:
    """The commands of shell lines, as root types them: no comments, no sudo, one blank."""
    lines = (re.sub(r"\s+#.*|^#.*", "", line).strip() for line in text.splitlines())
    return [re.sub(r"\bsudo (-\S+ )*", "", re.sub(r"\s+", " ", line)) for line in lines if line]


def install_commands() -> list[str]:
    """The commands of docs/install.md under ROS 2, but for what pages use on request."""
    page = (ROOT / "docs" / "install.md").read_text().partition("## With ROS 2")[2]
    blocks = re.findall(r"```sh\n(.*?)```", page.partition("## As a library")[0], re.DOTALL)
    assert len(blocks) == 4
    lines = [line for block in blocks for line in shell_lines(block)]
    return [line for line in lines if "install -y ros-$ROS_DISTRO-" not in line]


def test_ci_does_what_install_md_says_and_leaves_nothing_out():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["ros"]
    assert job["strategy"]["matrix"]["ros"] == ["humble", "jazzy", "kilted"]
    done = iter(shell_lines("\n".join(step.get("run", "") for step in job["steps"])))
    others = {
        "git clone <this repository> src/semantic_field": "git clone "
        '"$GITHUB_WORKSPACE" src/semantic_field',
        # which starts the same launch file, and asks it a question
        "ros2 launch semantic_field demo.launch.py": "bash src/semantic_field/scripts/ask_ros.sh",
    }
    commands = [others.get(line, line) for line in install_commands()]
    assert "rosdep update" in commands and "colcon build" in commands
    missing = [line for line in commands if line not in done]  # each after the one before
    assert missing == []
    assert "semantic_field demo.launch.py" in (ROOT / "scripts" / "ask_ros.sh").read_text()


def test_versions_of_torch_are_the_same_wherever_they_stand():
    setup = (ROOT / "scripts" / "setup.sh").read_text()
    torch, vision = re.findall(r"^TORCH(?:VISION)?_VERSION=(\S+)", setup, re.MULTILINE)
    texts = " ".join(install_commands())
    assert f"torch=={torch} " in texts + " " and f"torchvision=={vision}" in texts


def test_the_command_is_installed_for_ros2_run_and_for_the_path(cmake_lists):
    script = ROOT / "scripts" / "semantic-field"
    assert script.read_text().startswith("#!/usr/bin/env python3\n")
    assert script.stat().st_mode & 0o111 == 0o111
    for place in ("lib/${PROJECT_NAME}", "bin"):
        assert f"install(PROGRAMS scripts/semantic-field DESTINATION {place})" in cmake_lists
    done = subprocess.run(
        [sys.executable, script, "--help"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0 and "evaluate" in done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_pages_are_known(page):
    """Every ``semantic-field`` line of the docs can be parsed up to its first argument."""
    text = (ROOT / page).read_text()
    used = set(re.findall(r"(?<![\w/])(?:\.venv/bin/)?semantic-field ([a-z]\w+)", text))
    for command in used:
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main([command, "--help"])
