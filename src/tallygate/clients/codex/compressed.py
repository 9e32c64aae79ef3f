"""Packed rollouts as the stream of their lines, in bounded memory."""

from __future__ import annotations

import sys
from typing import IO, Any, cast

from tallygate.clients.lines import Skip, Unreadable

# 2**26 bytes: Codex packs with windows of 8 MiB at most, and a file may not make us take more than this.
_WINDOW_LOG = 26


def unpacked(file: IO[bytes]) -> IO[bytes]:
    """The unpacked stream of a file; a damaged one raises Unreadable where it breaks."""
    file.seek(0)
    if sys.version_info >= (3, 14):
        from compression import zstd

        options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        return cast("IO[bytes]", _Guarded(zstd.ZstdFile(file, options=options), zstd.ZstdError))
    import zstandard

    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
    stream = unpacker.stream_reader(file, read_across_frames=True, closefd=False)
    return cast("IO[bytes]", _Guarded(stream, zstandard.ZstdError))


class _Guarded:
    """A stream whose library's own errors, which differ by version of Python, become ours."""

    def __init__(self, stream: Any, error: type[Exception]) -> None:
        self._stream = stream
        self._error = error

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except (self._error, EOFError):
            raise Unreadable(Skip.BAD_FILE) from None
