#!/usr/bin/env bash
# Makes .venv ready: `make demo` and `make test` call this first. Quick where nothing has changed,
# and completes an earlier run that was interrupted.
#   PYTHON       the interpreter to build on (default python3, 3.10 or later)
#   TORCH_INDEX  an additional pip index with PyTorch's own builds, for instance the CPU ones
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

# Must match the version the package is tested with (docs/install.md).
TORCH_VERSION=2.13.0
TORCHVISION_VERSION=0.28.0 # the one that was made with it

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Installs Debian packages where this is possible; otherwise false, and nothing is changed.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing $* (apt-get)"
    local options="-y -q --no-install-recommends"
    export DEBIAN_FRONTEND=noninteractive
    # An image without package lists, or with old ones, fails at first.
    # shellcheck disable=SC2086
    apt-get install $options "$@" >/dev/null 2>&1 ||
        { apt-get update -q >/dev/null && apt-get install $options "$@" >/dev/null; }
}

has_nvidia_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

check_python() {
    command -v "$PYTHON" >/dev/null || fail "no $PYTHON here; install Python 3.10 or later"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$("$PYTHON" --version) is too old; set PYTHON to Python 3.10 or later"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null && return
    local version
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt_install "python$version-venv" && "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python's venv is missing; run: sudo apt-get install python$version-venv"
}

make_venv() {
    # A half-made one, or one whose tree was moved (its commands name the old place), starts anew.
    if grep -qsF "$PWD/.venv" .venv/bin/activate && .venv/bin/python -m pip --version >/dev/null 2>&1
    then
        return
    fi
    say "creating .venv with $("$PYTHON" --version)"
    "$PYTHON" -m venv --clear .venv
}

pip_install() { .venv/bin/python -m pip install --disable-pip-version-check -qq "$@"; }

# torch comes first and alone. With the others in one go pip would take torch from whatever they
# ask for, which is the newest one with gigabytes of CUDA. Its version is exact; which build it
# is follows from the machine: with an NVIDIA GPU any but the CPU build, else the CPU build
# wherever pip's configuration or TORCH_INDEX offers it.
install_torch() {
    local index=() wanted="torch==$TORCH_VERSION+cpu" build="CPU build, no NVIDIA GPU seen"
    [ -z "${TORCH_INDEX:-}" ] || index=(--extra-index-url "$TORCH_INDEX")
    if has_nvidia_gpu; then
        wanted="torch==$TORCH_VERSION,!=$TORCH_VERSION+cpu" build="CUDA build, NVIDIA GPU seen"
    fi
    if .venv/bin/python - "$wanted" <<'PY' 2>/dev/null
import importlib.metadata, sys
from pip._vendor.packaging.requirements import Requirement
sys.exit(importlib.metadata.version("torch") not in Requirement(sys.argv[1]).specifier)
PY
    then
        return
    fi
    say "installing torch $TORCH_VERSION ($build)"
    pip_install ${index[@]+"${index[@]}"} "$wanted" 2>.venv/torch.log && return
    say "pip knows no such build here; taking the default one of torch $TORCH_VERSION"
    say "(on Linux it may bring CUDA along; TORCH_INDEX=<an index of PyTorch's builds> avoids that)"
    pip_install ${index[@]+"${index[@]}"} "torch==$TORCH_VERSION" ||
        fail "pip could not install torch $TORCH_VERSION; its first answer is in .venv/torch.log"
}

# torchvision fits one torch each: left to pip, the newest one would bring another torch along.
install_torchvision() {
    local index=()
    [ -z "${TORCH_INDEX:-}" ] || index=(--extra-index-url "$TORCH_INDEX")
    pip_install --no-deps ${index[@]+"${index[@]}"} "torchvision==$TORCHVISION_VERSION" ||
        fail "pip could not install torchvision $TORCHVISION_VERSION"
}

PYTHON=${PYTHON:-python3}
# Two makes at once take turns; the lock goes with the process.
if command -v flock >/dev/null; then
    exec 9<Makefile
    flock -n 9 || { say "waiting for another set-up of this tree"; flock 9; }
fi
stamp=.venv/.ready-$(cat requirements.txt setup.py pyproject.toml package.xml scripts/setup.sh | cksum | cut -d' ' -f1)
if [ -e "$stamp" ] && grep -qsF "$PWD/.venv" .venv/bin/activate; then
    exit 0
fi

started=$SECONDS
check_python
make_venv
rm -f .venv/.ready-*
install_torch
install_torchvision
say "installing the package and the rest of its dependencies (a few minutes the first time)"
pip_install -e '.[test]' || fail "pip failed; run the same command again to go on from here"
# Imports what was installed: beside packages of the system that alone tells whether all fit.
.venv/bin/python scripts/check_environment.py >/dev/null || fail "run the above, then this again"
touch "$stamp"
say "ready in $((SECONDS - started)) s: $(.venv/bin/python -c \
    'import torch; print("torch", torch.__version__, "with" if torch.cuda.is_available() else "without", "GPU")')"
