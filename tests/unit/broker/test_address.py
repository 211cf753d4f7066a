"""Addresses as people write them."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.broker.address import Address
from zspider.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.168.1.3", "192.168.1.3", 5570),
        ("192.168.1.3:7000", "192.168.1.3", 7000),
        ("master", "master", 5570),
        (" master.example.org:1 ", "master.example.org", 1),
        ("my_host-2.lan.:65535", "my_host-2.lan.", 65535),
        ("::1", "::1", 5570),
        ("[::1]", "::1", 5570),
        ("[2001:db8::3]:6000", "2001:db8::3", 6000),
        ("[fe80::1%eth0]:6000", "fe80::1%eth0", 6000),
        ("2001:db8::3", "2001:db8::3", 5570),
    ],
)
def test_an_address_is_read_as_it_is_meant(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ":", ":5570", "host:", "host:0", "host:65536", "host:x", "host:-1", "host:1:2", "ho st", "host/path",
        "tcp://host:5570", "[::1", "[::1]5570", "[::1]:", "[host]:1", "[]:1", "::1]:2", "1.2.3", "1.2.3.4.5",
        "256.1.1.1", "-host", "a..b", ".", " a b",
        "host:5570\nx", "host:５５７０", "x" * 64, ".".join(["x" * 60] * 5), "[::g]:1",
    ],
)  # fmt: skip
def test_nonsense_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of a master"):
        Address.parse(text)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_address_comes_back_from_its_text(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    address = Address(str(ip), port)
    assert Address.parse(str(address)) == address
    assert Address.parse(str(ip)) == Address(str(ip))
    assert address.is_ipv6() == (ip.version == 6)
    assert not address.is_name


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except ConfigError:
        return
    assert Address.parse(str(address)) == address


def test_the_other_ports_are_on_the_same_host() -> None:
    assert Address.parse("[::1]:6000").endpoint(6001) == "tcp://[::1]:6001"
    assert Address.parse("master").endpoint() == "tcp://master:5570"
