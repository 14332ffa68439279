"""Parameters of the nodes: each described, none out of its range."""

from __future__ import annotations

import pytest

import embedded_ros

embedded_ros.install()

from rcl_interfaces.srv import DescribeParameters, ListParameters  # noqa: E402

from semantic_field.nodes.inference_node import InferenceNode  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.nodes.replay_node import ReplayNode  # noqa: E402

pytestmark = pytest.mark.ros
NODES = {
    "inference_node": (InferenceNode, {"autostart": False}),
    "mapping_node": (MappingNode, {"autostart": False}),
    "query_node": (QueryNode, {}),
    "replay_node": (ReplayNode, {"input": "room:frames=1,width=32,height=24"}),
}


@pytest.mark.parametrize("name", NODES)
def test_every_parameter_is_described(start_node, call, name):
    kind, given = NODES[name]
    start_node(kind, **given)
    names = call(ListParameters, f"{name}/list_parameters").result.names
    own = [
        n
        for n in names
        if n != "use_sim_time" and not n.startswith(("qos_overrides.", "start_type"))
    ]
    assert len(own) >= 10
    answer = call(DescribeParameters, f"{name}/describe_parameters", names=own)
    described = {d.name: d for d in answer.descriptors}
    assert [n for n in own if len(described[n].description) < 8] == []


def test_ranges_and_choices_are_described(start_node, call):
    start_node(MappingNode, autostart=False)
    names = ["mapping.rays_per_step", "input.tf_timeout_s", "input.pose_source"]
    answer = call(DescribeParameters, "mapping_node/describe_parameters", names=names)
    rays, timeout, source = answer.descriptors
    assert (rays.integer_range[0].from_value, rays.integer_range[0].to_value) == (64, 1 << 20)
    assert not timeout.floating_point_range and timeout.additional_constraints == "at least 0.0"
    assert source.additional_constraints == "one of tf, pose, odometry"
    assert rays.read_only and "memory for the rays" in rays.description
    assert not timeout.read_only


RUN = """
import sys
import embedded_ros
embedded_ros.install()
from semantic_field.nodes.{name} import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        ("mapping_node", "mapping.rays_per_step:=3", ("mapping.rays_per_step", "3")),
        ("mapping_node", "input.pose_source:=gps", ("pose_source", "gps")),
        ("mapping_node", "load_map_at_start:=true", ("map",)),
        ("inference_node", "weights:=no_such", ("no_such",)),
        ("inference_node", "views:=33", ("views", "33", "pool_frames", "32")),
        ("query_node", "query.threshold:=high", ("query.threshold",)),
        ("query_node", "teacher.kind:=none", ("teacher.kind",)),
    ],
)
def test_a_bad_override_ends_the_process_with_a_word(start_python, tmp_path, name, override, words):
    process = start_python(
        RUN.format(name=name), "--ros-args", "-p", override, ROS_HOME=str(tmp_path)
    )
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 1, out
    assert "error: " in out.lower() and all(word in out for word in words), out
