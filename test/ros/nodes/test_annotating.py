"""People correct the map of a running node: by service, by topic, and take it back."""

from __future__ import annotations

import json

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from geometry_msgs.msg import Point, PointStamped, Pose, PoseStamped, Vector3  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from scipy.spatial import KDTree  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from std_msgs.msg import Header, String, UInt32  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from vision_msgs.msg import (  # noqa: E402
    BoundingBox3D,
    Detection3D,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    VisionClass,
)
from visualization_msgs.msg import MarkerArray  # noqa: E402

from semantic_field.geometry import transform_points  # noqa: E402
from semantic_field.msg import AnnotationList, FieldStatus  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE  # noqa: E402
from semantic_field.srv import Annotate, Forget, MapFile, RenderView  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
# Cells as large as pixels of the small images, and enough of a grid to tell things apart.
SETTINGS = {
    "teacher.kind": "none",
    "field.grid.log2_table_size": 16,
    "mapping.annotation_cell_m": 0.05,
    "mapping.annotation_rays": 60_000.0,
}


class Live:
    """A mapping node that has seen some frames of the room, and what it says."""

    def __init__(self, start_node, quick, listen, call, wait_until, camera, room) -> None:
        self._start, self._quick, self._wait = start_node, quick, wait_until
        self.call, self.camera, (self.room, self.frames) = call, camera, room
        self.status_of = listen(FieldStatus, "status")
        self.clouds, self.lists = (
            listen(PointCloud2, "cloud"),
            listen(AnnotationList, "annotations"),
        )
        self.answers = listen(String, "annotate/answer")

    def start(self, frames: int = 6, labels: bool = True, **parameters) -> MappingNode:
        node = self._start(MappingNode, **(self._quick | SETTINGS | parameters))
        if labels:
            self.camera.add_labels()
            self.camera.wait(self._wait)
            self.camera.send_names(self.room.label_names)
        self.camera.wait(self._wait)
        for i, frame in enumerate(self.frames[:frames]):
            self.camera.send_pose(frame)
            self.camera.send_info(frame)
            self.camera.send_images(frame)
            if labels:
                self.camera.send_labels(frame)
            assert self._wait(lambda n=i + 1: self.status.keyframes >= n), self.status
        assert not frames or self._wait(lambda: self.status.steps > 150)
        return node

    @property
    def status(self) -> FieldStatus:
        return self.status_of.last or FieldStatus()

    def names(self) -> dict[int, str]:
        return {entry.id: entry.name for entry in self.lists.last.annotations}

    def answer(self) -> dict:
        return json.loads(self.answers.last.data) if self.answers.last else {}

    def share(self, node: MappingNode, points: np.ndarray, name: str) -> float:
        """Of the cloud's points beside these, how many have that name."""
        if self.clouds.last is None:
            return 0.0
        cloud = conversions.cloud_arrays(self.clouds.last)
        xyz = np.stack([cloud[axis] for axis in "xyz"], 1)
        apart, _ = KDTree(points).query(xyz, distance_upper_bound=0.05)
        labels = cloud["label"][np.isfinite(apart)]
        ids = [i for i, known in node.mapper.label_names().items() if known == name]
        return float(np.isin(labels, ids).mean()) if len(labels) else 0.0


@pytest.fixture
def live(start_node, quick, listen, call, wait_until, camera, room) -> Live:
    return Live(start_node, quick, listen, call, wait_until, camera, room)


