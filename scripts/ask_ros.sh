#!/usr/bin/env bash
# Under ROS 2, in a workspace that has been built: launches the demo on the simulated room and asks
# through the real service until the answer is there. Fails when nothing is found in time.
#   bash src/semantic_field/scripts/ask_ros.sh [text] [seconds]
set -eo pipefail
text=${1:-somewhere to sit}
patience=${2:-240}

# ROS 2's set-up files use variables that may not be there, so no `set -u` around them.
source "/opt/ros/${ROS_DISTRO:?not a ROS 2 machine}/setup.bash"
source install/setup.bash
[ ! -e .venv/bin/activate ] || source .venv/bin/activate

say() { printf 'ask: %s\n' "$*"; }

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
    # Only the part before the hits and the cloud, which would be megabytes of text.
    answer=$(timeout 60 ros2 service call /query semantic_field/srv/Query "{text: '$text'}" 2>&1 |
        tr -d '\n' | grep -o "success=.*snapshot_version=[0-9]*" | cut -c1-400) || true
    say "${answer:-no answer yet}"
done
say "'$text' was found"
