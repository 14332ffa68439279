"""What teachers said of images, kept on disk: computed once, read by memory map ever after.

A store is a folder with one folder for each teacher (by fingerprint), and in that a number of
append-only chunk files. A chunk is a row of records:

    magic, lengths of head u32 and data u64, CRC-32 of data u32 and head u32
    head: JSON with the image's key and each array's name, type, shape and offset in the data
    data: the arrays, each at a multiple of 64 bytes, so that they can be mapped as they lie

Every writer opens chunks of its own, so several processes may share a store, and a record that a
killed writer left half done is at a chunk's end, where reading stops. Floating-point arrays are
stored as float16. Nothing is ever changed in place.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)
Arrays = dict[str, NDArray]

MAGIC = b"SFfeat1\n"
PREFIX = struct.Struct("<8sIQII")
ALIGNMENT = 64
CHUNK_BYTES = 256 << 20  # a record is never split; a chunk ends with the record that fills it
TYPES = frozenset(["float16", "int64", "int32", "int16", "uint8", "uint16", "bool"])


class DamagedFeaturesError(ValueError):
    """A record whose bytes are not those that were written."""


class StoreFullError(OSError):
    """The disk took no more, or takes nothing; what the store held before is still there."""


@dataclass(frozen=True)
class _Record:
    chunk: Path
    start: int  # of the data, bytes
    length: int
    checksum: int
    arrays: dict[str, dict]


def image_key(*images: NDArray | None) -> str:
    """The key of an image: a hash over its size, type and pixels; several count together."""
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        if image is None:
            digest.update(b"none")
            continue
        digest.update(f"{image.dtype.str}{image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


class FeatureStore:
    """The records of one teacher. Calls from several threads are safe.

    Args:
        folder: of the store; made where it does not exist. One that can only be read serves
            what it holds.
        fingerprint: of the teacher; records of others are not seen.
        chunk_bytes: from this size on a chunk is followed by a new one.
    Raises:
        ValueError: where the folder can be neither read nor made.
    """

    def __init__(
        self, folder: str | Path, fingerprint: str, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        name = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        self.folder = Path(folder).expanduser() / name
        self._chunk_bytes, self._lock = chunk_bytes, threading.RLock()
        self._records: dict[str, _Record] = {}
        self._scanned: dict[Path, int] = {}
        self._maps: dict[Path, np.memmap] = {}
        self._checked: set[str] = set()
        self._own: Path | None = None
        self._fingerprint = fingerprint
        try:
            self._make_folder()
        except OSError as error:
            if not os.path.isdir(self.folder.parent):
                raise ValueError(
                    f"expected a folder for features, got {folder}: {error}; set teacher.store to "
                    "another one, or to '' for none"
                ) from error
            log.warning("features are read from %s, and none are kept there: %s", folder, error)
        self.refresh()

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / "teacher.txt"
        if not about.exists():
            about.write_text(self._fingerprint + "\n")

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def keys(self) -> list[str]:
        """The keys of all images, in the order in which they were stored."""
        return list(self._records)

    def refresh(self) -> None:
        """See what other processes have added, and what was removed."""
        with self._lock:
            chunks = {chunk: _age(chunk) for chunk in self.folder.glob("*.chunk")}
            for chunk in self._scanned.keys() - chunks.keys():
                self._forget(chunk)
            for chunk in sorted(chunks, key=chunks.__getitem__):
                self._scan(chunk)

    def get(self, key: str) -> Arrays | None:
        """The arrays of an image as read-only memory maps; None where there are none.

        Raises:
            DamagedFeaturesError: where the bytes are not those that were written. The record is
                forgotten then, so that it can be put again.
        """
        with self._lock:
            record = self._records.get(key)
            if record is not None and not record.chunk.exists():
                self._forget(record.chunk)
                record = None
            if record is None:
                return None
            data = self._map(record.chunk)[record.start : record.start + record.length]
            if key not in self._checked:
                if len(data) != record.length or zlib.crc32(data.data) != record.checksum:
                    del self._records[key]
                    raise DamagedFeaturesError(
                        f"expected the features of image {key} in {record.chunk} as they were "
                        "written, got other bytes; they have to be computed again"
                    )
                self._checked.add(key)
        return {name: _view(data, item) for name, item in record.arrays.items()}

    def put(self, key: str, arrays: Arrays) -> None:
        """Store the arrays of an image; a key that is stored already gets the new ones.

        Raises:
            ValueError: on values that are not finite, or types other than numbers and bool.
            StoreFullError: where the disk is full.
        """
        head, data = _packed(key, arrays)
        prefix = PREFIX.pack(MAGIC, len(head), len(data), zlib.crc32(data), zlib.crc32(head))
        with self._lock:
            try:
                self._append(prefix + head, data)
            except OSError as error:
                raise StoreFullError(
                    error.errno,
                    f"expected room for {len(data) / 1e6:.1f} MB of features, got "
                    f"'{error.strerror}'; the {len(self)} stored images are intact: make room, or "
                    "set teacher.store to another disk",
                    str(self.folder),
                ) from error
            self._checked.discard(key)

    def _append(self, head: bytes, data: bytes) -> None:
        """Write one record whole, or leave nothing of it behind."""
        chunk = self._writable()
        end = chunk.stat().st_size
        try:
            with chunk.open("ab") as file:
                file.write(head)
                file.write(b"\0" * (-file.tell() % ALIGNMENT))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self._own = None  # where half a record stays behind, no other must follow it
            os.truncate(chunk, end)
            self._own = chunk
            raise
        self._scan(chunk)

    def get_or_compute(self, key: str, compute: Callable[[], Arrays]) -> Arrays:
        """The stored arrays, or those that ``compute`` gives, which are stored then.

        Damaged records are computed again. Where the disk is full the arrays are still returned
        (as float16, as they would be stored), with a warning.
        """
        try:
            stored = self.get(key)
        except DamagedFeaturesError as error:
            log.warning("%s", error)
            stored = None
        if stored is not None:
            return stored
        arrays = compute()
        try:
            self.put(key, arrays)
            stored = self.get(key)
        except StoreFullError as error:
            log.warning("features are not kept: %s", error)
        return stored or {name: _storable(name, array) for name, array in arrays.items()}

    def _writable(self) -> Path:
        """The chunk of this process that has room left, perhaps a new one."""
        if self._own is not None and not self._own.exists():
            self._forget(self._own)
        if self._own is None or self._own.stat().st_size >= self._chunk_bytes:
            self._make_folder()  # somebody may have removed it since
            for number in itertools.count(len(self._scanned)):
                chunk = self.folder / f"{number:06d}-{os.getpid()}.chunk"
                try:
                    chunk.open("xb").close()
                except FileExistsError:
                    continue
                self._own = chunk
                break
        assert self._own is not None
        return self._own

    def _forget(self, chunk: Path) -> None:
        """Somebody has removed a chunk."""
        self._own = None if self._own == chunk else self._own
        self._scanned.pop(chunk, None)
        self._maps.pop(chunk, None)
        gone = [key for key, record in self._records.items() if record.chunk == chunk]
        for key in gone:
            del self._records[key]
        self._checked.difference_update(gone)

    def _scan(self, chunk: Path) -> None:
        """Note the whole records behind what was seen of a chunk before."""
        size, position = chunk.stat().st_size, self._scanned.get(chunk, 0)
        with chunk.open("rb") as file:
            while position + PREFIX.size <= size:
                file.seek(position)
                magic, head_length, length, checksum, of_head = PREFIX.unpack(
                    file.read(PREFIX.size)
                )
                head = file.read(head_length)
                if magic != MAGIC or len(head) != head_length or zlib.crc32(head) != of_head:
                    log.warning(
                        "%s is damaged or incomplete from byte %d on; what lay there is computed "
                        "again when it is asked for",
                        chunk,
                        position,
                    )
                    break
                start = position + PREFIX.size + head_length
                start += -start % ALIGNMENT
                if start + length > size:
                    break  # half written
                content = json.loads(head)
                record = _Record(chunk, start, length, checksum, content["arrays"])
                self._records.pop(content["key"], None)
                self._records[content["key"]] = record
                position = start + length
        self._scanned[chunk] = position

    def _map(self, chunk: Path) -> np.memmap:
        """The bytes of a chunk; mapped again when it has grown."""
        known = self._maps.get(chunk)
        if known is None or len(known) < chunk.stat().st_size:
            self._maps[chunk] = known = np.memmap(chunk, np.uint8, "r")
        return known


def _age(chunk: Path) -> tuple[float, str]:
    return chunk.stat().st_mtime, chunk.name


def _packed(key: str, arrays: Arrays) -> tuple[bytes, bytes]:
    """Head and data of a record."""
    parts: list[bytes] = []
    described, offset = {}, 0
    for name, array in arrays.items():
        stored = _storable(name, array)
        described[name] = {"type": stored.dtype.name, "shape": stored.shape, "offset": offset}
        data = stored.tobytes()
        padding = -len(data) % ALIGNMENT
        parts += [data, b"\0" * padding]
        offset += len(data) + padding
    return json.dumps({"key": key, "arrays": described}).encode(), b"".join(parts)


def _storable(name: str, array: NDArray) -> NDArray:
    stored = np.ascontiguousarray(array)
    if stored.dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = stored.astype(np.float16)
        if not np.isfinite(stored).all():
            raise ValueError(f"expected {name} to be finite in float16, got NaN, Inf or > 65504")
    if stored.dtype.name not in TYPES:
        raise ValueError(f"expected {name} of one of {sorted(TYPES)}, got {stored.dtype}")
    return stored


def _view(data: NDArray[np.uint8], item: dict) -> NDArray:
    shape, dtype = tuple(item["shape"]), np.dtype(item["type"])
    length = int(np.prod(shape)) * dtype.itemsize
    return data[item["offset"] : item["offset"] + length].view(dtype).reshape(shape)
