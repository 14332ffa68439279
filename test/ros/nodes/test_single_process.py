"""Mapping and query node in one process: the map goes by reference, and its bytes to the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

import embedded_ros

embedded_ros.install()

from semantic_field.config import Config, FieldConfig, GridConfig  # noqa: E402
from semantic_field.field.map_file import dump_map, load_map  # noqa: E402
from semantic_field.mapping.mapper import Mapper  # noqa: E402
from semantic_field.msg import FieldSnapshot  # noqa: E402
from semantic_field.nodes import query_node as query_module  # noqa: E402
from semantic_field.nodes.map.shared_map import OF_THIS_PROCESS, SharedMap  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.nodes.single_process import main  # noqa: E402
from semantic_field.srv import Query  # noqa: E402

pytestmark = pytest.mark.ros


@pytest.fixture
def shared():
    OF_THIS_PROCESS.open()
    yield OF_THIS_PROCESS
    OF_THIS_PROCESS.open(False)


@pytest.fixture
def read(monkeypatch) -> list[bytes]:
    """The bytes that the query node reads a map of."""
    calls: list[bytes] = []

    def noted(data: bytes):
        calls.append(data)
        return load_map(data)

    monkeypatch.setattr(query_module, "load_map", noted)
    return calls


def test_a_map_is_known_by_its_bytes():
    state = Mapper(Config(field=FieldConfig(grid=GridConfig(log2_table_size=12)))).snapshot()
    data, place = dump_map(state), SharedMap()
    place.offer(state, data)
    assert place.take(data) is None  # nobody has asked for it: nothing is kept
    place.open()
    place.offer(state, data)
    assert place.take(bytes(data)) is state
    later = dump_map(replace(state, version=state.version + 1))
    assert place.take(later) is None
    with pytest.raises(ValueError, match="damaged"):
        place.take(b"x" * 100)


def test_the_query_node_has_the_map_of_its_process_and_reads_no_bytes(
    shared, read, start_node, camera, room, call, listen, quick, wait_until
):
    snapshots = listen(FieldSnapshot, "snapshot")
    mapping = start_node(MappingNode, **quick)
    query = start_node(QueryNode)
    camera.add_labels()
    camera.wait(wait_until)
    source, frames = room
    camera.send_names(source.label_names)
    for frame in frames[:4]:
        camera.send(frame)
    assert wait_until(lambda: call(Query, "query", text="chair").success)
    assert read == []
    assert query.engine.state.surfaces is mapping.mapper.snapshot().surfaces
    assert load_map(bytes(snapshots.last.data)).version > 0  # for everybody else


def test_a_node_that_is_not_there_is_named(capsys):
    assert main(["mapping_nod"]) == 1
    assert (
        "expected nodes of inference_node, mapping_node, query_node, replay_node"
        in capsys.readouterr().err
    )
