"""Camera poses of a recording: from TF, a pose topic or an odometry topic."""

from __future__ import annotations

from typing import Protocol

from semantic_field.data.bag_poses import MAX_GAP_S, Pose, PoseError, Track, TransformTree
from semantic_field.data.bag_reader import BagReader
from semantic_field.data.bag_topics import Topics, found
from semantic_field.data.bag_trees import quaternion, read_tree, stamp_of, vector

DEFAULT_GLOBAL_FRAME = "map"
PROBES = 50  # images at whose stamps pose sources are compared


class PoseSource(Protocol):
    """Camera poses by time.

    Attributes:
        kind: "tf", "pose" or "odometry".
        global_frame: the frame in which poses are given; "" until the first one is requested.
        pose_frame: the frame whose pose the messages of a pose topic give; "" = the camera.
        mounts: candidates for ``pose_frame`` if the topic does not name it and TF has several.
        remarks: sentences about doubtful poses.
        tree: the TF tree of the camera.
    """

    kind: str
    global_frame: str
    pose_frame: str
    tree: TransformTree
    mounts: list[str]
    remarks: list[str]

    def at(self, stamp_ns: int, frame_id: str) -> Pose:
        """Return ``T_world_camera`` for an image with this frame_id; PoseError if there is none."""
        ...


class TfPoses:
    """Poses from TF."""

    kind = "tf"
    pose_frame = ""

    def __init__(self, tree: TransformTree, global_frame: str, camera_frame: str) -> None:
        self.global_frame = global_frame
        self.mounts: list[str] = []
        self.remarks: list[str] = []
        self.tree, self._camera_frame = tree, camera_frame

    def at(self, stamp_ns: int, frame_id: str) -> Pose:
        camera = self._camera_frame or frame_id
        if not camera:
            raise PoseError("no_transform", "the images have no frame_id; set --camera-frame")
        if not self.global_frame:
            root = self.tree.root(camera)
            known = self.tree.root(DEFAULT_GLOBAL_FRAME) == root
            self.global_frame = DEFAULT_GLOBAL_FRAME if known else root
        return self.tree.at(self.global_frame, camera, stamp_ns)


class TopicPoses:
    """Poses from one topic, extended by TF from the topic's frame to the camera."""

    def __init__(
        self,
        kind: str,
        track: Track,
        child: str,
        tree: TransformTree,
        global_frame: str,
        camera_frame: str,
    ) -> None:
        self.kind, self.global_frame = kind, global_frame
        self.pose_frame = child
        self.mounts: list[str] = []
        self.remarks: list[str] = []
        self._track, self.tree, self._camera_frame = track, tree, camera_frame

    def at(self, stamp_ns: int, frame_id: str) -> Pose:
        parent, T_parent_child = self._track.at(stamp_ns)
        self.global_frame = self.global_frame or parent
        if parent and parent != self.global_frame:
            T_parent_child = self.tree.at(self.global_frame, parent, stamp_ns) @ T_parent_child
        camera = self._camera_frame or frame_id
        if self.pose_frame and self.pose_frame != camera:
            T_parent_child = T_parent_child @ self.tree.at(self.pose_frame, camera, stamp_ns)
        return T_parent_child

    def moves(self) -> bool:
        """Return whether the topic's poses differ."""
        return self._track.moves()


def make_pose_source(
    reader: BagReader,
    topics: Topics,
    kind: str,
    global_frame: str,
    camera_frame: str,
    tf_topic: str = "",
) -> PoseSource:
    """Return the pose source of a recording; see ``BagSource`` for the arguments.

    "auto" selects TF if a transform above the camera changes; else the topic with changing poses
    that covers most images, with TF for the mount of the camera.

    Raises:
        ValueError: if the bag has no poses of this kind.
    """
    if kind not in ("auto", "tf", "pose", "odometry"):
        raise ValueError(f"expected pose_source auto, tf, pose or odometry, got {kind!r}")
    available = {"tf": topics.tf, "pose": topics.pose, "odometry": topics.odometry}
    if not any(available.values()) or (kind != "auto" and not available[kind]):
        raise ValueError(
            "expected camera poses as /tf, a PoseStamped or an Odometry topic; set --pose-source "
            f"and --pose-topic or --odometry-topic; {found(reader.types)}"
        )
    images = [(m.stamp_ns, m.frame_id) for m in reader.index(topics.color)]
    camera = camera_frame or next((frame for _, frame in images), "")
    tree = read_tree(reader, topics.tf, camera, topics.color, tf_topic)
    tf = TfPoses(tree, global_frame, camera_frame)
    others = [
        _topic_poses(reader, name, available[name], tree, global_frame, camera_frame, camera)
        for name in ("pose", "odometry")
        if available[name] and kind in ("auto", name)
    ]
    poses: PoseSource = others[0] if others else tf
    if kind == "auto":
        poses = _choose(tf, others, tree, camera, images, bool(topics.tf))
    poses.remarks += [f"TF contradicts itself: {text}" for text in tree.conflicts(camera)]
    return poses


def _choose(
    tf: TfPoses,
    others: list[TopicPoses],
    tree: TransformTree,
    camera: str,
    images: list[tuple[int, str]],
    has_tf: bool,
) -> PoseSource:
    """Return the source that best covers the camera's motion; see ``make_pose_source``."""
    moving = [poses for poses in others if poses.moves()]
    # Odometry of the frame that is the root of the TF tree is the link missing in TF.
    above = [p for p in moving if p.kind == "odometry" and p.pose_frame == tree.root(camera)]
    if has_tf and tree.moves(camera) and not above:
        return tf
    step = max(1, len(images) // PROBES)
    candidates: list[PoseSource] = [*(above or moving)]
    if not candidates:
        candidates = [tf] if has_tf else [*others]
    return max(candidates, key=lambda poses: _known(poses, images[::step]))


def _known(poses: PoseSource, images: list[tuple[int, str]]) -> int:
    """Return how many of these images have a pose; does not change ``global_frame``."""
    world, count = poses.global_frame, 0
    for stamp, frame in images:
        try:
            poses.at(stamp, frame)
            count += 1
        except PoseError:
            continue
    poses.global_frame = world
    return count


def _topic_poses(
    reader: BagReader,
    kind: str,
    topic: str,
    tree: TransformTree,
    global_frame: str,
    camera_frame: str,
    camera: str,
) -> TopicPoses:
    """Return the poses of a topic.

    If the topic does not name the frame whose pose it gives, and the camera is mounted on another
    frame, both the mount's top frame and the camera are candidates (``mounts``)."""
    track, child = Track(topic, MAX_GAP_S), ""
    for _, message in reader.messages(topic):
        child = getattr(message, "child_frame_id", "").lstrip("/")
        pose = message.pose.pose if hasattr(message, "child_frame_id") else message.pose
        parent = message.header.frame_id.lstrip("/")
        track.add(
            stamp_of(message.header), parent, vector(pose.position), quaternion(pose.orientation)
        )
    poses = TopicPoses(kind, track, child, tree, global_frame, camera_frame)
    poses.remarks += list(track.conflicts)
    top = tree.mount(camera)
    if not child and top not in (camera, *track.parents()):
        poses.mounts, poses.pose_frame = [top, ""], top
    return poses
