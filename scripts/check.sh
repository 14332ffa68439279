#!/usr/bin/env bash
# What `make test`, `make lint` and `make test-ros` do: every check runs, whatever the others say, and
# a summary ends it. Fails when one of them has failed.
#   scripts/check.sh lint
#   scripts/check.sh test [arguments of pytest]
#   scripts/check.sh ros [arguments of pytest]     the tests in the active environment, under ROS 2
set -uo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

code=()
for path in src test benchmarks launch scripts setup.py; do
    [ ! -e "$path" ] || code+=("$path")
done

summary=
failed=0
check() {
    local name=$1 begin=$SECONDS outcome=passed
    shift
    printf '%s\n' "--- $name"
    "$@"
    case $? in
        0) ;;
        5) outcome="nothing to do" ;; # pytest, where a filter leaves no test
        *) outcome=FAILED failed=1 ;;
    esac
    summary+=$(printf '%-34s %s in %d s' "$name" "$outcome" $((SECONDS - begin)))$'\n'
}

tests() {
    local pytest=("$1" -m pytest -q "${@:2}")
    check "unit" "${pytest[@]}" test/unit
    check "launch" "${pytest[@]}" test/launch
    # Each file by itself, as nodes are: one process for all would make hundreds of DDS
    # participants, after which Cyclone's C layer has been seen to crash.
    for file in test/ros/test_*.py test/ros/nodes/test_*.py; do
        check "$(basename "$file" .py)" "${pytest[@]}" "$file"
    done
}

missing() {
    printf 'test-ros: %s\n' "$*" >&2
    exit 1
}

# The environment is the terminal's own: what ROS 2 and its workspace are, only the user knows.
ros_is_sourced() {
    local terminal="source ~/ws/install/setup.bash && source ~/ws/.venv/bin/activate"
    local has=(python3 -c)
    [ -n "${AMENT_PREFIX_PATH:-}" ] || missing "no ROS 2 in this terminal; run: $terminal"
    "${has[@]}" 'import rclpy' || missing "python3 finds no rclpy: is it the Python that this" \
        "ROS 2 was made for, and the environment made with --system-site-packages?"
    "${has[@]}" 'from ament_index_python import get_package_prefix as p; p("semantic_field")' \
        2>/dev/null || missing "the workspace is not built or not sourced; run: colcon build, then $terminal"
    "${has[@]}" 'import torch, numba' || missing "the environment is not active; run: $terminal"
    "${has[@]}" 'import pytest' 2>/dev/null || missing "no pytest; run: pip install 'pytest>=8'"
}

mode=${1:-lint}
[ $# -eq 0 ] || shift
if [ "$mode" = ros ]; then
    ros_is_sourced
    tests python3 "$@"
else
    check "ruff check" .venv/bin/ruff check -q "${code[@]}"
    check "ruff format" .venv/bin/ruff format -q --check "${code[@]}"
    check "pyright" .venv/bin/pyright
    [ "$mode" != test ] || tests .venv/bin/python "$@"
fi
printf '%s\n%s' "--- summary" "$summary"
exit $failed
