"""Both nodes with a CLIP model of the user's own: a small random one, loaded the real way."""

from __future__ import annotations

import json

import pytest

import embedded_ros

embedded_ros.install()

from semantic_field.msg import FieldStatus  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.srv import Query  # noqa: E402

pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(model.state_dict(), folder / "trained.pt")
    return str(folder)


def test_a_clip_of_ones_own_maps_and_answers(
    start_node, quick, checkpoint, listen, camera, room, wait_until, call, tmp_path
):
    status = listen(FieldStatus, "status")
    teacher = {"teacher.kind": "open_clip", "teacher.path": checkpoint, "teacher.device": "cpu"}
    images = {"language.source": "images", "teacher.store": str(tmp_path)}
    start_node(MappingNode, **(quick | teacher | images))
    start_node(QueryNode, **teacher)
    camera.add_labels()
    camera.wait(wait_until)
    source, frames = room
    camera.send_names(source.label_names)
    for i, frame in enumerate(frames[:3]):
        camera.send(frame)
        assert wait_until(lambda n=i + 1: status.last and status.last.keyframes >= n), status.last
    assert wait_until(lambda: status.last.teacher_keyframes >= 3), status.last
    now = status.last
    assert now.teacher == "open_clip" and now.teacher_error == "" and now.teacher_rate > 0
    assert wait_until(lambda: status.last.teacher_backlog == 0)
    assert wait_until(lambda: status.last.teacher_state == "waiting")
    assert len(list(tmp_path.glob("*/*.chunk"))) == 2  # of language and of regions

    def answered() -> bool:
        # What is found says nothing: the weights are random.
        return call(Query, "query", text="somewhere to sit").success

    assert wait_until(answered)


def test_without_a_checkpoint_mapping_goes_on(start_node, quick, listen, camera, room, wait_until):
    status = listen(FieldStatus, "status")
    without = {"teacher.kind": "open_clip", "language.source": "images"}
    start_node(MappingNode, **(quick | without))
    camera.add_labels()
    camera.wait(wait_until)
    camera.send(room[1][0])
    assert wait_until(lambda: status.last and status.last.steps > 5), status.last
    now = status.last
    assert now.state == "mapping" and now.teacher == "none" and now.teacher_state == "off"
    assert "teacher.path" in now.teacher_error and "huggingface-cli" in now.teacher_error
