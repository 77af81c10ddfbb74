"""changesource/protocol/requests.py"""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import InvalidRequest
from changesource.protocol.requests import (
    MAX_AUTHORIZATION_LENGTH,
    MAX_PUBLICATIONS,
    MAX_QUERY_BYTES,
    Resume,
    StreamRequest,
    find_token,
    parse_stream_request,
)
from changesource.protocol.watermarks import Position

EARLIER, LATER = Position(1 << 32), Position(2 << 32, 5)


def basic(credentials: str) -> str:
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


def test_a_request_without_watermarks_asks_for_a_snapshot() -> None:
    """Parameters of the user's own are ignored."""
    request = parse_stream_request(b"token=abc&appID=zero&shardNum=0&publications=b&publications=a&x=1")
    assert request == StreamRequest("zero", 0, ("b", "a"), None)


def test_a_request_with_both_watermarks_resumes() -> None:
    """At the last watermark."""
    query = f"appID=a_1&shardNum=12&lastWatermark={LATER.watermark}&replicaVersion={EARLIER.watermark}"
    assert parse_stream_request(query.encode()) == StreamRequest("a_1", 12, (), Resume(LATER, EARLIER))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "shardNum=0",
        "appID=&shardNum=0",
        "appID=Zero&shardNum=0",
        "appID=a-b&shardNum=0",
        "appID=a.b&shardNum=0",
        "appID=a&appID=b&shardNum=0",
        f"appID={'a' * 64}&shardNum=0",
        "appID=a%0a&shardNum=0",
        "appID=a",
        "appID=a&shardNum=",
        "appID=a&shardNum=-1",
        "appID=a&shardNum=01",
        "appID=a&shardNum=1.5",
        "appID=a&shardNum=1e3",
        "appID=a&shardNum=%EF%BC%91",
        "appID=a&shardNum=2147483648",
        "appID=a&shardNum=99999999999999999999",
        "appID=a&shardNum=0&shardNum=1",
        f"appID=a&shardNum=0&lastWatermark={LATER.watermark}",
        f"appID=a&shardNum=0&replicaVersion={LATER.watermark}",
        f"appID=a&shardNum=0&lastWatermark={EARLIER.watermark}&replicaVersion={LATER.watermark}",
        f"appID=a&shardNum=0&lastWatermark={LATER.watermark}x&replicaVersion={EARLIER.watermark}",
        "appID=a&shardNum=0&lastWatermark=&replicaVersion=",
        "appID=a&shardNum=0&lastWatermark=00&replicaVersion=00",
        "appID=a&shardNum=0&x=%ff",
        "appID=a&shardNum=0" + "&x=1" * 200,
        "appID=a&shardNum=0&x=" + "1" * MAX_QUERY_BYTES,
    ],
)
def test_a_request_that_zero_cache_would_not_send_is_refused(query: str) -> None:
    """With `InvalidRequest`, for a reason of its own."""
    with pytest.raises(InvalidRequest):
        parse_stream_request(query.encode())


@pytest.mark.parametrize(
    "names",
    [
        [""],
        ["_mobile"],
        ["mobile", "a b"],
        ["%20mobile"],
        ["a,b"],
        ["../x"],
        ["a%00"],
        ["a%0a"],
        ["%C3%A4"],
        ["$ne"],
        ["a" * 64],
        ["a"] * 65,
    ],
)
def test_a_name_that_no_publication_can_have_is_refused(names: list[str]) -> None:
    """The message names the parameter and the setting, and repeats nothing of the name."""
    query = "&".join(["appID=a", "shardNum=0", *(f"publications={name}" for name in names)])
    with pytest.raises(InvalidRequest, match=r"^CS402: publications .*ZERO_APP_PUBLICATIONS") as refused:
        parse_stream_request(query.encode())
    assert "mobile" not in str(refused.value)


def test_a_request_may_name_all_publications_of_an_app() -> None:
    """Even with the longest names."""
    names = tuple(f"{number:063}" for number in range(MAX_PUBLICATIONS))
    query = "&".join(["appID=a", "shardNum=0", *(f"publications={name}" for name in names)])
    assert parse_stream_request(query.encode()).publications == names


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_invalid(query: bytes) -> None:
    """No other error is raised."""
    try:
        parse_stream_request(query)
    except InvalidRequest:
        return


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=50))
def test_a_refusal_never_repeats_the_token(token: str) -> None:
    """The message goes into logs and close reasons."""
    with pytest.raises(InvalidRequest) as refused:
        parse_stream_request(f"token=secret{quote(token)}&appID=A".encode())
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("query", "authorization", "token"),
    [
        (b"token=abc&appID=a", None, "abc"),
        (b"token=a%2Bb", None, "a+b"),
        (b"", basic("zero-cache:abc"), "abc"),
        (b"", basic("abc:"), "abc"),
        (b"", basic("abc"), "abc"),
        (b"", basic("acme:prod:abc"), "abc"),
        (b"", basic("acme:prod:"), "acme:prod"),
        (b"token=query", basic("u:header"), "header"),
        (b"token=query", "Bearer header", "header"),
        (b"", "bearer  a.b-c_d ", "a.b-c_d"),
        (b"", "Bearer", None),
        (b"token=query", "Bearer ", "query"),
        (b"token=query", "Digest header", "query"),
        (b"token=query", "Bearer " + "x" * MAX_AUTHORIZATION_LENGTH, "query"),
        (b"token=query", "Basic ???", "query"),
        (b"token=query", "Basic \xc4\xc4\xc4\xc4", "query"),
        (b"", "basic " + base64.b64encode(b"u:abc").decode(), "abc"),
        (b"", basic(":"), None),
        (b"", "Basic", None),
        (b"", "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(), None),
        (b"", None, None),
        (b"token=a&token=b", None, None),
        (b"token=%ff", None, None),
    ],
)
def test_a_token_is_in_the_query_or_in_a_header(query: bytes, authorization: str | None, token: str | None) -> None:
    """Basic and Bearer credentials take precedence over the query."""
    assert find_token(query, authorization) == token


@given(st.binary(max_size=200), st.text(max_size=200))
def test_looking_for_a_token_never_fails(query: bytes, authorization: str) -> None:
    """Nonsense holds no token."""
    found = find_token(query, authorization)
    assert found is None or isinstance(found, str)
