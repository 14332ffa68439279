"""The inference node beside a mapping node: labels for its images, depth from its map."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from geometry_msgs.msg import PoseStamped  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from semantic_field.config import Config, FieldConfig, GridConfig, MappingConfig  # noqa: E402
from semantic_field.data.simulated_room import SimulatedRoom  # noqa: E402
from semantic_field.frames import Frame  # noqa: E402
from semantic_field.mapping.mapper import Mapper  # noqa: E402
from semantic_field.msg import FieldStatus  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.qos import RELIABLE  # noqa: E402
from semantic_field.srv import RenderView  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


@lru_cache(maxsize=1)
def slow_walk() -> tuple[SimulatedRoom, list[Frame]]:
    room = SimulatedRoom(n_frames=90, size=(160, 120))
    return room, [replace(room[i], instances=None) for i in range(8)]


def test_the_mapping_node_learns_from_labels_that_follow_the_camera(
    inference, start_node, camera, quick, listen, wait_until
):
    """Three images have labels; the mapping node hears only the dense ones, and gets more."""
    source, frames = slow_walk()
    status = listen(FieldStatus, "status")
    dense = listen(Image, "inference/label", RELIABLE)
    remapped = ["labels/image:=inference/label", "labels/label_info:=inference/label_info"]
    arguments = ["--ros-args", *(word for rule in remapped for word in ("-r", rule))]
    parameters = quick | {"teacher.kind": "none"}
    mapping = start_node(partial(MappingNode, cli_args=arguments), **parameters)
    node = inference(follow="camera")
    camera.add_labels()
    assert wait_until(lambda: node.input is not None and mapping.input is not None)
    camera.wait(wait_until)
    camera.send_names(source.label_names)
    assert wait_until(lambda: mapping.label_names == source.label_names)
    for frame in frames[:3]:
        camera.send(frame)
        assert wait_until(lambda s=frame.stamp_ns: s in node.sources.labelled_ns)
    answered = len(dense.messages)
    for count, frame in enumerate(frames[3:], 1):
        camera.send(replace(frame, labels=None))
        assert wait_until(lambda n=answered + count: len(dense.messages) == n)
    newest = frames[-1].stamp_ns
    assert wait_until(lambda: mapping.mapper.snapshot().stamp_ns == newest), status.last
    keyframes, classes = (getattr(mapping.mapper.live_map, n) for n in ("keyframes", "classes"))
    slot = keyframes.stamps_ns[: keyframes.count].tolist().index(newest)
    rows = keyframes.images.labels[slot]
    right = np.asarray(classes.ids)[rows] == frames[-1].labels.ravel()
    assert (rows >= 0).mean() > 0.6 and right[rows >= 0].mean() > 0.9


@lru_cache(maxsize=1)
def mapped() -> Mapper:
    """A map of the room, trained on for a few steps."""
    _, frames = slow_walk()
    field = FieldConfig(grid=GridConfig(log2_table_size=15))
    mapper = Mapper(Config(field=field, mapping=MappingConfig(rays_per_step=512)))
    for frame in frames:
        mapper.add_frame(replace(frame, labels=None))
    mapper.train_steps(250)
    return mapper


def test_depth_comes_from_the_map_where_the_camera_has_none(
    inference, camera, make_snapshots, call, log, wait_until
):
    room, frames = slow_walk()
    snapshots = make_snapshots(mapped(), room)
    half_blind = [replace(f, labels=None, depth=f.depth.copy()) for f in frames]
    for frame in half_blind:
        frame.depth[:, :80] = 0
    node = inference(depth="map")
    assert wait_until(lambda: node.input is not None)
    camera.wait(wait_until)
    for frame in half_blind[:5]:
        camera.send(frame)
        assert wait_until(lambda s=frame.stamp_ns: s in node.views.stamps_ns)
    target = frames[2]

    def depth() -> np.ndarray:
        pose = PoseStamped(
            header=conversions.make_header(target.stamp_ns, "map"),
            pose=conversions.to_pose(target.T_world_camera),
        )
        info = conversions.camera_info(target.camera, conversions.make_header(0, ""))
        answer = call(RenderView, "infer_view", camera_pose=pose, camera_info=info)
        assert answer.success, answer.message
        return conversions.depth_metres(answer.depth)

    alone = (depth() > 0).mean()
    snapshots.send(data=b"no map")
    assert wait_until(lambda: depth() is not None and log("gives no depth"))
    assert (depth() > 0).mean() == alone  # the node goes on
    snapshots.send()
    assert wait_until(lambda: (depth() > 0).mean() > alone + 0.1), alone
    found = depth()
    error = np.abs(found - target.depth)[found > 0]
    assert np.median(error) < 0.05
