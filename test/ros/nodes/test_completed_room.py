"""End to end: a walk that ends halfway, and a chair that was seen from one side becomes whole."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest
from scipy.spatial import KDTree
from trained_room import half_walk

import embedded_ros

embedded_ros.install()

from semantic_field.data.simulated_room import RoomObject, SimulatedRoom  # noqa: E402
from semantic_field.geometry import Camera, depth_to_world, look_at  # noqa: E402
from semantic_field.nodes.commands.demo_object import complete_one  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.client import Client  # noqa: E402
from semantic_field.object_prior.category_decision import (  # noqa: E402
    CategoryDecision,
    LogisticModel,
)
from semantic_field.object_prior.fit_quality import QUALITIES  # noqa: E402
from semantic_field.object_prior.prior_completer import PriorCompleter  # noqa: E402
from semantic_field.object_prior.training.prior_files import load_prior  # noqa: E402
from semantic_field.srv import CompleteObject, Query  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


def chair_completer() -> PriorCompleter:
    """The package's prior of chairs, with a decision that believes every fit."""
    nothing = np.zeros(len(QUALITIES))
    believing = LogisticModel(nothing, np.ones(len(QUALITIES)), nothing, 3.0)
    return PriorCompleter({"chair": load_prior("chair")}, CategoryDecision({"chair": believing}))


def surface_of(room: SimulatedRoom, thing: RoomObject) -> np.ndarray:
    """Points (N, 3) of the surface of an object, from cameras all around it, a centimetre apart."""
    camera = Camera.from_field_of_view(160, 160, 0.9)
    found = []
    for turn in np.radians(np.arange(0, 360, 45)):
        for height in (0.15, 1.2):
            eye = [*(thing.centre[:2] + 1.3 * np.array([np.cos(turn), np.sin(turn)])), height]
            frame = room.view(camera, look_at(eye, thing.centre))
            shown = frame.instances == thing.instance
            found.append(depth_to_world(frame.depth, camera, frame.T_world_camera, shown))
    points = np.concatenate(found)
    return points[np.unique(np.rint(points / 0.01), axis=0, return_index=True)[1]]


def places_in(cloud) -> np.ndarray:
    points = conversions.cloud_arrays(cloud)
    return np.stack([points[axis] for axis in "xyz"], axis=1)


@pytest.fixture
def make_client(context):
    """Clients as commands use them; closed after the test."""
    made = []

    def make(name: str) -> Client:
        made.append(Client(name, context=context))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def mapped(start_node, quick, tmp_path, ask):
    """A mapping node with the map of half a walk, and a query node that knows chairs."""
    mapper, room = half_walk()
    mapper.save(tmp_path / "map.safetensors")
    same = {"field.grid.log2_table_size": 16, "mapping.rays_per_step": 1024, "mapping.threads": 1}
    path = {"map_path": str(tmp_path / "map.safetensors"), "load_map_at_start": True}
    start_node(MappingNode, **(quick | same | path))
    start_node(partial(QueryNode, chair_completer()))
    ask("chair")
    return room


def test_a_chair_that_was_seen_from_one_side_becomes_whole(mapped, call):
    room = mapped
    chairs = [thing for thing in room.objects if thing.name == "chair"]
    answer = call(Query, "query", text="chair", with_cloud=True)
    known = KDTree(places_in(answer.relevancy))
    checked = 0
    for hit in answer.hits:
        place = np.array([getattr(hit.pose.position, axis) for axis in "xyz"])
        chair = min(chairs, key=lambda thing, at=place: np.linalg.norm(thing.centre - at))
        if np.linalg.norm((chair.centre - place)[:2]) > 0.3 or checked == 2:
            continue
        whole = call(CompleteObject, "complete_object", id=hit.id)
        assert whole.success and whole.category == "chair", whole.message
        assert whole.view_count >= 1
        places = places_in(whole.cloud)
        observed, predicted = places[: whole.observed_count], places[whole.observed_count :]
        assert len(observed) >= hit.point_count and len(predicted) > 50
        truth = surface_of(room, chair)
        assert np.quantile(known.query(observed)[0], 0.95) < 0.03  # the map has been trained on
        unseen = truth[KDTree(observed).query(truth)[0] > 0.035]
        added, missed = KDTree(truth).query(predicted)[0], KDTree(places).query(unseen)[0]
        alone = KDTree(observed).query(unseen)[0]
        assert added.mean() < 0.06 and missed.mean() < 0.06
        assert missed.mean() < 0.5 * alone.mean()  # far better than what was observed
        names = {part.name for part in whole.parts}
        assert {"seat", "backrest", "leg"} <= names
        top = next(part for part in whole.parts if part.name == "backrest")
        leg = next(part for part in whole.parts if part.name == "leg")
        assert top.pose.position.z > 0.5 > leg.pose.position.z > 0.0
        checked += 1
    assert checked == 2


def test_a_part_of_it_can_be_asked_for(mapped, call):
    answer = call(Query, "query", text="the backrest of the chair")
    assert answer.found and answer.hits[0].part == "backrest", answer.message
    part = answer.hits[0]
    chairs = [thing for thing in mapped.objects if thing.name == "chair"]
    place = np.array([getattr(part.pose.position, axis) for axis in "xyz"])
    chair = min(chairs, key=lambda thing: np.linalg.norm(thing.centre - place))
    assert np.linalg.norm((chair.centre - place)[:2]) < 0.35 and 0.45 < place[2] < 0.95
    assert 0 <= part.predicted <= 1 and (
        "observed" in answer.message or "predicted" in answer.message
    )


def test_the_demo_shows_it(mapped, call, make_client, tmp_path):
    answers = {text: call(Query, "query", text=text) for text in ("sofa", "chair")}
    told = complete_one(make_client("demo"), answers, tmp_path)
    assert told["success"] and told["category"] == "chair", told
    picture = cv2.imread(str(tmp_path / "completed.png"))
    drawn = (picture != 255).any(-1).reshape(2, -1, 3, picture.shape[1] // 3).sum((1, 3))
    assert (drawn > 500).all()
    head = (tmp_path / "completed.ply").read_bytes().partition(b"end_header\n")[0].decode()
    assert f"element vertex {told['points']}\n" in head
    nothing = complete_one(make_client("other"), {"sofa": answers["sofa"]}, tmp_path / "other")
    assert not nothing["success"] and "no prior for 'sofa'" in nothing["message"]