def thing(live: Live, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Surface points of the largest piece of a class in one frame, its pixels, that frame."""
    (class_id,) = [i for i, known in live.room.label_names.items() if known == name]
    best = max(range(6), key=lambda i: (live.frames[i].labels == class_id).sum())
    frame = live.frames[best]
    mask = (frame.labels == class_id) & (frame.depth > 0)
    points = transform_points(frame.T_world_camera, frame.camera.backproject(frame.depth)[mask])
    return points, mask, best


def middle(points: np.ndarray) -> np.ndarray:
    return points[np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin()]


def test_a_click_is_seen_in_the_cloud_and_taken_back(live, wait_until):
    node = live.start()
    points, _, _ = thing(live, "dining table")
    x, y, z = middle(points).tolist()
    assert wait_until(lambda: live.share(node, points, "dining table") > 0.6)
    point = PointStamped().point
    point.x, point.y, point.z = x, y, z
    answer = live.call(Annotate, "annotate", name="work bench", point=point)
    assert answer.success and answer.id == 1 and answer.point_count > 5, answer.message
    assert wait_until(lambda: live.share(node, points, "work bench") > 0.5)
    assert wait_until(lambda: live.names() == {1: "work bench"})
    assert wait_until(lambda: "work bench" in live.status.label_names)
    taken = live.call(Forget, "forget", id=1)
    assert taken.success and "work bench" in taken.message
    assert wait_until(lambda: live.share(node, points, "dining table") > 0.6)
    assert wait_until(lambda: live.names() == {})
    assert not live.call(Forget, "forget", id=1).success


def test_a_rendered_view_shows_at_once_what_was_said(live):
    """The service and the mapper render alike; nothing is learnt meanwhile."""
    node = live.start(**{"mapping.annotation_rays": 0.0})
    assert live.call(SetBool, "pause", data=True).success
    points, mask, best = thing(live, "dining table")
    x, y, z = middle(points).tolist()
    point = PointStamped().point
    point.x, point.y, point.z = x, y, z
    assert live.call(Annotate, "annotate", name="work bench", point=point).success
    frame = live.frames[best]
    header = conversions.make_header(frame.stamp_ns, "map")
    view = live.call(
        RenderView,
        "render_view",
        camera_pose=PoseStamped(header=header, pose=conversions.to_pose(frame.T_world_camera)),
        camera_info=conversions.camera_info(frame.camera, header),
    )
    label = conversions.label_ids(view.label)
    (bench,) = [i for i, name in node.mapper.label_names().items() if name == "work bench"]
    assert (label[mask] == bench).mean() > 0.5
    own = node.mapper.render(frame.camera, frame.T_world_camera)
    assert (label == own.label).mean() > 0.98  # the pose has gone through a quaternion


def point_message(point: np.ndarray, frame_id: str = "map") -> PointStamped:
    message = PointStamped(header=Header(frame_id=frame_id))
    message.point.x, message.point.y, message.point.z = point.tolist()
    return message


@pytest.fixture
def send(make_node, wait_until):
    """Publishes one message when somebody listens."""
    node = make_node("person")

    def publish(kind: type, topic: str, message, qos: QoSProfile = RELIABLE) -> None:
        publisher = node.create_publisher(kind, topic, qos)
        assert wait_until(publisher.get_subscription_count)
        publisher.publish(message)
        # A publisher that is gone takes what it has not delivered along.
        node.kept = [*getattr(node, "kept", []), publisher]

    return publish


def test_everything_can_be_said_by_topic(live, send, wait_until, listen):
    """RViz's clicks with a name, a box, a label image, and taking back; contradictions are told."""
    texts = listen(MarkerArray, "annotations/markers")
    node = live.start()
    points, mask, index = thing(live, "dining table")
    send(String, "annotate/name", String(data="work bench"), LATCHED)
    assert wait_until(lambda: node.annotator.name == "work bench")
    send(PointStamped, "clicked_point", point_message(middle(points)))
    assert wait_until(lambda: live.names() == {1: "work bench"}), live.answer()
    assert wait_until(lambda: live.answer().get("id") == 1) and live.answer()["success"]
    assert wait_until(
        lambda: texts.last and "1: work bench" in [m.text for m in texts.last.markers]
    )

    low, high = points.min(0) - 0.02, points.max(0) + 0.02
    box = BoundingBox3D(size=Vector3(**dict(zip("xyz", (high - low).tolist(), strict=True))))
    center = box.center.position
    center.x, center.y, center.z = ((low + high) / 2).tolist()
    what = [ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id="altar"))]
    send(Detection3D, "annotate/box", Detection3D(results=what, bbox=box))
    assert wait_until(lambda: live.names() == {1: "work bench", 2: "altar"}), live.answer()
    assert wait_until(lambda: "overrules" in live.answer()["message"])
    assert "annotation 1" in live.answer()["message"]

    classes = [VisionClass(class_id=3, class_name="stage")]
    send(LabelInfo, "annotate/label_info", LabelInfo(class_map=classes), LATCHED)
    assert wait_until(lambda: node.annotator.label_names == {3: "stage"})
    frame = live.frames[index]
    header = conversions.make_header(frame.stamp_ns, "")
    image = conversions.label_message(np.where(mask, 3, -1).astype(np.int32), header)
    send(type(image), "annotate/labels", image)
    assert wait_until(lambda: live.names().get(3) == "stage"), live.answer()
    assert wait_until(lambda: live.share(node, points, "stage") > 0.5)

    send(UInt32, "annotate/forget", UInt32(data=0))
    assert wait_until(lambda: live.names() == {1: "work bench", 2: "altar"})
    assert wait_until(lambda: live.share(node, points, "altar") > 0.4)


