"""The map as bytes: what goes in comes out, and anything else is refused with its reason."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import numpy as safetensors_numpy

from semantic_field.config import FieldConfig
from semantic_field.field import map_file
from semantic_field.field.map_file import dump_map, load_map, read_map, write_map
from semantic_field.field.map_state import LanguageSpace, MapState
from semantic_field.field.model import SemanticField
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.settings import updated

CONFIG = updated(
    FieldConfig(), {"grid.levels": 3, "grid.log2_table_size": 9, "latent_dim": 8, "voxel_m": 0.1}
)


@pytest.fixture(scope="module")
def state() -> MapState:
    """A small map with two written lines in its table, and everything else filled in."""
    torch.manual_seed(0)
    field = SemanticField(CONFIG, classes=2)
    field.table.data[0, 4:8] = torch.randn(4, 4)
    field.table.data[2, 100] = torch.randn(4)
    voxels, reach = VoxelGrid(0.1), VoxelGrid(0.1)
    points = np.random.default_rng(0).uniform(-1, 2, (50, 3)).astype(np.float32)
    voxels.insert(points)
    reach.insert(points + np.float32(0.1))
    basis = torch.zeros(5, 8)
    basis[:2, :2] = torch.eye(2)
    return MapState(
        field=field.eval().requires_grad_(False),
        frame_id="map",
        bounds=voxels.bounds(),
        voxels=voxels,
        reach=reach,
        label_names={3: "chair", 40: "Tisch, groß", 7: "never seen"},
        class_ids=(40, 3),
        language=LanguageSpace(basis, torch.full((5,), 0.1), 2, "teacher-1", 0.05, 1),
        version=12,
        steps=345,
        stamp_ns=1_700_000_000_123_456_789,
    )


def test_round_trip(state: MapState) -> None:
    again = load_map(dump_map(state))
    simple = ("frame_id", "label_names", "class_ids", "version", "steps", "stamp_ns", "training")
    for name in simple:
        assert getattr(again, name) == getattr(state, name)
    np.testing.assert_array_equal(again.bounds, state.bounds)
    points = torch.rand(100, 3) * 3 - 1
    pairs = zip(again.field.geometry(points), state.field.geometry(points), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=2e-3)  # the table is float16
    for name in ("voxels", "reach"):
        mine, theirs = getattr(again, name), getattr(state, name)
        np.testing.assert_array_equal(mine.lookup(points.numpy()), theirs.lookup(points.numpy()))
    assert again.language is not None and state.language is not None
    assert torch.equal(again.language.basis, state.language.basis)
    assert again.language.rank == 2 and again.language.temperature == 0.05
    assert again.language.fingerprint == "teacher-1" and again.language.text_rank == 1
    assert again.field.config == CONFIG


def test_without_language_and_empty(state: MapState) -> None:
    empty = dataclasses.replace(
        state,
        language=None,
        voxels=VoxelGrid(0.1),
        reach=VoxelGrid(0.1),
        bounds=np.zeros((2, 3)),
        field=SemanticField(CONFIG, classes=0),
        class_ids=(),
    )
    again = load_map(dump_map(empty))
    assert again.language is None
    assert again.teacher_fingerprint == ""
    assert len(again.voxels) == 0


def test_training_state_makes_the_table_exact(state: MapState) -> None:
    training = {"moments.used": np.arange(3, dtype=np.int32), "rays": np.array(17)}
    with_training = dataclasses.replace(state, training=training)
    again = load_map(dump_map(with_training))
    assert torch.equal(again.field.table, state.field.table)
    assert again.training["rays"] == 17
    np.testing.assert_array_equal(again.training["moments.used"], [0, 1, 2])


def test_every_truncation_is_refused(state: MapState) -> None:
    data = dump_map(state)
    for length in [0, 1, 7, 8, 9, 200, len(data) // 2, len(data) - 1]:
        with pytest.raises(ValueError, match="damaged"):
            load_map(data[:length])
    with pytest.raises(ValueError, match="damaged"):
        load_map(data + b"\0")


def test_every_flipped_bit_is_refused(state: MapState) -> None:
    data = dump_map(state)
    random = np.random.default_rng(0)
    places = [*range(0, 64, 5), *random.integers(0, len(data), 150).tolist()]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        with pytest.raises(ValueError, match="expected"):
            load_map(bytes(flipped))


def rewritten(data: bytes, change) -> bytes:
    """The blob with its metadata changed and the checksum made right again."""
    header = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + header])["__metadata__"]
    arrays = safetensors_numpy.load(data)
    about = json.loads(metadata[map_file.FORMAT])
    about.pop("checksum")
    change(about)
    about["checksum"] = map_file.digest(arrays, about)
    return safetensors_numpy.save(arrays, metadata={map_file.FORMAT: json.dumps(about)})


def test_maps_of_format_6_begin_at_zero(state: MapState) -> None:
    def older(about: dict) -> None:
        about["format_version"] = 6
        del about["origin"]

    far = dataclasses.replace(state, origin=np.array([458_000.0, 5_429_000.0, 100.0]))
    assert load_map(dump_map(far)).origin.tolist() == [458_000.0, 5_429_000.0, 100.0]
    assert load_map(rewritten(dump_map(far), older)).origin.tolist() == [0.0, 0.0, 0.0]


def test_maps_that_do_not_say_which_columns_texts_took(state: MapState) -> None:
    def older(about: dict) -> None:
        del about["language"]["text_rank"]

    again = load_map(rewritten(dump_map(state), older)).language
    assert again is not None and again.text_rank is None and again.rank == 2


def test_wrong_version(state: MapState) -> None:
    data = rewritten(dump_map(state), lambda about: about.update(format_version=99))
    with pytest.raises(ValueError, match=r"version 7 or version 6, got 99.*release that wrote it"):
        load_map(data)


@pytest.mark.parametrize(
    "bounds",
    [[[0, 0, 0], [1, 1, 1]], [[2, 2, 2], [-1, -1, -1]], [[0, 0], [1, 1]], [[float("nan")] * 3] * 2],
)
def test_wrong_bounds(state: MapState, bounds: list) -> None:
    data = rewritten(dump_map(state), lambda about: about.update(bounds=bounds))
    with pytest.raises(ValueError, match="expected bounds"):
        load_map(data)


def test_settings_that_do_not_fit_the_arrays(state: MapState) -> None:
    data = rewritten(dump_map(state), lambda about: about["field"].update(hidden_dim=64))
    with pytest.raises(ValueError, match="damaged"):
        load_map(data)
    data = rewritten(dump_map(state), lambda about: about.update(level_sizes=[8, 8, 1024]))
    with pytest.raises(ValueError, match="power of two"):
        load_map(data)


def test_other_blobs_are_refused() -> None:
    with pytest.raises(ValueError, match="save_map"):
        load_map(safetensors_numpy.save({"a": np.zeros(3)}))
    with pytest.raises(ValueError, match="damaged"):
        load_map(b"not a map at all, just some text that is long enough")


def test_file_is_replaced_whole_or_not_at_all(tmp_path) -> None:
    path = tmp_path / "living room.map"
    write_map(path, b"first")
    write_map(path, b"second")
    assert read_map(path) == b"second"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(OSError):
        write_map(tmp_path / "no such folder" / "map", b"third")
    with pytest.raises(TypeError):
        write_map(path, None)
    assert read_map(path) == b"second"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
