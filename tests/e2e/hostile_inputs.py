"""What hostile clients and users send, and how each is answered. `test_hostile_inputs.py` sends all of it to one server.

`{app}`, `{client}` and other names in braces stand for what that server has: `Site.names`.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from changesource.protocol.closing import Closing
from changesource.protocol.requests import MAX_QUERY_BYTES
from changesource.protocol.watermarks import Position, encode_lexi_version
from tests.admin.pages import client_data
from tests.authentication.issuer import (
    assembled,
    claims,
    private_key,
    signed,
    with_changed_payload,
    with_public_key_as_secret,
)
from tests.e2e.raw_websocket import RSV1, TEXT, Response, compressed, frame, handshake

BINARY, CLOSE, PING, PONG = 2, 8, 9, 10

FORBIDDEN = Response(403, "")
"""Whoever connects learns no more than that."""


# The handshake


@dataclass(frozen=True)
class Handshake:
    """Of a WebSocket. With a good token, unless there is a `jwt`, or `authorization` says something else."""

    name: str
    answer: Response
    query: str = "appID={app}&shardNum=0"
    jwt: Callable[[], str] | None = None
    authorization: bytes | None = None
    path: str = "/changes/v0/stream"
    headers: bytes = b""


def basic(credentials: bytes) -> bytes:
    return b"Basic " + base64.b64encode(credentials)


def bad_request(reason: str) -> Response:
    return Response(4400, Closing(4400, f"CS402: {reason}").reason)


def seconds_from_now(seconds: int) -> int:
    return int(time.time()) + seconds


NOT_YOURS = Response(4403, "This app is not published, or this client may not read it.")
APP_ID = bad_request("appID must be lower case letters, digits and underscores; set ZERO_APP_ID.")
SHARD_NUM = bad_request("shardNum must be a whole number from 0; set ZERO_SHARD_NUM.")
PUBLICATIONS = bad_request(
    "publications must be names of letters, digits, hyphens and underscores, at most 63 long, no leading underscore, "
    "separated by commas without spaces"
)
NOT_UTF8 = bad_request("The query is not URL-encoded UTF-8.")
TOGETHER = bad_request("lastWatermark and replicaVersion go together: give both or neither.")
NO_LEXI_VERSION = bad_request("lastWatermark or replicaVersion: The watermark is not a LexiVersion.")
NO_POSITION = bad_request("lastWatermark or replicaVersion: The watermark is not a position in a change stream.")

JWTS = [
    Handshake("JWT: alg none", FORBIDDEN, jwt=lambda: assembled({"alg": "none"}, claims())),
    Handshake("JWT: alg nOnE", FORBIDDEN, jwt=lambda: assembled({"alg": "nOnE"}, claims(), b"x")),
    Handshake("JWT: alg is a list", FORBIDDEN, jwt=lambda: assembled({"alg": ["RS256"]}, claims())),
    Handshake("JWT: alg of another family", FORBIDDEN, jwt=lambda: assembled({"alg": "ES256"}, claims(), b"x" * 64)),
    Handshake("JWT: the public key as HMAC secret", FORBIDDEN, jwt=with_public_key_as_secret),
    Handshake("JWT: another one's key", FORBIDDEN, jwt=lambda: signed(number=1)),
    Handshake("JWT: payload changed", FORBIDDEN, jwt=with_changed_payload),
    Handshake("JWT: no signature", FORBIDDEN, jwt=lambda: assembled({"alg": "RS256"}, claims())),
    Handshake("JWT: expired", FORBIDDEN, jwt=lambda: signed(exp=seconds_from_now(-1))),
    Handshake("JWT: not yet valid", FORBIDDEN, jwt=lambda: signed(nbf=seconds_from_now(600))),
    Handshake("JWT: no exp", FORBIDDEN, jwt=lambda: signed(exp=None)),
    Handshake("JWT: exp beyond all calendars", FORBIDDEN, jwt=lambda: signed(exp=1e300)),
    Handshake("JWT: exp is a list", FORBIDDEN, jwt=lambda: signed(exp=[seconds_from_now(600)])),
    Handshake("JWT: exp is NaN", FORBIDDEN, jwt=lambda: signed(exp=float("nan"))),
    Handshake("JWT: wrong audience", FORBIDDEN, jwt=lambda: signed(aud="https://other.example.com")),
    Handshake("JWT: wrong issuer", FORBIDDEN, jwt=lambda: signed(iss="https://other.example.com/")),
    Handshake("JWT: unknown kid", FORBIDDEN, jwt=lambda: signed("HS256", kid="../../etc/passwd")),
    Handshake("JWT: sub is an operator", FORBIDDEN, jwt=lambda: signed(sub='{"$ne": null}')),
    Handshake("JWT: sub is no UTF-8", FORBIDDEN, jwt=lambda: signed(sub="\ud800")),
    Handshake("JWT: a client that accepts none", FORBIDDEN, jwt=lambda: signed(sub="other")),
    Handshake("JWT: payload nested 5,000 deep", FORBIDDEN, jwt=lambda: signed_bytes(b"[" * 5_000)),
    Handshake("JWT: header nested 5,000 deep", FORBIDDEN, jwt=lambda: assembled(b"[" * 5_000, claims())),
    Handshake("JWT: a number of 5,000 digits", FORBIDDEN, jwt=lambda: signed_bytes(b'{"exp":' + b"9" * 5_000 + b"}")),
    Handshake("JWT: as long as a header may be", FORBIDDEN, jwt=lambda: signed(bomb="x" * 11_000)),
]

CREDENTIALS = [
    Handshake("no token", FORBIDDEN, authorization=b""),
    Handshake("Basic: nothing", FORBIDDEN, authorization=b"Basic"),
    Handshake("Basic: no base64", FORBIDDEN, authorization=b"Basic !!!"),
    Handshake("Basic: no UTF-8", FORBIDDEN, authorization=basic(b"zero:\xff\xfe")),
    Handshake("Basic: NUL", FORBIDDEN, authorization=basic(b"zero\0:\0")),
    Handshake("Basic: a colon only", FORBIDDEN, authorization=basic(b":")),
    Handshake("Basic: percent signs", FORBIDDEN, authorization=basic(b"%s%n%x:%00%ff%")),
    Handshake("Bearer: bytes beyond ASCII", FORBIDDEN, authorization=b"Bearer \xff\xfe\xfd"),
    Handshake("Bearer: SQL", FORBIDDEN, authorization=b"Bearer ' OR 1=1 --"),
    Handshake("another scheme", FORBIDDEN, authorization=b"Negotiate " + b"x" * 4_000),
    Handshake("token with an operator", FORBIDDEN, authorization=b"", query="token[$gt]=&appID={app}&shardNum=0"),
    Handshake("token in JSON", FORBIDDEN, authorization=b"", query='token={"$ne":null}&appID={app}&shardNum=0'),
    Handshake("two tokens", FORBIDDEN, authorization=b"", query="token={token}&token=x&appID={app}&shardNum=0"),
    Handshake("token of NUL and no UTF-8", FORBIDDEN, authorization=b"", query="token=%00%ff&appID={app}&shardNum=0"),
    Handshake("token of 9,000 characters", FORBIDDEN, authorization=b"Bearer " + b"x" * 9_000),
    Handshake("a browser", FORBIDDEN, headers=b"Origin: https://evil.example.com\r\n"),
]

REQUESTS = [
    Handshake("appID: missing", APP_ID, "shardNum=0"),
    Handshake("appID: of nobody", NOT_YOURS, "appID=x&shardNum=0"),
    Handshake("appID: of somebody else", NOT_YOURS, "appID={other_app}&shardNum=0"),
    Handshake("appID: an operator", APP_ID, "appID[$ne]=1&shardNum=0"),
    Handshake("appID: JSON", APP_ID, 'appID={"$gt":""}&shardNum=0'),
    Handshake("appID: a path", APP_ID, "appID=../../etc/passwd&shardNum=0"),
    Handshake("appID: NUL", APP_ID, "appID={app}%00&shardNum=0"),
    Handshake("appID: a format string", APP_ID, "appID=%25s%25n{0.__class__}&shardNum=0"),
    Handshake("appID: a prototype", APP_ID, "appID=__proto__.x&shardNum=0"),
    Handshake("appID: lines of a log", APP_ID, "appID=x%0d%0aWARNING+all+is+well&shardNum=0"),
    Handshake(
        "appID: twice", bad_request("appID is given 2 times; give it once."), "appID={app}&appID={app}&shardNum=0"
    ),
    Handshake("shardNum: missing", SHARD_NUM, "appID={app}"),
    Handshake("shardNum: negative", SHARD_NUM, "appID={app}&shardNum=-1"),
    Handshake("shardNum: huge", SHARD_NUM, "appID={app}&shardNum=" + "9" * 1_000),
    Handshake("shardNum: beyond 32 bits", SHARD_NUM, "appID={app}&shardNum=2147483648"),
    Handshake("shardNum: a float", SHARD_NUM, "appID={app}&shardNum=1e3"),
    Handshake("shardNum: other digits", SHARD_NUM, "appID={app}&shardNum=%D9%A1"),
    Handshake(
        "shardNum: one that is not granted",
        Response(4403, "This client may not be shard 9; its grant says which."),
        "appID={app}&shardNum=9",
    ),
    Handshake("publications: a path", PUBLICATIONS, "appID={app}&shardNum=0&publications=../../orders"),
    Handshake("publications: NUL", PUBLICATIONS, "appID={app}&shardNum=0&publications=a%00b"),
    Handshake("publications: a prototype", PUBLICATIONS, "appID={app}&shardNum=0&publications=__proto__"),
    Handshake(
        "publications: an operator",
        Response(4400, "publications: the app has no publication of that name."),
        "appID={app}&shardNum=0&publications=where",
    ),
    Handshake(
        "publications: 65",
        bad_request("publications has 65 names, and at most 64 are allowed; set ZERO_APP_PUBLICATIONS."),
        "appID={app}&shardNum=0" + "&publications=a" * 65,
    ),
    Handshake("watermark: alone", TOGETHER, "appID={app}&shardNum=0&lastWatermark={version}"),
    Handshake(
        "watermark: of 40 digits",
        NO_LEXI_VERSION,
        "appID={app}&shardNum=0&lastWatermark=" + "z" * 40 + "&replicaVersion={version}",
    ),
    Handshake(
        "watermark: beyond 80 bits",
        NO_POSITION,
        "appID={app}&shardNum=0&replicaVersion={version}&lastWatermark=" + encode_lexi_version(2**80),
    ),
    Handshake("watermark: zero", NO_POSITION, "appID={app}&shardNum=0&lastWatermark=00&replicaVersion=00"),
    Handshake(
        "watermark: upper case", NO_LEXI_VERSION, "appID={app}&shardNum=0&lastWatermark=ZZ&replicaVersion={version}"
    ),
    Handshake(
        "watermark: an operator", TOGETHER, "appID={app}&shardNum=0&lastWatermark[$gt]=&replicaVersion={version}"
    ),
    Handshake(
        "watermark: before its replica",
        bad_request("lastWatermark is before replicaVersion, but no replica is older than its snapshot."),
        "appID={app}&shardNum=0&lastWatermark=0a&replicaVersion=0b",
    ),
    Handshake("query: no UTF-8", NOT_UTF8, "appID={app}&shardNum=0&publications=%ff%fe"),
    Handshake("query: 101 parameters", NOT_UTF8, "appID={app}&shardNum=0" + "&a=1" * 99),
    Handshake(
        "query: longer than it may be",
        bad_request("The query is longer than 8192 bytes."),
        "appID={app}&shardNum=0&a=" + "x" * MAX_QUERY_BYTES,
    ),
    Handshake("path: another", Response(404, ""), path="/changes/v0/streams"),
    Handshake("path: up", Response(404, ""), path="/changes/v0/stream/../../../etc/passwd"),
    Handshake("path: up, encoded", Response(404, ""), path="/changes/v0/stream/%2e%2e"),
    Handshake("path: no UTF-8", Response(404, ""), path="/%ff"),
]

HANDSHAKES = JWTS + CREDENTIALS + REQUESTS


@dataclass(frozen=True)
class RawRequest:
    """By hand, and mostly huge. The answer may be lost, as the server ends the connection while more comes in."""

    name: str
    status: int
    sends: Callable[[], bytes]


def request(*lines: bytes) -> bytes:
    return b"\r\n".join([b"GET /healthz HTTP/1.1", b"Host: localhost", *lines, b"", b""])


RAW_REQUESTS = [
    RawRequest("a header of 1 MB", 400, lambda: request(b"X: " + b"x" * 2**20)),
    RawRequest("a header without an end", 400, lambda: b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 2**20),
    RawRequest("10,000 headers", 400, lambda: request(*[b"X%d: 1" % i for i in range(10_000)])),
    RawRequest("a header in 10,000 lines", 400, lambda: request(b"X: 1", *[b" x"] * 10_000)),
    RawRequest("a request line of 1 MB", 400, lambda: b"GET /" + b"x" * 2**20 + b" HTTP/1.1\r\n\r\n"),
    RawRequest("a token of 1 MB", 400, lambda: handshake("/changes/v0/stream?token=" + "x" * 2**20)),
    RawRequest(
        "a handshake with a body",
        400,
        lambda: handshake("/changes/v0/stream", f"Content-Length: {2**30}\r\n") + b"x" * 2**20,
    ),
    RawRequest(
        "a handshake with a body in chunks",
        400,
        lambda: (
            handshake("/changes/v0/stream", "Transfer-Encoding: chunked\r\n")
            + (b"10000\r\n" + b"x" * 2**16 + b"\r\n") * 16
        ),
    ),
    RawRequest(
        "a body of 1 GB",
        413,
        lambda: b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n",
    ),
    RawRequest(
        "named queries of 20 MB",
        413,
        lambda: b"POST /api/zero/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20971520\r\n\r\n" + b"[" * 2**20,
    ),
    RawRequest(
        "named queries of 20 MB in chunks",
        413,
        lambda: (
            b"POST /api/zero/query HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"10000\r\n" + b"[" * 2**16 + b"\r\n") * 320
        ),
    ),
    RawRequest("a query of bytes beyond ASCII", 400, lambda: handshake(b"/changes/v0/stream?token=\xff\xfe")),
    RawRequest("1,000 handshakes at once", 403, lambda: handshake("/changes/v0/stream?token=wrong") * 1_000),
]


# What an open stream is sent


@dataclass(frozen=True)
class Upstream:
    """Frames, and how the stream is closed; None when it goes on."""

    name: str
    answer: Response | None
    sends: Callable[[], bytes]
    is_compressed: bool = False


def bad_message(reason: str) -> Response:
    return Response(4400, f"CS403: {reason}")


def text(payload: bytes) -> Callable[[], bytes]:
    return lambda: frame(TEXT, payload)


NOT_JSON = bad_message("A message that is not JSON.")
NO_TAG = bad_message("A message that is not an array with a tag in front.")
NO_WATERMARK = bad_message("A status without a watermark.")
NOT_A_WEBSOCKET = Response(1002, "What came is not in the WebSocket protocol.")
NOT_TEXT = Response(1007, "A message was not UTF-8, or could not be decompressed.")
TOO_LONG = Response(1009, "A message was longer than 65536 bytes, which is MAX_UPSTREAM_BYTES.")

UPSTREAM = [
    Upstream("no JSON", NOT_JSON, text(b"nonsense")),
    Upstream("nothing", NOT_JSON, text(b"")),
    Upstream("NUL", NOT_JSON, text(b"\0")),
    Upstream("NUL inside a string", NOT_JSON, text(b'["status\0",{},{"watermark":"0a"}]')),
    Upstream("lone surrogate", NOT_JSON, text(b'["\\ud800",{}]')),
    Upstream("nested 30,000 deep", NOT_JSON, text(b"[" * 30_000)),
    Upstream("nested 30,000 deep, and closed", NOT_JSON, text(b"[" * 30_000 + b"]" * 30_000)),
    Upstream("a number of 60,000 digits", NOT_JSON, text(b'["status",{},{"watermark":' + b"9" * 60_000 + b"}]")),
    Upstream("NaN", NOT_JSON, text(b'["status",{},{"watermark":NaN}]')),
    Upstream("an object", NO_TAG, text(b'{"$where":"1"}')),
    Upstream("an empty list", NO_TAG, text(b"[]")),
    Upstream("a tag that is an operator", NO_TAG, text(b'[{"$ne":1},{},{"watermark":"0a"}]')),
    Upstream("a status alone", NO_WATERMARK, text(b'["status"]')),
    Upstream("a watermark that is a number", NO_WATERMARK, text(b'["status",{},{"watermark":1}]')),
    Upstream("a watermark that is an operator", NO_WATERMARK, text(b'["status",{},{"watermark":{"$gt":""}}]')),
    Upstream("a watermark of a prototype", NO_WATERMARK, text(b'["status",{},{"__proto__":{"watermark":"0a"}}]')),
    Upstream(
        "a watermark that is none",
        bad_message("A status: The watermark is not a LexiVersion."),
        text(b'["status",{},{"watermark":"%s%n"}]'),
    ),
    Upstream(
        "a watermark beyond all",
        bad_message("A status: The watermark is not a position in a change stream."),
        lambda: frame(TEXT, json.dumps(["status", {}, {"watermark": encode_lexi_version(2**80)}]).encode()),
    ),
    Upstream(
        "an acknowledgement of what was never sent", None, lambda: frame(TEXT, acknowledgement(seconds_from_now(10**8)))
    ),
    Upstream("the same acknowledgement 1,000 times", None, lambda: frame(TEXT, acknowledgement(1)) * 1_000),
    Upstream("a binary frame", NOT_JSON, lambda: frame(BINARY, b"\xff\xfe\x00")),
    Upstream("UTF-8 that is none", NOT_TEXT, text(b'["\xff"]')),
    Upstream("UTF-8 that does not end", NOT_TEXT, text(b'["\xe2\x82')),
    Upstream("100 KB", TOO_LONG, text(b"x" * 100_000)),
    Upstream("a frame that says 2^62 bytes", TOO_LONG, lambda: b"\x81\xff" + (2**62).to_bytes(8) + bytes(4)),
    Upstream("a frame that says 2^64 bytes", NOT_A_WEBSOCKET, lambda: b"\x81\xff" + b"\xff" * 8 + bytes(4)),
    Upstream(
        "fragments that add up",
        TOO_LONG,
        lambda: frame(TEXT, b"x" * 1_000, is_last=False) + frame(0, b"x" * 1_000, is_last=False) * 100,
    ),
    Upstream(
        "1,500 empty fragments",
        NOT_JSON,
        lambda: frame(TEXT, b"", is_last=False) + frame(0, b"", is_last=False) * 1_500 + frame(0, b""),
    ),
    Upstream(
        "50 KB that inflate to 50 MB",
        TOO_LONG,
        lambda: frame(TEXT, compressed(b"0" * 50_000_000), reserved=RSV1),
        is_compressed=True,
    ),
    Upstream(
        "fragments that inflate to 100 MB",
        TOO_LONG,
        lambda: in_fragments(compressed(b"0" * 100_000_000)),
        is_compressed=True,
    ),
    Upstream("what is not compressed", NOT_TEXT, lambda: frame(TEXT, b"\xff" * 100, reserved=RSV1), is_compressed=True),
    Upstream("compressed, unasked", NOT_A_WEBSOCKET, lambda: frame(TEXT, compressed(b"[]"), reserved=RSV1)),
    Upstream("reserved bits", NOT_A_WEBSOCKET, lambda: frame(TEXT, b"[]", reserved=0b011)),
    Upstream("a reserved opcode", NOT_A_WEBSOCKET, lambda: frame(3, b"x")),
    Upstream("a reserved control opcode", NOT_A_WEBSOCKET, lambda: frame(11, b"x")),
    Upstream("no mask", NOT_A_WEBSOCKET, lambda: frame(TEXT, b"[]", is_masked=False)),
    Upstream("the end of what never began", NOT_A_WEBSOCKET, lambda: frame(0, b"x")),
    Upstream("a message inside another", NOT_A_WEBSOCKET, lambda: frame(TEXT, b"[", is_last=False) + frame(TEXT, b"]")),
    Upstream("a ping of 126 bytes", NOT_A_WEBSOCKET, lambda: frame(PING, b"x" * 126)),
    Upstream("a ping in fragments", NOT_A_WEBSOCKET, lambda: frame(PING, b"x", is_last=False)),
    Upstream("a pong that nobody asked for", None, lambda: frame(PONG, b"x" * 125)),
    Upstream("a close of one byte", NOT_A_WEBSOCKET, lambda: frame(CLOSE, b"x")),
    Upstream("a close with no code", NOT_A_WEBSOCKET, lambda: frame(CLOSE, (999).to_bytes(2))),
    Upstream("a close with a reason that is no UTF-8", NOT_TEXT, lambda: frame(CLOSE, b"\x03\xe8\xff")),
    Upstream("another handshake", NOT_A_WEBSOCKET, lambda: handshake("/changes/v0/stream")),
]


# Forms of admin


@dataclass(frozen=True)
class Form:
    """What the superuser sends. `says` stands in what the page says at its inputs: `<name of the input>: <message>`."""

    name: str
    status: int
    says: str = ""
    page: str = "/admin/changesource/client/{client}/change/"
    data: Mapping[str, str] | None = None
    """None: the page is asked for by GET."""
    has_csrf_token: bool = True
    encoded: bytes | None = None
    """In place of `data`, as bytes of a form."""


def client_form(**changes: Any) -> Mapping[str, str]:
    """What the page of the client sends when nothing was changed on it, with `changes`."""
    data = client_data({"id": "{grant}", "shards": "0"}, name="cache", accepts_jwt="on") | {
        "credentials-TOTAL_FORMS": "1",
        "credentials-INITIAL_FORMS": "1",
        "credentials-0-id": "{credential}",
        "credentials-0-label": "",
    }
    return {name: str(value) for name, value in (data | changes).items() if value != []}


def row_filters(name: str, says: str, value: str) -> Form:
    return Form(
        f"row filter: {name}", 200, f"grants-0-row_filters: {says}", data=client_form(**{"grants-0-row_filters": value})
    )


def attributes(name: str, says: str, value: str) -> Form:
    return Form(f"attributes: {name}", 200, f"attributes: {says}", data=client_form(attributes=value))


def shards(name: str, value: str) -> Form:
    return Form(f"shards: {name}", 200, "grants-0-shards: ", data=client_form(**{"grants-0-shards": value}))


def tables(name: str, says: str, value: str) -> Form:
    changes = {"grants-0-all_tables": "", "grants-0-tables": value}
    data = {key: chosen for key, chosen in client_form(**changes).items() if chosen or key != "grants-0-all_tables"}
    return Form(f"tables: {name}", 200, f"grants-0-tables: {says}", data=data)


FORMS = [
    row_filters("$where", "orders.$where: ", '{"orders": {"$where": "sleep(10000)"}}'),
    row_filters(
        "$function", "orders.", '{"orders": {"$expr": {"$function": {"body": "x", "args": [], "lang": "js"}}}}'
    ),
    row_filters("$expr", "orders: $expr: ", '{"orders": {"$expr": {"$eq": ["$text", "$n"]}}}'),
    row_filters("$jsonSchema", "orders.$jsonSchema: ", '{"orders": {"$jsonSchema": {}}}'),
    row_filters("$exists over a relationship", "orders.$exists: ", '{"orders": {"$exists": {"accounts": {}}}}'),
    row_filters("$auth of somebody else", "orders.text", '{"orders": {"text": "$auth.sub"}}'),
    row_filters("10,000 brackets", "It is nested more than 100 deep", "[" * 10_000 + "]" * 10_000),
    row_filters("100,000 brackets", "Ensure this value has at most 50000 characters", "[" * 100_000),
    row_filters("8,000 objects", "It is nested more than 100 deep", '{"a":' * 8_000 + "1" + "}" * 8_000),
    Form("row filter: 700 KB", 400, data=client_form(**{"grants-0-row_filters": "[" * 700_000})),
    row_filters("150 deep", "It is nested more than", '{"orders": ' + '{"$not": ' * 150 + "{}" + "}" * 151),
    row_filters("a regex that backtracks", "orders.text", '{"orders": {"text": {"$regex": "^(a+)+$"}}}'),
    row_filters("a regex of 40 KB", "orders.text", '{"orders": {"text": {"$regex": "' + "(" * 40_000 + '"}}}'),
    row_filters("a prototype for a table", "__proto__: There is no table", '{"__proto__": {"text": "x"}}'),
    row_filters("a prototype for a column", "orders.__proto__", '{"orders": {"__proto__": {"$ne": 1}}}'),
    row_filters("a method for a column", "orders.constructor", '{"orders": {"constructor": "x"}}'),
    row_filters("a column that there is not", "orders.nope", '{"orders": {"nope": 1}}'),
    row_filters("a column that is no filter column", "orders.tags", '{"orders": {"tags": 1}}'),
    row_filters("a table of another app", "secrets: There is no table", '{"secrets": {}}'),
    row_filters("a path for a table", "../orders: There is no table", '{"../orders": {}}'),
    row_filters("NUL", "", '{"orders": {"text": "\\u0000"}}'),
    row_filters("NUL itself", "Null characters are not allowed.", '{"orders": {"text": "\0"}}'),
    row_filters("a lone surrogate", "U+0000 and lone surrogates", '{"orders": {"text": "\\ud800"}}'),
    row_filters("a number of 5,000 digits", "", '{"orders": {"n": ' + "9" * 5_000 + "}}"),
    row_filters("the same name 8,000 times", "An object has ", "{" + '"a":1,' * 8_000 + '"a":1}'),
    row_filters("no object", "Row filters are a JSON object", '"$where"'),
    attributes("a list", "", "[]"),
    attributes("a text", "", '"$ne"'),
    attributes("no JSON", "", "{'a': __import__('os')}"),
    attributes("NUL", "", '{"a": "\\u0000"}'),
    attributes("NUL itself", "", '{"a": "\0"}'),
    attributes("a lone surrogate", "", '{"a": "\\ud800"}'),
    attributes("100,000 brackets", "", "[" * 100_000),
    attributes("an infinite number", "", '{"a": 1e999}'),
    attributes("NaN", "", '{"a": NaN}'),
    shards("a word", "$ne"),
    shards("negative", "-1"),
    shards("ten digits", "9" * 10),
    shards("5,000 digits", "9" * 5_000),
    shards("other digits", "²"),
    shards("in hexadecimal", "0x1"),
    shards("NUL", "1\0"),
    tables("a path", "../orders: not in version 1", "{app_pk}/../orders"),
    tables("of another app", "Choose tables of {app} only.", "{other_app_pk}/secrets"),
    tables("no id before it", "Choose tables of {app} only.", "orders"),
    tables("a prototype", "__proto__: not in version 1", "{app_pk}/__proto__"),
    Form("name: a control character", 200, "name: ", data=client_form(name="a\x1b[2J")),
    Form("name: NUL", 200, "name: ", data=client_form(name="a\0")),
    Form("name: of another client", 200, "name: ", data=client_form(name="other")),
    Form(
        "app: of a grant, as an operator",
        200,
        "grants-1-app: ",
        data=client_form(**{"grants-TOTAL_FORMS": "2", "grants-1-app": '{"$ne": 0}', "grants-1-all_tables": "on"}),
    ),
    Form(
        "grant of another client",
        200,
        "grants-0-app: This field is required.",
        data=client_form(**{"grants-0-id": "{other_grant}"}),
    ),
    Form("grant moved to another client", 200, data=client_form(**{"grants-0-client": "{other}"})),
    Form(
        "credential of another client",
        302,
        data=client_form(**{"credentials-0-id": "{other_credential}", "credentials-0-label": "mine"}),
    ),
    Form("credential moved to another client", 200, data=client_form(**{"credentials-0-client": "{other}"})),
    Form(
        "hash and look-up of a credential",
        302,
        data=client_form(
            **{
                "credentials-0-hash": "mine",
                "credentials-0-lookup": "mine",
                "credentials-0-revoked_at": "",
                "credentials-0-DELETE": "on",
                "last_seen_at": "x",
                "created_at": "x",
            }
        ),
    ),
    Form(
        "a credential that is added",
        302,
        data=client_form(
            **{
                "credentials-TOTAL_FORMS": "2",
                "credentials-1-label": "mine",
                "credentials-1-lookup": "mine",
                "credentials-1-hash": "mine",
            }
        ),
    ),
    Form("a million credentials", 200, "", data=client_form(**{"credentials-TOTAL_FORMS": "1000000"})),
    Form("no form of forms", 200, "", data={"name": "cache", "attributes": "{}"}),
    Form("no CSRF token", 403, data=client_form(name="taken over"), has_csrf_token=False),
    Form(
        "no CSRF token: revoke",
        403,
        page="/admin/changesource/client/{client}/credentials/{credential}/revoke/",
        data={},
        has_csrf_token=False,
    ),
    Form(
        "no CSRF token: issue",
        403,
        page="/admin/changesource/client/{client}/credentials/issue/",
        data={"after": "{credential}"},
        has_csrf_token=False,
    ),
    Form(
        "no CSRF token: publish",
        403,
        page="/admin/changesource/app/{app_pk}/publish/",
        data={"resets": "on"},
        has_csrf_token=False,
    ),
    Form(
        "no CSRF token: log in",
        403,
        page="/admin/login/",
        data={"username": "ada", "password": "x"},
        has_csrf_token=False,
    ),
    Form(
        "issue by GET", 200, page="/admin/changesource/client/{client}/credentials/issue/?label=mine&after={credential}"
    ),
    Form("revoke by GET", 200, page="/admin/changesource/client/{client}/credentials/{credential}/revoke/?post=yes"),
    Form("delete by GET", 200, page="/admin/changesource/client/{client}/delete/?post=yes"),
    Form(
        "revoke another client's credential",
        404,
        page="/admin/changesource/client/{client}/credentials/{other_credential}/revoke/",
        data={},
    ),
    Form(
        "revoke a credential beyond 64 bits",
        404,
        page="/admin/changesource/client/{client}/credentials/99999999999999999999/revoke/",
        data={},
    ),
    Form(
        "issue: NUL in the label",
        200,
        "label: ",
        page="/admin/changesource/client/{client}/credentials/issue/",
        data={"after": "{credential}", "label": "a\0"},
    ),
    Form(
        "issue: after a word", 200, page="/admin/changesource/client/{client}/credentials/issue/", data={"after": "$ne"}
    ),
    Form("a client that is a path", 302, page="/admin/changesource/client/..%2f..%2fetc%2fpasswd/change/"),
    Form(
        "issue to a client that is a path",
        404,
        page="/admin/changesource/client/..%2f..%2fetc%2fpasswd/credentials/issue/",
    ),
    Form("issue to a client of NUL", 404, page="/admin/changesource/client/%00/credentials/issue/", data={}),
    Form(
        "a version of another app as draft",
        404,
        page="/admin/changesource/app/{other_app_pk}/versions/1/draft/",
        data={},
    ),
    Form(
        "a version beyond 64 bits",
        404,
        page="/admin/changesource/app/{app_pk}/versions/99999999999999999999/draft/",
        data={},
    ),
    Form("a list by an operator", 302, page="/admin/changesource/client/?name__$ne=x"),
    Form("a list by a hash", 400, page="/admin/changesource/client/?credentials__hash__startswith=p"),
    Form("a list by a password", 400, page="/admin/changesource/version/?published_by__password__startswith=p"),
    Form("a search for NUL", 200, page="/admin/changesource/client/?q=%00"),
    Form("a page of a list that is no number", 200, page="/admin/changesource/client/?p=$ne"),
    Form(
        "a date of a list that is none", 302, page="/admin/changesource/refusal/?last_seen__year=99999999999999999999"
    ),
    Form("a preview whose regex backtracks", 200, page="/admin/changesource/table/{bait}/preview/"),
    Form(
        "claims to try: 100,000 brackets",
        200,
        "claims: ",
        page="/admin/changesource/table/{table}/rules/",
        data={"action": "select", "claims": "[" * 100_000},
    ),
    Form(
        "claims to try: a JWT bomb",
        200,
        "token: ",
        page="/admin/changesource/table/{table}/rules/",
        data={"action": "select", "token": assembled(b"[" * 100_000, b"[" * 100_000)},
    ),
    Form("a form of 3 MB", 400, data=client_form(attributes='{"a": "' + "x" * 3_000_000 + '"}')),
    Form("a form of 20,000 fields", 400, data={f"field{i}": "" for i in range(20_000)}),
    Form("a form that is no UTF-8", 403, encoded=b"name=%ff%fe&csrfmiddlewaretoken=\xff", has_csrf_token=False),
    Form("a JSON body for a form", 403, encoded=b'{"name": {"$ne": null}}', has_csrf_token=False),
]


# The HTTP API


@dataclass(frozen=True)
class Call:
    """`who` has a session: `admin`, `viewer`, who may see apps and no clients, or `nobody`. `says` is the whole detail."""

    name: str
    status: int
    path: str
    says: str | None = None
    who: str = "admin"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)


FORMATS = "format: Choose one of zero-json, typescript, permissions-json."
VERSIONS = "version: Write the number of a version, or draft."
NO_APP = "There is no app with this id."

CALLS = [
    Call("app id: up", 404, "/api/apps/../../etc/passwd/schema"),
    Call("app id: up, encoded", 404, "/api/apps/..%2f..%2fetc%2fpasswd/schema"),
    Call("app id: dots", 404, "/api/apps/%2e%2e/schema", NO_APP),
    Call("app id: NUL", 404, "/api/apps/{app}%00/schema", NO_APP),
    Call("app id: no UTF-8", 404, "/api/apps/%ff%fe/schema", NO_APP),
    Call("app id: an operator", 404, "/api/apps/[$ne]/schema", NO_APP),
    Call("app id: a script", 404, "/api/apps/%3Cscript%3Ealert(1)%3C%2Fscript%3E/schema"),
    Call("app id: a format string", 404, "/api/apps/%25s%25n{0}/schema", NO_APP),
    Call("app id: 10,000 characters", 404, "/api/apps/" + "x" * 10_000 + "/schema", NO_APP),
    Call("format: unknown", 400, "/api/apps/{app}/schema?format=../../settings", FORMATS),
    Call("format: REST framework's", 400, "/api/apps/{app}/schema?format=api", FORMATS),
    Call("format: an operator", 200, "/api/apps/{app}/schema?format[$ne]=1"),
    Call("version: negative", 400, "/api/apps/{app}/schema?version=-1", VERSIONS),
    Call("version: huge", 400, "/api/apps/{app}/schema?version=" + "9" * 5_000, VERSIONS),
    Call("version: SQL", 400, "/api/apps/{app}/schema?version=1;DROP+TABLE+x", VERSIONS),
    Call("version: other digits", 400, "/api/apps/{app}/schema?version=%C2%B2", VERSIONS),
    Call("version: NUL", 400, "/api/apps/{app}/schema?version=%00", VERSIONS),
    Call(
        "version: none",
        404,
        "/api/apps/{app}/schema?version=99",
        "CS204: {app} has no published version 99. Choose one of its versions, or export its draft.",
    ),
    Call("query: as long as a header may be", 200, "/api/apps/{app}/schema?a=" + "x" * 12_000),
    Call("query: 3,000 parameters", 200, "/api/apps/{app}/schema?" + "a=1&" * 3_000),
    Call("query: no UTF-8", 400, "/api/apps/{app}/schema?format=%ff", FORMATS),
    Call("no session", 401, "/api/apps/{app}/schema", who="nobody"),
    Call("no session, no app", 401, "/api/apps/none/schema", who="nobody"),
    Call(
        "a session that is none",
        401,
        "/api/apps/{app}/schema",
        who="nobody",
        headers={"Cookie": "sessionid=" + "x" * 5_000},
    ),
    Call("a client's token", 401, "/api/apps/{app}/schema", who="nobody", headers={"Authorization": "Bearer {token}"}),
    Call("a viewer: what viewers may", 200, "/api/apps/{app}/schema", who="viewer"),
    Call("a viewer: clients", 403, "/admin/changesource/client/", who="viewer"),
    Call("a viewer: one client", 403, "/admin/changesource/client/{client}/change/", who="viewer"),
    Call("a viewer: issue", 403, "/admin/changesource/client/{client}/credentials/issue/", who="viewer"),
    Call("a viewer: refusals", 403, "/admin/changesource/refusal/", who="viewer"),
    Call("a viewer: publish", 403, "/admin/changesource/app/{app_pk}/publish/", who="viewer", method="POST"),
    Call("nobody: admin", 302, "/admin/changesource/client/", who="nobody"),
    Call("POST", 405, "/api/apps/{app}/schema", method="POST"),
    Call("DELETE", 405, "/api/apps/{app}/schema", method="DELETE"),
    Call("TRACE", 405, "/api/apps/{app}/schema", method="TRACE"),
    Call("a method that there is not", 405, "/api/apps/{app}/schema", method="BREW"),
    Call(
        "another method in a header",
        405,
        "/api/apps/{app}/schema",
        method="POST",
        headers={"X-HTTP-Method-Override": "GET"},
    ),
    Call("healthz by POST", 405, "/healthz", who="nobody", method="POST"),
    Call("healthz and more", 404, "/healthz/../admin", who="nobody"),
    Call("readyz by DELETE", 405, "/readyz", who="nobody", method="DELETE"),
    Call("another host", 400, "/healthz", who="nobody", headers={"Host": "evil.example.com"}),
    Call("a host that is none", 400, "/admin/", who="nobody", headers={"Host": "%s/../<script>"}),
    Call("a static file: up", 404, "/static/../../zerosources/settings.py", who="nobody"),
    Call("a static file: up, encoded", 404, "/static/%2e%2e/%2e%2e/zerosources/settings.py", who="nobody"),
    Call("a static file: NUL", 404, "/static/admin%00/css/base.css", who="nobody"),
]


# Named queries


@dataclass(frozen=True)
class Ask:
    """A request for named queries, with the client's token as its key and no user, unless it says otherwise. `says` is in
    the answer."""

    name: str
    status: int
    says: str
    body: bytes = b'["transform",[]]'
    key: Callable[[], str] | None = None
    query: str = "appID={app}&schema={app}_0"
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


def asked(*names: object, args: object = ()) -> bytes:
    queries = [{"id": str(index), "name": name, "args": args} for index, name in enumerate(names)]
    return json.dumps(["transform", queries]).encode()


def query_error(reason: str) -> str:
    return f'"message": "Failed to parse the query request: {reason}'


REFUSED = "The credentials of this request do not allow it. The server's log has the reason."
NOT_A_TRANSFORM = query_error("The body is not [")
QUERY_0 = query_error("Query 0 has no id, name or args, or one of another type.")
TOO_LARGE = query_error("The body is larger than DATA_UPLOAD_MAX_MEMORY_SIZE.")

ASKS = [
    Ask("nothing asked", 200, '"queries":[]'),
    Ask("an unknown query", 200, '"message":"Query not found: x"', asked("x")),
    Ask(
        "1,000 unknown queries",
        200,
        '"message":"Query not found: name 999"',
        asked(*(f"name {i}" for i in range(1_000))),
    ),
    Ask("10,000 queries", 200, query_error("The body has more than 1000 queries."), asked(*["x"] * 10_000)),
    Ask("a body of 2 MB", 200, TOO_LARGE, asked("x" * 2_000_000)),
    Ask("a name of 900,000 characters", 200, '"message":"Query not found: xxx', asked("x" * 900_000)),
    Ask("a name that is a prototype", 200, '"message":"Query not found: __proto__"', asked("__proto__")),
    Ask("a name that is a path", 200, '"message":"Query not found: ../../etc/passwd"', asked("../../etc/passwd")),
    Ask("a name that is half a character", 200, '"message": "Query not found: \\ud800"', asked("\ud800")),
    Ask("a name that is an operator", 200, QUERY_0, asked({"$ne": None})),
    Ask("arguments that are an operator", 200, QUERY_0, asked("x", args={"$gt": ""})),
    Ask("arguments nested 100,000 deep", 200, query_error("The body is"), b'["transform",[' + b"[" * 100_000),
    Ask(
        "a number of 100,000 digits",
        200,
        query_error("The body is not JSON."),
        b'["transform",[' + b"9" * 100_000 + b"]]",
    ),
    Ask("NaN", 200, query_error("The body is not JSON."), b'["transform",[NaN]]'),
    Ask("no body", 200, query_error("The body is not JSON."), b""),
    Ask("bytes that are no UTF-8", 200, query_error("The body is not JSON."), b'["\xff\xfe",[]]'),
    Ask("NUL", 200, query_error("The body is not JSON."), b"\0" * 10_000),
    Ask("a form", 200, query_error("The body is not JSON."), b"a=1&b=2"),
    Ask("an object", 200, NOT_A_TRANSFORM, b'{"transform":[]}'),
    Ask("another message", 200, NOT_A_TRANSFORM, b'["push",[]]'),
    Ask("no list", 200, NOT_A_TRANSFORM, b'["transform",{"0":{}}]'),
    Ask("no query", 200, QUERY_0, b'["transform",[null]]'),
    Ask("no key", 401, REFUSED, key=lambda: ""),
    Ask("a wrong key", 401, REFUSED, key=lambda: "k" * 5_000),
    Ask("a JWT of another audience as key", 401, REFUSED, key=lambda: signed(aud="https://other.example.com")),
    Ask("a JWT without a signature as key", 401, REFUSED, key=lambda: assembled({"alg": "none"}, claims())),
    Ask("another app", 403, REFUSED, query="appID={other_app}&schema={other_app}_0"),
    Ask("another shard", 403, REFUSED, query="appID={app}&schema={app}_1"),
    Ask("another app's schema", 403, REFUSED, query="appID={app}&schema={other_app}_0"),
    Ask("no app", 403, REFUSED, query=""),
    Ask("an app that is an operator", 403, REFUSED, query="appID[$ne]=x&schema={app}_0"),
    Ask("an app of lines of a log", 403, REFUSED, query="appID=x%0d%0aWARNING&schema=x%0d%0aWARNING_0"),
    Ask("a deployment's JWT for a user", 401, REFUSED, headers={"Authorization": "Bearer {jwt}"}),
    Ask("a client's token for a user", 401, REFUSED, headers={"Authorization": "Bearer {token}"}),
    Ask(
        "a session of another site",
        401,
        REFUSED,
        headers={"Cookie": "sessionid={admin}", "Origin": "https://evil.example.com"},
    ),
    Ask("a session without an origin", 401, REFUSED, headers={"Cookie": "sessionid={admin}"}),
    Ask("a session that is none", 200, '"userID":null', headers={"Cookie": "sessionid=" + "x" * 5_000}),
    Ask("another host", 400, "", headers={"Host": "evil.example.com"}),
    Ask("GET", 405, "", method="GET"),
    Ask("a method that there is not", 405, "", method="BREW"),
]


def signed_bytes(payload: bytes) -> str:
    """As an issuer does, whatever the payload is."""
    return jwt.PyJWS().encode(payload, private_key("RS256"), "RS256")


def acknowledgement(seconds: int) -> bytes:
    return json.dumps(["status", {}, {"watermark": Position(seconds << 32).watermark}]).encode()


def in_fragments(payload: bytes) -> bytes:
    first, *others = (payload[i : i + 1_000] for i in range(0, len(payload), 1_000))
    return (
        frame(TEXT, first, reserved=RSV1, is_last=False)
        + b"".join(frame(0, part, is_last=False) for part in others)
        + frame(0, b"")
    )
