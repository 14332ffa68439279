"""Bags whose recorder was killed: write-ahead logs, compression without metadata; read whole."""

import subprocess
import sys

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

from semantic_field.data.bag_types import typestore
from semantic_field.data.bag_writer import write_bag
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.data.sources import open_source

COPY = """
import os, sqlite3, sys
source, target, every = sqlite3.connect(sys.argv[1]), sqlite3.connect(sys.argv[2]), int(sys.argv[3])
target.execute("PRAGMA journal_mode=WAL")
target.execute(f"PRAGMA wal_autocheckpoint={every}")
select = "SELECT name, sql FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'"
tables = source.execute(select).fetchall()
for _, sql in tables:
    target.execute(sql)
for name, _ in sorted(tables, key=lambda row: row[0] == "messages"):
    for number, row in enumerate(source.execute(f"SELECT * FROM {name}")):
        target.execute(f"INSERT INTO {name} VALUES ({','.join('?' * len(row))})", row)
        if number % 4 == 3:
            target.commit()
    target.commit()
os._exit(9)  # killed: nothing is closed
"""


@pytest.fixture(scope="module")
def room():
    return SimulatedRoom(n_frames=12, size=(80, 60))


def assert_whole(location, room):
    source = open_source(location)
    assert len(source) == 12 and source.skipped == {}
    for i in (0, 11):
        np.testing.assert_array_equal(source[i].color, room[i].color)
        np.testing.assert_allclose(source[i].T_world_camera, room.poses[i], atol=1e-9)
    source.close()


@pytest.mark.parametrize("every", [50, 0])  # 0: everything is in the log
@pytest.mark.parametrize("with_metadata", [False, True])
def test_what_lies_in_a_write_ahead_log_is_read(room, tmp_path, every, with_metadata):
    write_bag(room, tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    file = killed / "whole.db3"
    command = [sys.executable, "-c", COPY, tmp_path / "whole" / "whole.db3", file, str(every)]
    assert subprocess.run(command).returncode == 9
    if with_metadata:
        metadata = (tmp_path / "whole" / "metadata.yaml").read_text()
        (killed / "metadata.yaml").write_text(metadata)
    before = {path.name: path.read_bytes() for path in killed.iterdir()}
    assert before["whole.db3-wal"]
    assert_whole(killed, room)
    assert_whole(file, room)
    after = {path.name: path.read_bytes() for path in killed.iterdir()}
    assert after == before  # what is the user's stays as it was


def test_a_damaged_log_gives_what_was_committed_before_it(room, tmp_path):
    """A frame of the log whose checksum is wrong ends it: SQLite's own rule."""
    write_bag(room, tmp_path / "whole")
    file = tmp_path / "x.db3"
    subprocess.run([sys.executable, "-c", COPY, tmp_path / "whole" / "whole.db3", file, "0"])
    log = file.with_name("x.db3-wal")
    log.write_bytes(log.read_bytes()[: log.stat().st_size * 2 // 3])
    assert 0 < len(open_source(file)) < 12


@pytest.mark.parametrize("storage", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_zstd_without_metadata(room, tmp_path, storage, mode):
    write_bag(room, tmp_path / "plain")
    packed = tmp_path / "packed"
    writer = Writer(packed, version=8, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with Reader(tmp_path / "plain") as reader, writer:
        ends = {
            c.id: writer.add_connection(c.topic, c.msgtype, typestore=typestore())
            for c in reader.connections
        }
        for connection, at, raw in reader.messages():
            writer.write(ends[connection.id], at, raw)
    assert_whole(packed, room)
    (packed / "metadata.yaml").unlink()
    assert_whole(packed, room)
    (file,) = packed.iterdir()
    assert_whole(file, room)


def test_a_cut_off_zstd_file_is_named(room, tmp_path):
    file = tmp_path / "x_0.db3.zstd"
    file.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(50))
    with pytest.raises(ValueError, match=r"x_0\.db3\.zstd cannot be decompressed"):
        open_source(file)
