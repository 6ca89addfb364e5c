"""A window of bounded size that moves over the header of a GGUF file.

Nearly all of a header is the tokenizer, which nobody here wants:
the window jumps over what is not read. Plain pread, because page faults of a mapped
file make the kernel read up to 8 MB of tensors ahead each time.
"""

import os
import struct
from pathlib import Path

from models_app.errors import MalformedGGUFError, TruncatedGGUFError

FIRST_BYTES = 64 * 1024  # most headers without their tokenizer
WINDOW_BYTES = 512 * 1024
MAX_HEADER_BYTES = 128 * 1024 * 1024  # a guess at what no real tokenizer needs
MAX_ARRAY_STRINGS = 2_000_000  # in one file, stepped over in 0.3 s; SmolLM2 has 98,000


class HeaderWindow:
    """The bytes of a header from the reading position on.

    Every method raises TruncatedGGUFError when the file ends before what is asked
    for, and MalformedGGUFError when the header is longer than MAX_HEADER_BYTES.
    """

    __slots__ = ("_base", "_buffer", "_file", "_file_size", "_path", "_pos", "_strings_left")

    def __init__(self, path: Path, file: int, file_size: int) -> None:
        self._path = path
        self._file = file
        self._file_size = file_size
        self._base = 0  # where in the file the buffer begins
        self._pos = 0  # the reading position in the buffer; may be past its end
        self._buffer = os.pread(file, FIRST_BYTES, 0)
        self._strings_left = MAX_ARRAY_STRINGS

    @property
    def offset(self) -> int:
        return self._base + self._pos

    def unpack(self, shape: struct.Struct) -> tuple[int, ...]:
        """Read one fixed-size record. (Its fields may be floats; nothing here minds.)"""
        if self._pos + shape.size > len(self._buffer):
            self._move(shape.size)
        values = shape.unpack_from(self._buffer, self._pos)
        self._pos += shape.size
        return values

    def take(self, size: int) -> bytes:
        """Read `size` bytes; the caller bounds `size`."""
        if self._pos + size > len(self._buffer):
            self._move(size)
        taken = self._buffer[self._pos : self._pos + size]
        self._pos += size
        return taken

    def skip(self, size: int) -> None:
        """Step over `size` bytes without reading them."""
        self._pos += size
        self._check_end()

    def skip_strings(self, count: int, length: struct.Struct) -> None:
        """Step over `count` strings, each of them a `length` and as many bytes."""
        if count > self._strings_left:
            raise MalformedGGUFError(self._path, f"an array of {count:,} strings")
        self._strings_left -= count
        unpack = length.unpack_from
        while count:
            buffer, pos, last = self._buffer, self._pos, len(self._buffer) - length.size
            while count and pos <= last:
                pos += length.size + unpack(buffer, pos)[0]
                count -= 1
            self._pos = pos
            self._check_end()
            if count:
                self._move(length.size)

    def _check_end(self) -> None:
        if self.offset > self._file_size:
            raise TruncatedGGUFError(
                self._path, f"the header does not end within {self._file_size:,} bytes"
            )
        if self.offset > MAX_HEADER_BYTES:
            raise MalformedGGUFError(
                self._path, f"the header is longer than {MAX_HEADER_BYTES:,} bytes"
            )

    def _move(self, size: int) -> None:
        """Begin the buffer at the reading position, with `size` bytes in it at least."""
        self._base, self._pos = self.offset, size
        self._check_end()
        self._pos = 0
        self._buffer = os.pread(self._file, max(size, WINDOW_BYTES), self._base)
        if len(self._buffer) < size:  # the file shrank under us
            raise TruncatedGGUFError(
                self._path, f"the header does not end within {self._file_size:,} bytes"
            )
