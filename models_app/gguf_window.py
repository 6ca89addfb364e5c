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
WINDOW_BYTES = 256 * 1024  # stays in a processor's cache; larger ones are slower
MAX_HEADER_BYTES = 128 * 1024 * 1024  # a guess at what no real tokenizer needs
MAX_ARRAY_STRINGS = 2_000_000  # in one file, stepped over in 0.2 s; SmolLM2 has 98,000

# How the next key of a tokenizer begins: what is left of its length, and its first word.
_KEY_BEGINNING = bytes(7) + b"tokenizer."
_LONG_ZEROS = bytes(7)
_KEY_KINDS = bytes((4, 5, 6, 7, 8, 9))  # of a tokenizer's values; see gguf.py
_OVERLAP = 4096  # bytes in front of a find that are still in the window
_KEY_ROOM = 8 + 255 + 4  # and behind its beginning: the length, the key, the value's type
_LINKS = 4  # strings in front of a find that must lead to it
_MAX_STRING_BYTES = 64  # on an average; real ones have 7 to 15
_STRING_BYTES = 8  # a good guess at what is left to search behind the lengths


class HeaderWindow:
    """The bytes of a header from the reading position on.

    Every method raises TruncatedGGUFError when the file ends before what is asked
    for, and MalformedGGUFError when the header is longer than MAX_HEADER_BYTES.
    """

    __slots__ = (
        "_base", "_buffer", "_file", "_file_size", "_path", "_pos", "_strings_left",
        "has_jumped",
    )  # fmt: skip

    def __init__(self, path: Path, file: int, file_size: int) -> None:
        self.has_jumped = False  # over strings, without having counted them
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

    def peek(self, size: int) -> tuple[bytes, int]:
        """Return the buffer and the reading position in it, with `size` bytes behind.

        Where the file ends, zeros are added; advance() raises when they were read.
        """
        if self._pos + size > len(self._buffer):
            self._check_end()
            self._move(min(size, self._file_size - self.offset) or 1)
            if self._base + len(self._buffer) >= self._file_size:
                return self._buffer + bytes(size), 0
        return self._buffer, self._pos

    def advance(self, pos: int) -> None:
        """Go on reading at `pos` of the buffer that peek() returned."""
        self._pos = pos
        self._check_end()

    def jump_strings(self, count: int) -> bool:
        """Jump over `count` strings to the tokenizer's next key, found by its bytes.

        The strings are not counted, but the last of them must lead to the key one by one,
        and there must be room for all of them. False, and nothing has moved, without
        a find that can be believed.
        """
        begin = self.offset
        at = begin + count * 8  # every string has its length
        stop = min(self._file_size, MAX_HEADER_BYTES, at + count * _MAX_STRING_BYTES)
        base, buffer = self._base, self._buffer
        if base + len(buffer) < at < stop:
            will_need(self._file, at, min(stop - at, count * _STRING_BYTES))
        while at < stop:
            last = len(buffer) - _KEY_ROOM
            found = buffer.find(_KEY_BEGINNING, max(at - base + 1, 0), last)
            if found > 0:
                is_key = _has_a_type(buffer, found - 1)
                if not is_key or not _is_led_to(buffer, found - 1, begin - base):
                    return False
                self._base, self._buffer, self._pos = base, buffer, found - 1
                self.has_jumped = True
                return True
            at = max(at, base + last - len(_KEY_BEGINNING))
            base = max(begin, at - _OVERLAP)
            buffer = os.pread(self._file, WINDOW_BYTES, base)
            if len(buffer) <= at - base + len(_KEY_BEGINNING) + _KEY_ROOM:
                return False  # where the file ends
        return False

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


def will_need(file: int, offset: int, size: int) -> None:
    """Have the kernel fetch bytes that are read soon, where it takes such advice."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(file, offset, size, os.POSIX_FADV_WILLNEED)


def _has_a_type(buffer: bytes, position: int) -> bool:
    """Whether a value may follow the key at `position`; a token's name has text behind."""
    end = position + 8 + buffer[position]
    return buffer[end] in _KEY_KINDS and buffer[end + 1 : end + 4] == bytes(3)


def _is_led_to(buffer: bytes, position: int, begin: int) -> bool:
    """Whether the last strings between `begin` and `position` end exactly there."""
    end = position
    for _ in range(_LINKS):
        zeros = buffer.rfind(_LONG_ZEROS, max(begin, 0), end)  # of a length below 256
        if zeros < 1 or zeros + len(_LONG_ZEROS) + buffer[zeros - 1] != end:
            return False
        end = zeros - 1
    return end >= begin
