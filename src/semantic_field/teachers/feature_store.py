"""On-disk store of teachers' image features: computed once, then read by memory map.

A store is a folder with one folder for each teacher (by fingerprint), which contains append-only
chunk files. A chunk is a sequence of records:

    magic, lengths of head u32 and data u64, CRC-32 of data u32 and head u32
    head: JSON with the image's key and each array's name, type, shape and offset in the data
    data: the arrays, each aligned to 64 bytes, so that they can be memory-mapped

Every writer uses its own chunks, so several processes can share a store. An incomplete record of a
killed writer is at the end of a chunk, where reading stops. Floating-point arrays are stored as
float16. Nothing is ever changed in place.
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
    """A record does not match its checksum."""


class StoreFullError(OSError):
    """The store cannot be written, such as with a full disk; earlier records are intact."""


@dataclass(frozen=True)
class _Record:
    chunk: Path
    start: int  # of the data, bytes
    length: int
    checksum: int
    arrays: dict[str, dict]


def image_key(*images: NDArray | None) -> str:
    """Return the key of one or several images together: a hash of sizes, types and pixels."""
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        if image is None:
            digest.update(b"none")
            continue
        digest.update(f"{image.dtype.str}{image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


class FeatureStore:
    """The records of one teacher, as a mapping from image keys to arrays. Thread-safe.

    Args:
        folder: of the store; created if missing. A read-only one is only read.
        fingerprint: of the teacher; records of other teachers are not visible.
        chunk_bytes: size from which on a new chunk is started.
    Raises:
        ValueError: if the folder can neither be read nor created.
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
        """Return the keys of all images, in the order in which they were stored."""
        return list(self._records)

    def refresh(self) -> None:
        """Update the index with records added or removed by other processes."""
        with self._lock:
            chunks = {chunk: _age(chunk) for chunk in self.folder.glob("*.chunk")}
            for chunk in self._scanned.keys() - chunks.keys():
                self._forget(chunk)
            for chunk in sorted(chunks, key=chunks.__getitem__):
                self._scan(chunk)

    def get(self, key: str) -> Arrays | None:
        """Return the arrays of an image as read-only memory maps; None if there are none.

        Raises:
            DamagedFeaturesError: if the checksum does not match. The record is then dropped from
                the index, so that it can be stored again.
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
        """Store the arrays of an image; they replace earlier ones of the same key.

        Raises:
            ValueError: on values that are not finite in float16, or an unsupported dtype.
            StoreFullError: if the store cannot be written.
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
        """Append one record; on failure the chunk is truncated to its previous length."""
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
            self._own = None  # if truncation fails as well, this chunk must not be used any more
            os.truncate(chunk, end)
            self._own = chunk
            raise
        self._scan(chunk)

    def get_or_compute(self, key: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return the stored arrays, or compute and store them.

        Damaged records are computed again. If the store cannot be written, the arrays are still
        returned (in float16, as if stored), with a warning.
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
        """Return this process's chunk that is not full; creates one if necessary."""
        if self._own is not None and not self._own.exists():
            self._forget(self._own)
        if self._own is None or self._own.stat().st_size >= self._chunk_bytes:
            self._make_folder()  # it may have been removed in the meantime
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
        """Drop the records of a chunk that was removed."""
        self._own = None if self._own == chunk else self._own
        self._scanned.pop(chunk, None)
        self._maps.pop(chunk, None)
        gone = [key for key, record in self._records.items() if record.chunk == chunk]
        for key in gone:
            del self._records[key]
        self._checked.difference_update(gone)

    def _scan(self, chunk: Path) -> None:
        """Index the complete records of a chunk that were added since the last scan."""
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
                    break  # incomplete
                content = json.loads(head)
                record = _Record(chunk, start, length, checksum, content["arrays"])
                self._records.pop(content["key"], None)
                self._records[content["key"]] = record
                position = start + length
        self._scanned[chunk] = position

    def _map(self, chunk: Path) -> np.memmap:
        """Return the memory map of a chunk; renewed when the chunk has grown."""
        known = self._maps.get(chunk)
        if known is None or len(known) < chunk.stat().st_size:
            self._maps[chunk] = known = np.memmap(chunk, np.uint8, "r")
        return known


def _age(chunk: Path) -> tuple[float, str]:
    return chunk.stat().st_mtime, chunk.name


def _packed(key: str, arrays: Arrays) -> tuple[bytes, bytes]:
    """Return head and data of a record."""
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
