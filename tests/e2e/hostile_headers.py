"""Every request header that Daphne, Twisted, Autobahn, Django, REST framework or WhiteNoise gives a meaning, with hostile
values and the answers to them. `test_hostile_headers.py` sends all of them, and compares their names with the packages."""

from dataclasses import dataclass

PAGE = "/admin/"
LOG_IN = "/admin/login/?next=/admin/"
"""Where a page sends those who have not logged in, and nowhere else, whatever the request says."""
STATIC = "/static/changesource/admin.css"
STREAM = "/changes/v0/stream"


@dataclass(frozen=True)
class Header:
    """A header on a request of nobody's: for `target`, and in a handshake without a token."""

    name: str
    value: bytes
    page: int = 302
    """The status of the page. 302 leads to `LOG_IN`."""
    stream: int = 403
    """The status of the handshake: 403 is our own for one without a token, 400 that of what is no handshake."""
    target: str = PAGE
    method: str = "GET"
    is_added: bool = False
    """Beside the header of this name that a good request has, not in its place."""

    @property
    def id(self) -> str:
        added = " once more" if self.is_added else ""
        value = self.value if len(self.value) < 40 else self.value[:30] + b"..."
        return f"{self.name}{added}: {value!r} on {self.method} {self.target}".replace("\\x", "%")


NOT_ASCII = b"/\xff\xfe"
EVIL = b"evil.example.com"

