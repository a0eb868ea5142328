"""Pipe: messages between a run and its workers; JSON and Arrow bytes, never pickle."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_HEAD = struct.Struct("!4sIQ")
_MAGIC = b"LMMB"
_LIMIT = 1 << 32

Message = tuple[dict[str, Any], bytes]


class Pipe:
    """One end of a socket pair. A message is a JSON object and, after it, bytes.

    Reads never wait for the rest of a message that has only begun, so that a worker stopped in
    the middle of one cannot stop the run: `feed` takes what is there, `next` gives whole messages.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._buffer = bytearray()

    def fileno(self) -> int:
        """To wait for."""
        return self._end.fileno()

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Write one message; OSError if the other end is gone or does not read."""
        text = json.dumps(head).encode()
        self._end.sendall(_HEAD.pack(_MAGIC, len(text), len(body)) + text)
        self._end.sendall(body)

    def feed(self) -> None:
        """Take what has arrived, waiting only if nothing has; EOFError at the end."""
        chunk = self._end.recv(1 << 20)
        if not chunk:
            raise EOFError
        self._buffer += chunk

    def next(self) -> Message | None:
        """The next whole message, None if there is none yet; ValueError if it is no message."""
        if len(self._buffer) < _HEAD.size:
            return None
        magic, text, body = _HEAD.unpack_from(self._buffer)
        if magic != _MAGIC or text + body > _LIMIT:
            raise ValueError("what came through the pipe is not a message")
        stop = _HEAD.size + text + body
        if len(self._buffer) < stop:
            return None
        head = json.loads(self._buffer[_HEAD.size : _HEAD.size + text])
        if not isinstance(head, dict):
            raise ValueError("what came through the pipe is not a message")
        rest = bytes(self._buffer[_HEAD.size + text : stop])
        del self._buffer[:stop]
        return head, rest

    def receive(self) -> Message:
        """Wait for one message; EOFError when the other end is closed."""
        while (message := self.next()) is None:
            self.feed()
        return message

    def close(self) -> None:
        """Close this end; the other reads its end."""
        self._end.close()
