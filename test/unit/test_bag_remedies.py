"""Bags that cannot be read: each cause is named with its own remedy."""

import struct

import pytest
import yaml

from semantic_field.data.bag_writer import write_bag
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.data.sources import open_source

MAGIC = b"\x89MCAP0\r\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:12ab\nsize 123456\n"


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def mcap(profile: str, encoding: str, schema_encoding: str) -> bytes:
    """A whole MCAP file without messages: header, data end, summary of one channel, footer."""
    start = MAGIC + record(0x01, text(profile) + text("someone")) + record(0x0F, bytes(4))
    schema = struct.pack("<H", 1) + text("foxglove.RawImage") + text(schema_encoding) + text("x")
    channel = struct.pack("<HH", 1, 1) + text("/image") + text(encoding) + struct.pack("<I", 0)
    statistics = record(0x0B, struct.pack("<QHIIIIQQI", 0, 1, 1, 0, 0, 0, 0, 0, 0))
    summary = record(0x03, schema) + record(0x04, channel) + statistics
    return start + summary + record(0x02, struct.pack("<QQI", len(start), 0, 0)) + MAGIC


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (mcap("ros1", "ros1", "ros1msg"), r"MCAP file of ROS 1 .*rosbags-convert"),
        (mcap("", "protobuf", "protobuf"), r"profile '', messages in protobuf.*/image as ROS 2"),
        (mcap("ros2", "json", "jsonschema"), r"profile 'ros2', messages in json.*/image as ROS 2"),
        (POINTER.encode(), r"git-lfs's pointer.*git lfs pull --include x\.mcap"),
        (b"", r"empty.*record again"),
        (mcap("ros2", "cdr", "ros2msg")[:-40], r"mcap recover"),
    ],
)
def test_mcap_files(tmp_path, content, words):
    (tmp_path / "x.mcap").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        open_source(tmp_path / "x.mcap")


@pytest.fixture
def bag(tmp_path):
    write_bag(SimulatedRoom(n_frames=2, size=(32, 24)), tmp_path / "bag")
    return tmp_path / "bag"


def change(bag, **fields):
    path = bag / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    content["rosbag2_bagfile_information"] |= fields
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"compression_mode": "FILE", "compression_format": "bz2"},
            r"'bz2' is not supported.*ros2 bag convert -i .*/bag -o out\.yaml",
        ),
        ({"storage_identifier": "rosbag_v2"}, r"'rosbag_v2' not supported.*ros2 bag convert"),
        ({"relative_file_paths": ["gone_0.db3"]}, r"gone_0\.db3.*put the file back"),
        ({"version": 99}, r"pip install -U rosbags"),
        ({"duration": None}, r"ros2 bag reindex .*/bag"),
    ],
)
def test_metadata(bag, fields, words):
    change(bag, **fields)
    with pytest.raises(ValueError, match=words):
        open_source(bag)


def test_pointers_of_git_lfs(bag):
    next(bag.glob("*.db3")).write_text(POINTER)
    with pytest.raises(ValueError, match=r"git lfs pull --include bag\.db3"):
        open_source(bag)


def test_a_file_that_is_no_database(bag):
    next(bag.glob("*.db3")).write_text("something else " * 100)
    with pytest.raises(ValueError, match=r"not a database.*copy it again"):
        open_source(bag)