HEADERS = [
    # Where the project lives, and where its pages lead
    Header("Daphne-Root-Path", b"/healthz"),
    Header("Daphne-Root-Path", b"/healthz", page=200, target="/healthz"),
    Header("Daphne-Root-Path", b"/healthz", page=404, target="/healthz/admin/login/"),
    Header("Daphne-Root-Path", b"//" + EVIL),
    Header("Daphne-Root-Path", b"/changes"),
    Header("Daphne-Root-Path", b"%0d%0aSet-Cookie:%20a=b"),
    Header("Daphne-Root-Path", NOT_ASCII),
    Header("X-Script-Name", b"/healthz"),
    Header("X-Forwarded-Prefix", b"//" + EVIL),
    Header("X-Original-URL", b"/healthz"),
    Header("X-Rewrite-URL", b"/healthz"),
    Header("Host", EVIL, page=400),
    Header("Host", b"localhost@" + EVIL, page=400),
    Header("Host", b"localhost:1/" + EVIL, page=400, stream=400),
    Header("Host", b"localhost:port", page=400, stream=400),
    Header("Host", b"", page=400),
    Header("Host", b"\xff", page=400),
    Header("Host", EVIL, is_added=True, page=400),
    Header("X-Forwarded-Host", EVIL),
    Header("X-Forwarded-Port", b"1"),
    Header("X-Forwarded-Proto", b"https"),
    Header("X-Forwarded-Proto", b"javascript"),
    Header("Forwarded", b"for=192.0.2.1;host=" + EVIL + b";proto=https"),
    Header("X-Forwarded-Server", EVIL),
    Header("Location", b"//" + EVIL),
    # Who asks
    Header("X-Forwarded-For", b"127.0.0.1"),
    Header("X-Forwarded-For", b"'; DROP TABLE x --\xff"),
    Header("X-Real-IP", b"127.0.0.1"),
    Header("Remote-User", b"ada"),
    Header("Authorization", b"Basic YWRhOng="),
    Header("Authorization", b"Bearer \xff"),
    Header("Cookie", b"sessionid=" + b"x" * 8_000),
    Header("Cookie", b"sessionid=\xff\xfe; =; ;;==; \x80=\x80"),
    Header("Cookie", b'sessionid="\\303\\377"; sessionid=../../x; csrftoken[$ne]=1'),
    Header("Cookie", b"; ".join(b"a%d=b" % i for i in range(1_500))),
    Header("Cookie", b"messages=W10:x; messages=[[[["),
    Header("X-CSRFToken", b"x" * 32, page=403, method="POST", target="/admin/login/"),
    Header("X-CSRFToken", b"\xff", page=403, method="POST", target="/admin/login/"),
    Header("Origin", b"https://" + EVIL),
    Header("Origin", b"null", page=403, method="POST", target="/admin/login/"),
    Header("Origin", b"http://[", page=403, stream=400, method="POST", target="/admin/login/"),
    Header("Origin", b"\xff", page=403, stream=400, method="POST", target="/admin/login/"),
    Header("Sec-WebSocket-Origin", b"https://" + EVIL),
    Header("Referer", b"https://" + EVIL, page=403, method="POST", target="/admin/login/"),
    Header("Referer", b"http://[\xff", page=403, method="POST", target="/admin/login/"),
    Header("User-Agent", b"\x1b[2J\xff" + b"x" * 4_000),
    Header("X-Requested-With", b"XMLHttpRequest"),
    # What is asked
    Header("X-HTTP-Method-Override", b"DELETE"),
    Header("X-HTTP-Method-Override", b"DELETE", page=200, target="/healthz"),
    Header("X-Method-Override", b"POST"),
    Header("Accept", b"text/html", page=406, target="/healthz"),
    Header("Accept", b"*/*;q=x, ;;,/", page=200, target="/healthz"),
    Header("Accept", b"application/json; indent=99999999", page=200, target="/healthz"),
    Header("Accept", b",".join([b"a/b;q=0.1"] * 1_000)),
    Header("Accept", b"\xff\xfe", page=406, target="/healthz"),
    Header("Accept-Language", b"../../../etc/passwd"),
    Header("Accept-Language", b",".join([b"xx-" + b"a" * 8] * 700)),
    Header("Accept-Encoding", b"gzip;q=0, br;q=nonsense, \xff"),
    Header("Accept-Encoding", b"identity;q=0, *;q=0", page=200, target=STATIC),
    Header("Range", b"bytes=5-1", page=416, target=STATIC),
    Header("Range", b"bytes=0-99999999999999999999", page=206, target=STATIC),
    Header("Range", b"bytes=" + b",".join([b"0-1"] * 1_000), page=200, target=STATIC),
    Header("Range", b"bytes=-99999999999999999999", page=206, target=STATIC),
    Header("Range", b"lines=\xff", page=200, target=STATIC),
    Header("If-Range", b"\xff", page=200, target=STATIC),
    Header("If-Match", b'"x", \xff'),
    Header("If-Match", b'"x"', page=200, target=STATIC),
    Header("If-None-Match", b"*"),
    Header("If-None-Match", b'W/"' + b"x" * 8_000, page=200, target=STATIC),
    Header("If-Modified-Since", b"Fri, 31 Feb 99999999999999999999 25:61:61 GMT"),
    Header("If-Modified-Since", b"Fri, 31 Feb 99999999999999999999 25:61:61 GMT", page=304, target=STATIC),
    Header("If-Modified-Since", b"Thu, 01 Jan 1970 00:00:00 \xff", page=200, target=STATIC),
    Header("If-Unmodified-Since", b"Thu, 01 Jan 1970 00:00:00 GMT"),
    # A body
    Header("Content-Length", b"-1", page=400, stream=400),
    Header("Content-Length", b"+1", page=400, stream=400),
    Header("Content-Length", b"0x10", page=400, stream=400),
    Header("Content-Length", b"1, 1", page=400, stream=400),
    Header("Content-Length", b"\xb2", page=400, stream=400),
    Header("Content-Length", b"9" * 5_000, page=400, stream=400),
    Header("Content-Length", b"9999999999", page=413, stream=400),
    Header("Content-Length", b"0"),
    Header("Transfer-Encoding", b"gzip, chunked", page=400, stream=400),
    Header("Transfer-Encoding", b"\x0bchunked", page=400, stream=400),
    Header("Transfer-Encoding", b"identity"),
    Header("Trailer", b"Host"),
    Header("Expect", b"100-continue"),
    Header("Expect", b"\xff"),
    Header("Content-Type", b"multipart/form-data", page=403, method="POST", target="/admin/login/"),
    Header("Content-Type", b"multipart/form-data; boundary=\xff", page=403, method="POST", target="/admin/login/"),
    Header("Content-Type", b"text/html; charset=utf-7", page=403, method="POST", target="/admin/login/"),
    Header("Content-Type", b"a; charset=" + b"x" * 4_000, page=403, method="POST", target="/admin/login/"),
    Header("Content-Encoding", b"gzip", page=403, method="POST", target="/admin/login/"),
    Header("Content-Disposition", b"attachment; filename=../../x\xff"),
    # The connection
    Header("Connection", b"close, Upgrade, \xff"),
    Header("Connection", b"keep-alive", stream=400),
    Header("Connection", b"Upgrade, Host"),
    Header("Keep-Alive", b"timeout=99999999"),
    Header("Proxy-Connection", b"Upgrade"),
    Header("Upgrade", b"websocket", page=400),
    Header("Upgrade", b"h2c", stream=404),
    Header("Upgrade", b"websocket, h2c", stream=404),
    Header("Upgrade", b"\xff", stream=404),
    Header("Upgrade", b"h2c", is_added=True),
    Header("HTTP2-Settings", b"AAMAAABkAARAAAAAAAIAAAAA"),
    Header("Sec-WebSocket-Version", b"12", stream=400),
    Header("Sec-WebSocket-Version", b"\xb2", stream=400),
    Header("Sec-WebSocket-Version", b"9" * 5_000, stream=400),
    Header("Sec-WebSocket-Version", b"13", is_added=True, stream=400),
    Header("Sec-WebSocket-Key", b"x", stream=400),
    Header("Sec-WebSocket-Key", b"\xff" * 24, stream=400),
    Header("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==", is_added=True, stream=400),
    Header("Sec-WebSocket-Accept", b"x"),
    Header("Sec-WebSocket-Protocol", b"graphql-ws"),
    Header("Sec-WebSocket-Protocol", b"a, a"),
    Header("Sec-WebSocket-Protocol", b"\xff"),
    Header("Sec-WebSocket-Extensions", b"permessage-deflate; server_max_window_bits=99"),
    Header("Sec-WebSocket-Extensions", b"permessage-deflate; x=\xff"),
    Header("Sec-WebSocket-Extensions", b";;=;,,\xff"),
    # None of the project's, but anything
    Header("X_Forwarded_For", b"127.0.0.1"),
    Header("Daphne_Root_Path", b"/healthz"),
    Header("X-Anything", b"\x85\x1c\x0b", page=400, stream=400),
    Header("X-Anything", b"a\x00b", page=400, stream=400),
    Header("X-Anything", b"a\rSet-Cookie: b=c", page=400, stream=400),
    Header("X\xb2", b"x", page=400, stream=400),
    Header("X Y", b"x", page=400, stream=400),
    Header("", b"x", page=400, stream=400),
]


