"""A name with several addresses: each has its turn."""

import threading

from hypothesis import given
from hypothesis import strategies as st
from zspider.broker.address import Address
from zspider.broker.master_addresses import MasterAddresses, look_up

NAME = Address("master.example", 5570)
hosts = st.lists(st.ip_addresses().map(str), min_size=2, max_size=6, unique=True)


def answered(found, address=NAME):
    """The addresses of a name once the look-up has ended."""
    one = MasterAddresses(address, lambda host, port: found)
    settled(one)
    return one


def settled(one):
    """Wait for the look-up that was begun last; a thread may be alive that threading does not list any more."""
    if (thread := one._thread) is not None:
        thread.join(10)
        assert not thread.is_alive()
    return one


@given(hosts)
def test_every_address_has_its_turn_before_one_has_it_again(found):
    one = answered(found)
    assert (one.host, one.has_other) == (NAME.host, True)
    first = next((host for host in found if ":" not in host), None)  # what ZeroMQ takes
    turns = [first] if first else []
    for _ in range(len(found) - len(turns)):
        one.next()
        turns.append(one.host)
        assert one.is_ipv6 == (":" in one.host)
        settled(one)
    assert sorted(turns) == sorted(found)
    one.next()
    assert one.host == turns[0]


@given(hosts, hosts)
def test_a_name_that_stands_for_others_now_leads_to_them(before, after):
    found = [before]
    one = settled(MasterAddresses(NAME, lambda host, port: found[0]))
    found[0] = after
    one.next()  # still one of before: nobody waits for a look-up
    settled(one)
    turns = set()
    for _ in after:
        one.next()
        turns.add(one.host)
        settled(one)
    assert turns <= set(after)


def test_a_name_with_one_address_is_left_to_zeromq_in_its_kind_of_ip():
    for found, is_ipv6 in ((["192.0.2.1"], False), (["2001:db8::1"], True)):
        one = answered(found)
        assert one.has_other is is_ipv6
        one.next()
        assert (one.host, one.is_ipv6, one.has_other) == (NAME.host, is_ipv6, False)


def test_nobody_looks_a_number_up_or_waits_for_a_look_up():
    asked, is_over = [], threading.Event()

    def slow(host, port):
        asked.append(host)
        is_over.wait(10)
        return []

    number = MasterAddresses(Address("::1"), slow)
    number.next()
    assert (number.host, number.is_ipv6, number.has_other, asked) == ("::1", True, False, [])
    name = MasterAddresses(NAME, slow)
    for _ in range(3):
        name.next()
    assert (name.host, name.has_other, asked) == (NAME.host, False, [NAME.host])
    is_over.set()


def test_a_name_that_nobody_knows_has_no_addresses():
    assert look_up("no-such-host.invalid", 5570) == []
    assert look_up("x" * 70 + ".example", 5570) == []
    assert look_up("127.0.0.1", 5570) == ["127.0.0.1"]
