#!/usr/bin/env bash
# What `make test` and `make lint` do: every check runs, whatever the others say, and a summary ends
# it. Fails when one of them has failed.
#   scripts/check.sh lint
#   scripts/check.sh test [arguments of pytest]
set -uo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

code=()
for path in src test benchmarks launch setup.py; do
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

check "ruff check" .venv/bin/ruff check -q "${code[@]}"
check "ruff format" .venv/bin/ruff format -q --check "${code[@]}"
check "pyright" .venv/bin/pyright
if [ "${1:-lint}" = test ]; then
    shift
    pytest=(.venv/bin/python -m pytest -q "$@")
    check "unit" "${pytest[@]}" test/unit
    check "launch" "${pytest[@]}" test/launch
    # Each file by itself, as nodes are: one process for all would make hundreds of DDS
    # participants, after which Cyclone's C layer has been seen to crash.
    for file in test/ros/test_*.py test/ros/nodes/test_*.py; do
        check "$(basename "$file" .py)" "${pytest[@]}" "$file"
    done
fi
printf '%s\n%s' "--- summary" "$summary"
exit $failed
