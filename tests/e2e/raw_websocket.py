"""WebSockets by hand, for what a client library would not send."""

import socket
import struct
import zlib
from contextlib import suppress
from typing import NamedTuple

SWITCHED = 101


class Response(NamedTuple):
    """`code`: the status of HTTP, 0 without an answer; `text`: what came after the header."""

    code: int
    text: str


class Message(NamedTuple):
    """What a server sent in one frame, of which it makes no fragments."""

    opcode: int
    payload: bytes


TEXT, CLOSE, PONG = 1, 8, 10


def handshake(target: bytes | str, headers: bytes | str = b"") -> bytes:
    """Of a WebSocket; `headers` are whole lines."""
    target, headers = (part.encode() if isinstance(part, str) else part for part in (target, headers))
    return (
        b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + headers + b"\r\n"
    )


def frame(opcode: int, payload: bytes, *, is_last: bool = True, reserved: int = 0, is_masked: bool = True) -> bytes:
    """A client's frame, masked with zeros; `reserved` are the three bits RSV1 to RSV3."""
    head = bytes([(0x80 if is_last else 0) | (reserved << 4) | opcode])
    mask_bit, mask = (0x80, bytes(4)) if is_masked else (0, b"")
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 2**16:
        head += bytes([mask_bit | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", len(payload))
    return head + mask + payload


RSV1 = 0b100
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"


def compressed(text: bytes) -> bytes:
    """As permessage-deflate has it."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


class RawConnection:
    """A socket to a server, and what was received and not read yet."""

    def __init__(self, port: int, timeout: float = 20) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._received = b""

    def __enter__(self) -> "RawConnection":
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """What the server does not take any more is dropped."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            return

    def response(self) -> Response:
        """The answer to a handshake: all of it, unless it is that of a WebSocket, whose messages follow."""
        while b"\r\n\r\n" not in self._received and self._receive():
            continue
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1]) if head else 0
        if status == SWITCHED:
            return Response(status, "")
        while self._receive():
            continue
        return Response(status, self._received.decode())

    def everything(self) -> bytes:
        """What comes until the connection ends, or stays silent for its timeout."""
        with suppress(TimeoutError):
            while self._receive():
                continue
        return self._received

    def message(self) -> Message:
        """The next one. Raises `EOFError` when the connection ends before that."""
        opcode, length = self._exactly(2)
        assert length < 128, "a server masks nothing"
        if length == 126:
            (length,) = struct.unpack("!H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._exactly(8))
        return Message(opcode & 0x0F, self._exactly(length))

    def closing(self) -> Response:
        """The code and the reason with which the WebSocket is closed, whatever comes before that; 1006 without any."""
        try:
            while (message := self.message()).opcode != CLOSE:
                continue
        except EOFError:
            return Response(1006, "")
        return Response(int.from_bytes(message.payload[:2]), message.payload[2:].decode())

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            if not self._receive():
                raise EOFError
        data, self._received = self._received[:count], self._received[count:]
        return data

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(65_536)
        except ConnectionError:
            return False
        self._received += data
        return bool(data)
