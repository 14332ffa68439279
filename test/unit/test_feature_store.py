"""The feature store: what was written is read, and what went wrong is said and mended."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from semantic_field.teachers.feature_store import (
    DamagedFeaturesError,
    FeatureStore,
    StoreFullError,
    image_key,
)


def arrays(value: float) -> dict:
    features = np.full((2, 3, 4), value, np.float32)
    return {"language": features, "ids": np.arange(5, dtype=np.int32)}


def test_stored_arrays_come_back_as_maps_in_a_new_store(tmp_path):
    FeatureStore(tmp_path, "clip").put("a", arrays(0.1))
    store = FeatureStore(tmp_path, "clip")
    got = store.get("a")
    assert got is not None and "a" in store and len(store) == 1
    assert got["language"].dtype == np.float16 and got["ids"].dtype == np.int32
    assert np.array_equal(got["language"], np.full((2, 3, 4), np.float16(0.1)))
    assert np.array_equal(got["ids"], np.arange(5))
    assert not got["language"].flags.writeable and not got["language"].flags.owndata
    assert store.get("b") is None and FeatureStore(tmp_path, "other").get("a") is None


def test_keys_tell_images_apart():
    image = np.zeros((4, 6, 3), np.uint8)
    other = image.copy()
    other[3, 5, 2] = 1
    keys = {
        image_key(image),
        image_key(other),
        image_key(image.reshape(6, 4, 3)),
        image_key(image, None),
        image_key(image, np.zeros((4, 6), np.float32)),
    }
    assert len(keys) == 5 and image_key(image.copy()) == image_key(image)


def test_chunks_follow_one_another_and_newer_values_win(tmp_path):
    store = FeatureStore(tmp_path, "clip", chunk_bytes=300)
    for i in range(6):
        store.put(f"{i}", arrays(float(i)))
    store.put("2", arrays(9.0))
    assert len(list(store.folder.glob("*.chunk"))) > 2
    for reader in (store, FeatureStore(tmp_path, "clip")):
        values = [float(reader.get(f"{i}")["language"][0, 0, 0]) for i in range(6)]
        assert values == [0.0, 1.0, 9.0, 3.0, 4.0, 5.0]


def test_a_killed_writer_loses_only_what_it_was_writing(tmp_path):
    """A process that is killed in the middle of a write, then another that goes on."""
    program = f"""
import os, numpy as np
from semantic_field.teachers import feature_store as fs
store = fs.FeatureStore({str(tmp_path)!r}, "clip")
store.put("whole", {{"x": np.ones(100, np.float32)}})
os.fsync = lambda number: os.kill(os.getpid(), 9)
store.put("torn", {{"x": np.ones(100, np.float32)}})
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    (chunk,) = FeatureStore(tmp_path, "clip").folder.glob("*.chunk")
    chunk.write_bytes(chunk.read_bytes()[:-50])  # what the disk had not got yet
    store = FeatureStore(tmp_path, "clip")
    assert store.keys() == ["whole"]
    store.put("torn", {"x": np.full(3, 2.0)})
    again = FeatureStore(tmp_path, "clip")
    assert set(again.keys()) == {"whole", "torn"} and again.get("torn")["x"].tolist() == [2, 2, 2]


def test_damaged_data_is_named_and_computed_again(tmp_path):
    store = FeatureStore(tmp_path, "clip")
    store.put("a", arrays(1.0))
    store.put("b", arrays(2.0))
    (chunk,) = store.folder.glob("*.chunk")
    content = bytearray(chunk.read_bytes())
    place = content.index(np.full(4, 1.0, np.float16).tobytes())
    content[place] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(DamagedFeaturesError, match="image a"):
        FeatureStore(tmp_path, "clip").get("a")
    store = FeatureStore(tmp_path, "clip")
    assert store.get_or_compute("a", lambda: arrays(3.0))["language"].max() == 3.0
    assert store.get("b")["language"].max() == 2.0
    assert FeatureStore(tmp_path, "clip").get("a")["language"].max() == 3.0


def test_damaged_head_stops_the_chunk_and_is_said(tmp_path, caplog):
    store = FeatureStore(tmp_path, "clip")
    store.put("a", arrays(1.0))
    (chunk,) = store.folder.glob("*.chunk")
    content = bytearray(chunk.read_bytes())
    content[40] ^= 1
    chunk.write_bytes(content)
    assert len(FeatureStore(tmp_path, "clip")) == 0 and "is damaged" in caplog.text


