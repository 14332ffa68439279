"""What pip needs to know; ROS 2 builds with CMakeLists.txt instead.

Name, version, description and licence are those of package.xml, so that they stand in one place.
"""

import shutil
from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
# Folders of the repository that an installed package needs beside its modules.
SHARED_FOLDERS = ("msg", "srv", "launch", "config")

TEST = [
    "catkin_pkg>=1",  # reads package.xml as ROS 2's tools do
    "setuptools>=70.1",  # builds the wheel that is tried out
    "pytest>=8",
    "trimesh>=4.6",  # reads what we write as PLY and GLB
    "pypcd4>=1.4",  # and as PCD
    # the GPU's kernels under Triton's interpreter, and compiled for GPUs that are not there
    "triton>=3.3; platform_system == 'Linux' and platform_machine == 'x86_64'",
    "ruff>=0.17,<0.18",
    "pyright[nodejs]>=1.1.400,<1.2",  # with its own Node.js: nothing is fetched at the first run
]
# Segmentation networks as TFLite files.
TFLITE = [
    "ai-edge-litert>=1.2; platform_system == 'Linux' and platform_machine == 'x86_64'",
]
TEST += TFLITE
DEVELOP = [*TEST, "pre-commit>=4"]


def requirements() -> list[str]:
    """The lines of requirements.txt that name a package."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def manifest(tag: str) -> str:
    """The text of an element of package.xml."""
    text = MANIFEST.findtext(tag)
    if not text:
        raise ValueError(f"expected <{tag}> in package.xml, found none")
    return text.strip()


class BuildWithShare(build_py):
    """Copies the shared folders to ``semantic_field/share``; an editable install uses the tree."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._shared_files().items():
                self.mkpath(str(Path(target).parent))
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        shared = [] if self.editable_mode else list(self._shared_files().values())
        return [*super().get_outputs(include_bytecode), *shared]

    def _shared_files(self) -> dict[str, str]:
        """Source to target, both as absolute paths."""
        share = Path(self.build_lib).resolve() / "semantic_field" / "share"
        files = [ROOT / "package.xml"]
        for folder in SHARED_FOLDERS:
            files += [p for p in sorted((ROOT / folder).rglob("*")) if _belongs(p)]
        return {str(file): str(share / file.relative_to(ROOT)) for file in files}


def _belongs(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")


setup(
    name=manifest("name"),
    version=manifest("version"),
    description=manifest("description"),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license=manifest("license"),
    license_files=["LICENSE"],
    author=manifest("maintainer"),
    author_email=MANIFEST.find("maintainer").get("email"),
    python_requires=">=3.10",
    package_dir={"": "src"},
    packages=find_namespace_packages(
        "src", include=["semantic_field*", "embedded_ros*"], exclude=["*__pycache__*"]
    ),
    package_data={
        "": [
            *("*.msg", "*.srv", "*.html", "*.js", "*.css", "*.json", "py.typed"),
            *("*.safetensors", "*.yaml", "README.md"),
        ]
    },
    install_requires=requirements(),
    extras_require={"test": TEST, "dev": DEVELOP, "tflite": TFLITE},
    entry_points={"console_scripts": ["semantic-field = semantic_field.cli:main"]},
    cmdclass={"build_py": BuildWithShare},
    zip_safe=False,
)
