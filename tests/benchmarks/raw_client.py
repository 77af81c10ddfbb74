"""A WebSocket client that does next to nothing with what it reads, so that it is the server that is measured."""

import os
import socket
import struct
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import urlsplit

RECEIVE_BYTES = 1 << 20


class RawClient:
    """Connects on construction. Iterating gives the payloads of text frames until the server closes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=120)
        key = b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self._buffer = bytearray()
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if b" 101 " not in head.splitlines()[0]:
            raise ConnectionError(head.decode())
        self._buffer = bytearray(rest)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            start = 0
            buffer = bytes(self._buffer)
            while (found := _frame_at(buffer, start)) is not None:
                opcode, payload_start, end = found
                if opcode == 8:
                    return
                if opcode == 9:
                    self._send(0x8A, buffer[payload_start:end])
                elif opcode == 1:
                    yield buffer[payload_start:end]
                start = end
            del self._buffer[:start]
            if not self._receive():
                return

    def send(self, text: bytes) -> None:
        """A text frame."""
        self._send(0x81, text)

    def _send(self, first: int, payload: bytes) -> None:
        """Masked, with a mask of zeros."""
        size = len(payload)
        assert size < 65_536
        head = struct.pack("!BBH", first, 0x80 | 126, size) if size > 125 else bytes([first, 0x80 | size])
        self._socket.sendall(head + b"\0\0\0\0" + payload)

    def shut_down(self) -> None:
        """From another thread: iterating ends."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bool:
        chunk = self._socket.recv(RECEIVE_BYTES)
        self._buffer += chunk
        return bool(chunk)


def _frame_at(buffer: bytes, start: int) -> tuple[int, int, int] | None:
    """Opcode, start and end of the payload of the frame at `start`, None while it is incomplete. Servers do not mask."""
    if len(buffer) < start + 2:
        return None
    opcode = buffer[start] & 0x0F
    length = buffer[start + 1] & 0x7F
    payload = start + 2
    if length == 126:
        if len(buffer) < payload + 2:
            return None
        (length,) = struct.unpack_from("!H", buffer, payload)
        payload += 2
    elif length == 127:
        if len(buffer) < payload + 8:
            return None
        (length,) = struct.unpack_from("!Q", buffer, payload)
        payload += 8
    if len(buffer) < payload + length:
        return None
    return opcode, payload, payload + length