def test_full_disk_is_said_and_nothing_is_lost(tmp_path, monkeypatch, caplog):
    store = FeatureStore(tmp_path, "clip")
    store.put("a", arrays(1.0))

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFullError, match=r"1 stored images.*teacher\.store"):
        store.put("b", arrays(2.0))
    assert store.get_or_compute("c", lambda: arrays(4.0))["language"].max() == 4.0
    assert "not kept" in caplog.text and store.keys() == ["a"]
    monkeypatch.undo()
    store.put("b", arrays(2.0))
    again = FeatureStore(tmp_path, "clip")
    assert again.keys() == ["a", "b"] and again.get("b")["language"].max() == 2.0


def test_two_writers_share_a_store(tmp_path):
    first, second = (FeatureStore(tmp_path, "clip") for _ in range(2))
    first.put("a", arrays(1.0))
    second.put("b", arrays(2.0))
    first.refresh()
    assert set(first.keys()) == {"a", "b"}


def test_refused_values_and_folders(tmp_path):
    store = FeatureStore(tmp_path, "clip")
    with pytest.raises(ValueError, match="finite"):
        store.put("a", {"x": np.array([1e6])})
    with pytest.raises(ValueError, match="one of"):
        store.put("a", {"x": np.array(["text"])})
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"teacher\.store"):
        FeatureStore(tmp_path / "file", "clip")


@pytest.fixture
def write_protected():
    """A store with the image "a" whose files nobody may write, not even root."""
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    FeatureStore(base / "store", "clip").put("a", arrays(1.0))
    for path in (base / "store", *(base / "store").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield base / "store"
    if is_root:
        os.seteuid(0)
    for path in (base / "store", *(base / "store").rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(base)


def test_a_store_that_is_only_read_serves_what_it_holds(write_protected, caplog):
    store = FeatureStore(write_protected, "clip")
    assert store.get("a")["language"].max() == 1.0
    with pytest.raises(StoreFullError, match="Permission denied"):
        store.put("b", arrays(2.0))
    other = FeatureStore(write_protected, "another teacher")  # it has no folder there, nor gets one
    assert other.get_or_compute("a", lambda: arrays(3.0))["language"].max() == 3.0
    assert "not kept" in caplog.text and "none are kept there" in caplog.text
    with pytest.raises(ValueError, match=r"teacher\.store"):
        FeatureStore(write_protected.parent / "none", "clip")


@pytest.mark.parametrize("what", ["chunk", "folder"])
def test_what_was_removed_while_running_is_made_again(tmp_path, what):
    store = FeatureStore(tmp_path, "clip")
    store.put("a", arrays(1.0))
    if what == "chunk":
        next(store.folder.glob("*.chunk")).unlink()
    else:
        shutil.rmtree(store.folder)
    store.put("b", arrays(2.0))
    assert store.keys() == ["b"] and store.get("b")["language"].max() == 2.0
    assert store.get_or_compute("a", lambda: arrays(3.0))["language"].max() == 3.0
    again = FeatureStore(tmp_path, "clip")
    assert set(again.keys()) == {"a", "b"} and (store.folder / "teacher.txt").exists()


def test_images_of_a_chunk_that_is_gone_are_unknown(tmp_path):
    store, reader = FeatureStore(tmp_path, "clip"), FeatureStore(tmp_path, "clip")
    store.put("a", arrays(1.0))
    reader.refresh()
    shutil.rmtree(store.folder)
    assert store.get("a") is None
    reader.refresh()
    assert len(reader) == 0


def test_no_room_for_a_new_chunk_is_a_full_disk(tmp_path):
    store = FeatureStore(tmp_path, "clip")
    shutil.rmtree(store.folder)
    store.folder.write_text("in the way")
    with pytest.raises(StoreFullError):
        store.put("a", arrays(1.0))
    assert store.get_or_compute("a", lambda: arrays(2.0))["language"].max() == 2.0


def test_half_a_record_that_stays_behind_hides_no_other(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path, "clip")
    store.put("a", arrays(1.0))

    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    monkeypatch.setattr(os, "truncate", broken)
    with pytest.raises(StoreFullError):
        store.put("b", arrays(2.0))
    monkeypatch.undo()
    store.put("c", arrays(3.0))
    assert len(list(store.folder.glob("*.chunk"))) == 2
    assert {"a", "c"} <= set(FeatureStore(tmp_path, "clip").keys())
