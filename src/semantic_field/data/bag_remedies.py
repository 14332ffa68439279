"""Explanations why a rosbag2 cannot be read, with a remedy for each cause."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from semantic_field.data.bag_files import storage_name

LFS_POINTER = b"version https://git-lfs"
_MCAP_MAGIC = b"\x89MCAP0\r\n"
_FOOTER_BYTES = 37
_CHANNEL = 0x04
_REINDEX = (
    "a recording that was not closed can be repaired with: mcap recover FILE, or "
    "ros2 bag reindex DIRECTORY"
)
# Words in the library's error messages, and the remedy.
_REMEDIES = {
    "files are missing": "put the file back beside metadata.yaml; or remove metadata.yaml, and "
    "the files that are there are read without it",
    "Compression format": "decompress it where its plugin is installed: write "
    "{{output_bags: [{{uri: plain, storage_id: mcap, all: true}}]}} to out.yaml, then "
    "ros2 bag convert -i {path} -o out.yaml",
    "chunk compression": "write it anew with a compression that everything reads: "
    "mcap compress --compression zstd {path} -o new.mcap",
    "Serialization format": "only CDR, ROS 2's own serialisation, can be read: record the topics "
    "again with ros2 bag record",
    "Storage plugin": "write it anew where its plugin is installed: write "
    "{{output_bags: [{{uri: new, storage_id: mcap, all: true}}]}} to out.yaml, then "
    "ros2 bag convert -i {path} -o out.yaml",
    "YAML": "move metadata.yaml away and write it anew: ros2 bag reindex {path}",
    "metadata key": "move metadata.yaml away and write it anew: ros2 bag reindex {path}",
    "Invalid bag metadata": "move metadata.yaml away and write it anew: ros2 bag reindex {path}",
    "Rosbag2 version": "update the reader: pip install -U rosbags",
    "no metadata.yaml": "open the file of the recording itself, or unpack what is compressed: "
    "unzstd FILE.zstd",
    "seems to be empty": "nothing was written to it: record again",
    "not a database": "the file is no SQLite database, or its beginning is damaged: copy it again",
}


def is_lfs_pointer(path: Path) -> bool:
    """Return whether a file is only a git-lfs pointer, whose content was not fetched."""
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def explain(path: Path, error: object) -> str:
    """Describe what is wrong with the bag at ``path``, which the library rejected with ``error``,
    and the remedy."""
    for file in _files(path):
        if is_lfs_pointer(file):
            return (
                f"{file.name} is only git-lfs's pointer to the recording; fetch it with: "
                f"git lfs pull --include {file.name}"
            )
        if file.suffix == ".mcap" and (foreign := _foreign_mcap(file)):
            return foreign
    remedy = next((r for words, r in _REMEDIES.items() if words in str(error)), _REINDEX)
    return f"{str(error).rstrip('.')}; {remedy.format(path=path)}"


def _files(path: Path) -> Iterator[Path]:
    candidates = sorted(path.iterdir()) if path.is_dir() else [path]
    return (file for file in candidates if file.is_file() and storage_name(file))


def _foreign_mcap(file: Path) -> str:
    """Return why an intact MCAP file is not a ROS 2 recording, "" if it is one."""
    raw = file.read_bytes() if file.stat().st_size < 1 << 20 else _both_ends(file)
    if not (raw.startswith(_MCAP_MAGIC) and raw.endswith(_MCAP_MAGIC)):
        return ""
    (length,) = struct.unpack_from("<I", raw, 17)
    profile = raw[21 : 21 + length].decode("utf-8", "replace")
    encodings = sorted({encoding for _, encoding in _channels(file)})
    if profile == "ros2" and set(encodings) <= {"cdr"}:
        return ""
    what = f"profile {profile!r}, messages in {', '.join(encodings) or 'no encoding'}"
    if profile == "ros1" or "ros1" in encodings:
        return (
            f"{file.name} is an MCAP file of ROS 1 ({what}); convert the ROS 1 bag it was made "
            "from: rosbags-convert --src X.bag --dst X"
        )
    if set(encodings) <= {"cdr"}:
        return (
            f"{file.name} does not say that it is of ROS 2 ({what}); write it anew with: "
            f"ros2 bag convert, or set the profile 'ros2' where it is written"
        )
    topics = ", ".join(topic for topic, encoding in _channels(file) if encoding != "cdr")
    return (
        f"{file.name} is not of ROS 2 ({what}); record {topics} as ROS 2 messages "
        "(sensor_msgs, tf2_msgs): ros2 bag record --storage mcap"
    )


def _both_ends(file: Path) -> bytes:
    with file.open("rb") as stream:
        head = stream.read(4096)
        stream.seek(-_FOOTER_BYTES, 2)
        return head + stream.read()


def _channels(file: Path) -> list[tuple[str, str]]:
    """Return topic and message encoding of the channels in the summary at the end of a file."""
    with file.open("rb") as stream:
        stream.seek(-_FOOTER_BYTES, 2)
        (start,) = struct.unpack_from("<Q", stream.read(), 9)
        if not start:
            return []
        stream.seek(start)
        summary = stream.read()[:-_FOOTER_BYTES]
    found, at = [], 0
    while at + 9 <= len(summary):
        kind, (size,) = summary[at], struct.unpack_from("<Q", summary, at + 1)
        if kind == _CHANNEL:
            topic, after = _text(summary, at + 13)
            found.append((topic, _text(summary, after)[0]))
        at += 9 + size
    return found


def _text(raw: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", raw, at)
    return raw[at + 4 : at + 4 + length].decode("utf-8", "replace"), at + 4 + length