@dataclass(frozen=True)
class Request:
    """A request, or some, as bytes."""

    name: str
    status: int
    """Of the last answer."""
    sends: bytes


def lines(*parts: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*parts, body])


def post(*headers: bytes, body: bytes = b"") -> bytes:
    start = [b"POST /admin/login/ HTTP/1.1", b"Host: localhost", b"Connection: close"]
    return lines(*start, *headers, b"", body=body)


GET = lines(b"GET /admin/ HTTP/1.1", b"Host: localhost", b"")
LAST = b"Connection: close"

REQUESTS = [
    Request("no host", 302, lines(b"GET /admin/ HTTP/1.1", LAST, b"")),
    Request("HTTP/1.0", 302, lines(b"GET /admin/ HTTP/1.0", b"Host: localhost", b"")),
    Request(
        "HTTP/1.0, kept alive", 302, lines(b"GET /admin/ HTTP/1.0", b"Host: localhost", b"Connection: keep-alive", b"")
    ),
    Request("HTTP/0.9", 400, b"GET /admin/\r\n\r\n"),
    Request("HTTP/2", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Request("TLS", 400, b"\x16\x03\x01\x00\xf5\x01\x00\x00\xf1\x03\x03\r\n\r\n"),
    Request("three in a row", 302, GET + GET + lines(b"GET /admin/ HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request("an empty line before it", 302, b"\r\n" + lines(b"GET /admin/ HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request(
        "a path of another host",
        404,
        lines(b"GET http://evil.example.com/admin/ HTTP/1.1", b"Host: localhost", LAST, b""),
    ),
    Request(
        "a path that looks like another host",
        404,
        lines(b"GET //evil.example.com/%2e%2e HTTP/1.1", b"Host: localhost", LAST, b""),
    ),
    Request(
        "a path to be ended with a slash",
        404,
        lines(b"GET //evil.example.com/admin HTTP/1.1", b"Host: localhost", LAST, b""),
    ),
    Request(
        "lines of a log in the path",
        404,
        lines(b"GET /%0a2026-01-01%20INFO%20all%20is%20well%0d%1b[2J%e2%80%a8 HTTP/1.1", b"Host: localhost", LAST, b""),
    ),
    Request("no path", 404, lines(b"GET ?x HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request("an asterisk", 404, lines(b"OPTIONS * HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request("a tunnel", 404, lines(b"CONNECT evil.example.com:443 HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request("TRACE", 405, lines(b"TRACE /healthz HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request("a method of nobody", 405, lines(b"_X! /healthz HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request("a method in lower case", 200, lines(b"get /healthz HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request("a method beyond ASCII", 400, lines(b"G\xffT /healthz HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request("a path beyond ASCII", 400, lines(b"GET /\x81 HTTP/1.1", b"Host: localhost", LAST, b"")),
    Request("two lengths", 400, post(b"Content-Length: 1", b"Content-Length: 2", body=b"xx")),
    Request("the same length twice", 400, post(b"Content-Length: 1", b"Content-Length: 1", body=b"x")),
    Request("a length and chunks", 400, post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Request("chunks twice", 400, post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Request("a chunk of no size", 400, post(b"Transfer-Encoding: chunked", body=b"x\r\n\r\n")),
    Request("a chunk of negative size", 400, post(b"Transfer-Encoding: chunked", body=b"-1\r\n\r\n")),
    Request(
        "a chunk of 2^70 bytes", 413, post(b"Transfer-Encoding: chunked", body=b"400000000000000000\r\n" + b"x" * 2**22)
    ),
    Request("a chunk with another size", 400, post(b"Transfer-Encoding: chunked", body=b"1\r\nxx\r\n0\r\n\r\n")),
    Request(
        "chunks of 4 MiB", 413, post(b"Transfer-Encoding: chunked", body=(b"10000\r\n" + b"x" * 2**16 + b"\r\n") * 64)
    ),
    Request("4 MiB", 413, post(b"Content-Length: 4194304", body=b"x" * 2**22)),
    Request("1 GB that is to be asked for", 413, post(b"Content-Length: 1073741824", b"Expect: 100-continue")),
    Request("a log-in by JSON", 403, post(b"Content-Length: 2", b"Content-Type: application/json", body=b"{}")),
    Request(
        "a handshake by POST",
        405,
        lines(
            b"POST /changes/v0/stream HTTP/1.1",
            b"Host: localhost",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Content-Length: 0",
            b"",
        ),
    ),
    Request(
        "a handshake without a key",
        400,
        lines(
            b"GET /changes/v0/stream HTTP/1.1",
            b"Host: localhost",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"",
        ),
    ),
]

MEANT_OTHERWISE = {
    # in answers, in parts of a body, and words that only look like headers
    "bad-request",
    "datetime-local",
    "from",
    "info",
    "last-modified",
    "no-cache",
    "no-store",
    "not-found",
    "not-modified",
    "redirect",
    "server",
    "server-error",
    "success",
    "version-not-supported",
}
