"""A camera without a label topic: a segmenter gives names, or every answer says how to get one."""

from __future__ import annotations

from dataclasses import replace

import pytest

import embedded_ros

embedded_ros.install()

from semantic_field.msg import FieldStatus  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.srv import Query  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
COMMAND = "semantic-field weights get segformer-b0"
NAMES = {0: "wall", 1: "chair", 2: "floor"}


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> str:
    """A small random SegFormer: what it says is meaningless, everything around it works."""
    import torch
    import transformers

    folder = str(tmp_path_factory.mktemp("segformer"))
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16, id2label=NAMES,
    )  # fmt: skip
    transformers.SegformerForSemanticSegmentation(config).eval().save_pretrained(folder)
    size = {"height": 64, "width": 64}
    transformers.SegformerImageProcessor(size=size).save_pretrained(folder)
    return folder


def fed(camera, room, status, wait_until, count: int = 3) -> None:
    """Send frames without labels, each when the one before is taken in."""
    camera.wait(wait_until)
    for i, frame in enumerate(room[1][:count]):
        camera.send(replace(frame, labels=None))
        assert wait_until(lambda n=i + 1: status.last and status.last.keyframes >= n), status.last


def test_a_segmenter_gives_names(
    start_node, quick, network, listen, camera, room, wait_until, call
):
    status = listen(FieldStatus, "status")
    start_node(MappingNode, **(quick | {"teacher.segmenter": network}))
    start_node(QueryNode)
    fed(camera, room, status, wait_until)
    assert wait_until(lambda: status.last.teacher_keyframes >= 3), status.last
    assert wait_until(lambda: status.last.label_names), status.last
    now = status.last
    assert set(now.label_names) <= set(NAMES.values()) and now.teacher == "label_text"
    assert now.meaning == f"labels of colour images by {network}" and now.teacher_error == ""
    assert wait_until(lambda: status.last.teacher_state == "waiting")
    named = status.last.label_names[0]

    def found() -> bool:
        return call(Query, "query", text=named).found

    assert wait_until(found)


def test_without_one_every_answer_names_the_command(
    start_node, quick, listen, camera, room, wait_until, call
):
    status = listen(FieldStatus, "status")
    start_node(MappingNode, **quick)
    start_node(QueryNode)
    fed(camera, room, status, wait_until)
    assert status.last.meaning.startswith("nothing: ") and COMMAND in status.last.meaning
    answers = []

    def answered() -> bool:
        answers.append(call(Query, "query", text="chair"))
        return answers[-1].success

    assert wait_until(answered)
    assert not answers[-1].found and COMMAND in answers[-1].message


def test_weights_that_are_missing_name_the_command(start_node, quick, listen, wait_until):
    status = listen(FieldStatus, "status")
    start_node(MappingNode, **(quick | {"teacher.kind": "segformer-b0"}))
    assert wait_until(lambda: status.last and status.last.teacher_error), status.last
    assert COMMAND in status.last.teacher_error and status.last.teacher == "none"
