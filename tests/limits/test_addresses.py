import pytest

from changesource.limits.addresses import address_of, forwarded_address, network_of, normalised


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:80 ", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", "unknown"),
        ("localhost", "unknown"),
        ("<script>", "unknown"),
        ("1" * 10_000, "unknown"),
    ],
)
def test_an_address_has_one_form(text: str, expected: str) -> None:
    """Text that is not an address is unknown, and nothing of it is kept."""
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("address", "network"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), ("unknown", "unknown")],
)
def test_a_network_counts_as_one_address(address: str, network: str) -> None:
    """An IPv6 /64."""
    assert network_of(address) == network


def test_the_last_forwarded_address_counts() -> None:
    """It is the one that the nearest proxy added."""
    name = b"x-forwarded-for"
    assert forwarded_address([(b"host", b"a")]) is None
    assert forwarded_address([(name, b"198.51.100.1, 192.0.2.1")]) == "192.0.2.1"
    assert forwarded_address([(name, b"198.51.100.1"), (name, b"192.0.2.1")]) == "192.0.2.1"
    assert forwarded_address([(name, b"192.0.2.1, \xff\xfe")]) == "unknown"


def test_a_connection_without_an_address_is_unknown() -> None:
    """On a Unix socket, for instance."""
    assert address_of({"client": None}) == address_of({}) == "unknown"
    assert address_of({"client": ["::ffff:192.0.2.1", 80]}) == "192.0.2.1"
