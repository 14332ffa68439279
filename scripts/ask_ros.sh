#!/usr/bin/env bash
# Under ROS 2, in a terminal as docs/install.md sets it up: launches the demo on the simulated room and
# asks through the real service until the answer is there. Fails when nothing is found in time.
#   bash src/semantic_field/scripts/ask_ros.sh [text] [seconds]
set -eo pipefail
text=${1:-somewhere to sit}
patience=${2:-600}

say() { printf 'ask: %s\n' "$*"; }

command -v ros2 >/dev/null || {
    say "no ROS 2 here; run: source ~/ws/install/setup.bash && source ~/ws/.venv/bin/activate"
    exit 1
}
log=$(mktemp)
# A process group of its own, so that Ctrl-C's signal reaches the launch and all of its nodes.
setsid ros2 launch semantic_field demo.launch.py >"$log" 2>&1 &
launch=$!
stop() {
    kill -INT -- "-$launch" 2>/dev/null || true
    wait "$launch" 2>/dev/null || true
}
trap stop EXIT

give_up() {
    say "$*; the end of the launch file's output:"
    tail -n 60 "$log"
    exit 1
}

answer=
until [[ $answer == *"found=True"* ]]; do
    kill -0 "$launch" 2>/dev/null || give_up "the launch ended"
    [ "$SECONDS" -lt "$patience" ] || give_up "nothing found in $patience s (last answer: $answer)"
    sleep 5
    answer=$(timeout 60 ros2 service call /query semantic_field/srv/Query "{text: '$text'}" 2>&1 |
        tr -d '\n' | grep -o "success=.*snapshot_version=[0-9]*") || true
    say "${answer:-no answer yet}"
done
say "'$text' was found"
