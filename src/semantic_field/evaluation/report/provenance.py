"""Where a figure comes from: versions, machine, commit, and a checksum of the input."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "numba", "scipy", "scikit-image", "open3d", "opencv-python-headless")
WHOLE_FILE_BYTES = 64 << 20
SAMPLE_BYTES = 8 << 20


def versions() -> dict[str, str]:
    """Versions of Python and of what figures depend on."""
    found = {"python": platform.python_version()}
    for package in ("semantic_field", *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The processor, its cores and memory, and the GPU if there is one."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cuda = torch.cuda.is_available()
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name(0) if cuda else None,
    }


def machine_name() -> str:
    """A short name for file names: processor and cores, never the host's name."""
    facts = machine()
    text = f"{facts['gpu'] or facts['processor']}-{facts['cores']}cores"
    kept = "".join(c.lower() if c.isalnum() else "-" for c in text)
    return "-".join(part for part in kept.split("-") if part)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    """The commit of this code, with "-dirty" where tracked files were changed; "" unknown."""
    here = Path(__file__).parent
    try:
        top = Path(_git(here, "rev-parse", "--show-toplevel"))
        if not (top / "package.xml").exists():  # installed below somebody else's repository
            return ""
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        # What a benchmark itself writes does not change the code that it measured.
        code = (".", ":(exclude)benchmarks/results", ":(exclude)docs/benchmarks.md")
        changed = _git(top, "status", "--porcelain", "--untracked-files=no", "--", *code)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}-dirty" if changed else head


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def checksum(location: str | Path) -> str:
    """SHA-256 of a recording's files (names and bytes); of the text for a simulated room.

    Of files above 64 MiB only the size and the first and last 8 MiB enter: the result then
    starts with "sampled:".
    """
    text = str(location)
    path = Path(text.partition(":")[2] if ":" in text and not Path(text).exists() else text)
    digest = hashlib.sha256()
    if not path.exists():
        digest.update(text.encode())
        return "text:" + digest.hexdigest()[:32]
    sampled = False
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    for file in files:
        digest.update(str(file.relative_to(path)).encode() if path.is_dir() else b"")
        sampled |= _add_file(digest, file)
    return ("sampled:" if sampled else "sha256:") + digest.hexdigest()[:32]


def _add_file(digest: Any, file: Path) -> bool:
    """Add a file; True where only parts of it were read."""
    size = file.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    with file.open("rb") as stream:
        if size <= WHOLE_FILE_BYTES:
            digest.update(stream.read())
            return False
        digest.update(stream.read(SAMPLE_BYTES))
        stream.seek(-SAMPLE_BYTES, os.SEEK_END)
        digest.update(stream.read())
    return True