def test_a_map_without_labels_while_training_rests(live, wait_until):
    """The first name of all is learnt where it was said and nowhere else, also in a pause."""
    node = live.start(labels=False)
    assert live.call(SetBool, "pause", data=True).success
    points, mask, index = thing(live, "dining table")
    v, u = (float(np.median(axis)) for axis in np.nonzero(mask))
    header = conversions.make_header(live.frames[index].stamp_ns, "")
    answer = live.call(Annotate, "annotate", name="table", kind="pixel", u=u, v=v, header=header)
    assert answer.success, answer.message
    assert wait_until(lambda: live.share(node, points, "table") > 0.3)
    floor, _, _ = thing(live, "floor")
    far = floor[KDTree(points).query(floor)[0] > 0.4]
    assert wait_until(lambda: live.share(node, far, "table") < 0.05)
    assert live.status.state == "paused"
    assert live.call(Forget, "forget").success
    assert wait_until(lambda: live.share(node, points, "table") < 0.05)


def test_annotations_are_saved_and_loaded_and_go_with_a_reset(live, wait_until, tmp_path):
    node = live.start()
    points, _, _ = thing(live, "dining table")
    click = point_message(middle(points)).point
    assert live.call(Annotate, "annotate", name="work bench", point=click).success
    assert live.call(MapFile, "save_map", path=str(tmp_path / "map")).success
    assert live.call(Trigger, "reset").success
    assert wait_until(lambda: live.names() == {})
    assert live.call(MapFile, "load_map", path=str(tmp_path / "map")).success
    assert wait_until(lambda: live.names() == {1: "work bench"})
    assert wait_until(lambda: live.share(node, points, "work bench") > 0.5)
    again = live.call(Annotate, "annotate", name="altar", point=click)
    assert again.id == 2 and list(again.conflicts) == [1] and again.overlaps[0] > 0.5


def test_what_cannot_be_annotated_is_told(live, wait_until):
    live.start(frames=0)
    points, _, index = thing(live, "floor")
    floor = middle(points)
    early = live.call(Annotate, "annotate", name="mug", point=point_message(floor).point)
    assert not early.success and "no frame yet" in early.message
    live.camera.send(live.frames[index])
    assert wait_until(lambda: live.status.steps > 100)
    here, above = point_message(floor), Pose(position=Point(z=9.0))
    for fields, expected in (
        ({"name": "mug", "point": point_message(floor + 5).point}, "surface"),
        ({"name": "", "point": here.point}, "name of a class"),
        ({"name": "void", "point": here.point}, "forget"),
        ({"name": "mug", "kind": "cloud"}, "'cloud'"),
        ({"name": "mug", "kind": "pixel", "u": 500.0}, "160 x 120"),
        ({"name": "mug", "kind": "pixel", "header": conversions.make_header(7, "")}, "stamp"),
        ({"name": "mug", "header": Header(frame_id="odom"), "point": here.point}, "'odom'"),
        ({"name": "mug", "kind": "box", "box_size": Vector3(x=1.0)}, "positive edges"),
        ({"name": "mug", "box": above, "box_size": Vector3(x=0.1, y=0.1, z=0.1)}, "in it"),
        ({"name": "mug", "kind": "labels"}, "encoding"),
        ({"name": "mug", "point": point_message(floor * np.nan).point}, "finite"),
    ):
        answer = live.call(Annotate, "annotate", **fields)
        assert not answer.success, (fields, answer.message)
        assert answer.message.startswith("not annotated: ") and expected in answer.message, (
            fields,
            answer.message,
        )
    assert not live.call(Forget, "forget", id=9).success
    assert live.status.state == "mapping" and live.names() == {}
