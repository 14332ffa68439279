"""Counts dropped frames by cause, with a throttled warning that suggests a remedy."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from rclpy.node import Node

from semantic_field.msg import DropCount
from semantic_field.nodes.ros.guarding import Warnings

NOT_LOST = ("view_covered", "view_blocked")  # expected drops: not warned about
REMEDIES = {
    "no_transform": "publish the pose of the camera on /tf (or set input.pose_source), and check "
    "that camera and robot share one clock",
    "tf_gap": "TF was silent around the image (localisation lost?): publish it all the time",
    "pose_at_rest": "publish TF up to a frame that is fixed, or set input.pose_source to pose or "
    "odometry",
    "no_pose": "publish the camera pose on the pose or odometry topic, or set "
    "input.pose_source:=tf",
    "bad_pose": "the pose is not a finite rotation and translation: check its publisher",
    "no_camera_info": "remap color/camera_info to the topic that the camera driver publishes",
    "bad_frame": "the parts of the frame contradict each other: check what publishes them",
    "bad_camera_info": "calibrate the camera: fill in the field of its CameraInfo that is named",
    "no_label_info": "publish labels/label_info (vision_msgs/LabelInfo, transient local)",
    "color_encoding": "publish colour as rgb8, bgr8, rgba8, bgra8 or mono8",
    "depth_encoding": "publish depth as 32FC1 metres or 16UC1/mono16 millimetres (REP-118)",
    "label_encoding": "publish labels as mono8 or 16UC1 class ids",
    "size_mismatch": "register depth to colour in the driver (align_depth:=true or similar) so "
    "that images and CameraInfo have one size",
    "depth_not_registered": "register depth to colour in the driver (align_depth:=true or similar)",
    "depth_out_of_range": "publish depth in metres (32FC1) or millimetres (16UC1), or change "
    "mapping.min_depth_m and max_depth_m: no reading lies between",
    "label_size": "publish labels with the aspect of the colour images",
    "zero_stamp": "let the driver set header.stamp: 0 is no time",
    "negative_stamp": "let the driver set header.stamp: times begin in 1970",
    "duplicate_stamp": "let the driver give each image a stamp of its own; the first one counts",
    "stamps_apart": "raise input.sync_slop_s or let the driver synchronise colour and depth",
    "queue_full": "frames wait too long for transforms or labels: publish those faster",
    "time_jump": "time went backwards (a looping bag?): nothing to do",
    "mapper_busy": "frames come faster than they are taken: lower the camera rate, or nothing: the "
    "newest wins",
    "no_depth": "check the depth camera: no pixel of the image had a reading",
    "pose_outlier": "the pose jumps away from those around it: check the localisation, or raise "
    "mapping.max_speed_mps",
    "outside_map": "the pose is too far from the origin of the map: check its publisher",
    "view_covered": "nothing to do: keyframes show this view already",
    "view_blocked": "nothing to do: something that moves hides most of the view",
    "inference_busy": "more is wanted than is made: lower follow_rate_hz, view_rate_hz, views or "
    "image_width, or nothing: the newest wins",
    "no_view": "wait for frames, or lower views",
    "no_view_transform": "publish the frame of the virtual camera on /tf, up to the global frame",
    "late_labels": "labels come later than the node remembers images: raise late_frames",
}


class DropCounter:
    """Counts dropped frames of one node; thread-safe."""

    def __init__(self, node: Node) -> None:
        self._warnings = Warnings(node)
        self._counts: Counter[str] = Counter()
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, cause: str, detail: str, count: int = 1, what: str = "frame") -> None:
        """Count ``count`` frames dropped for ``cause`` (a key of ``REMEDIES``)."""
        with self._lock:
            self._counts[cause] += count
            total = self._counts[cause]
        self._warn(cause, f"{what} dropped ({cause}, {total} so far): {detail}")

    def warn(self, cause: str, detail: str) -> None:
        """Log the warning of ``cause`` without counting a dropped frame."""
        self._warn(cause, detail)

    def watch(self, others: Mapping[str, int]) -> None:
        """Warn about frames newly dropped by the mapper, given its totals: it has no logger."""
        for cause, total in others.items():
            if total > self._seen.get(cause, 0) and cause not in NOT_LOST:
                self._warn(cause, f"frames dropped ({cause}, {total} so far)")
        self._seen = dict(others)

    def _warn(self, cause: str, text: str) -> None:
        self._warnings.warn(cause, f"{text}; {REMEDIES[cause]}")

    def messages(self, others: dict[str, int]) -> list[DropCount]:
        """Return this node's counts plus those of the mapper (``others``)."""
        with self._lock:
            counts = sorted((self._counts + Counter(others)).items())
        return [DropCount(cause=c, count=n, remedy=REMEDIES[c]) for c, n in counts]
