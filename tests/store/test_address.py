"""Where a database is said to be: read without connecting."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreConnectionError
from smartml.store import TLS
from smartml.store.address import (
    ConnectionSettings,
    ServerAddress,
    addresses_from_environment,
    parse_addresses,
    settings_from_url,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:6379", [ServerAddress("127.0.0.1", 6379)]),
        ("tcp://host-1.site:80", [ServerAddress("host-1.site", 80)]),
        ("[::1]:6379", [ServerAddress("::1", 6379)]),
        ("unix:///tmp/a b.sock", [ServerAddress(unix_socket="/tmp/a b.sock")]),
        (" a:1 , b:2 ,", [ServerAddress("a", 1), ServerAddress("b", 2)]),
    ],
)
def test_addresses_are_read(text, expected):
    assert list(parse_addresses(text)) == expected


@pytest.mark.parametrize("text", ["127.0.0.1:6379", "[::1]:6379", "unix:///tmp/a.sock"])
def test_an_address_is_written_as_it_is_read(text):
    assert str(parse_addresses(text)[0]) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", " , ", "host", "host:", ":6379", "host:port", "host:0", "host:65536", "host:-1", "host:6٣", "a b:1"),
        *("a;b:1", "unix://", "unix://\0", "http://host:80", "redis://host:6379", "a/b:1"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(text):
    with pytest.raises(ArgumentValueError, match=r"write 'host:port' or 'unix:///path/of/socket'|Client\.from_url"):
        parse_addresses(text)


def test_a_refused_address_shows_no_password():
    with pytest.raises(ArgumentValueError) as caught:
        parse_addresses("redis://user:secret@host:6379")

    assert str(caught.value) == "'redis://…@host:6379' is not an address; a URL goes to Client.from_url"


@pytest.mark.parametrize("value", [None, 6379, b"host:1", ("host", 1)])
def test_an_address_is_text(value):
    with pytest.raises(ArgumentTypeError, match=f"not {type(value).__name__}"):
        parse_addresses(value)


# URLs


def test_a_url_says_everything():
    settings = settings_from_url("rediss://me:p%40ss@host:1234/3")

    assert settings.addresses == (ServerAddress("host", 1234),)
    assert (settings.username, settings.password) == ("me", "p@ss")
    assert settings.tls == TLS()
    assert settings.database == 3


def test_a_url_may_leave_out_nearly_everything():
    settings = settings_from_url("redis://")

    assert settings.addresses == (ServerAddress("127.0.0.1", 6379),)
    assert (settings.username, settings.password, settings.tls, settings.database) == (None, None, None, 0)


def test_a_url_may_name_a_unix_socket():
    settings = settings_from_url("unix://:secret@/tmp/a%20b.sock")

    assert settings.addresses == (ServerAddress(unix_socket="/tmp/a b.sock"),)
    assert settings.password == "secret"


@pytest.mark.parametrize(
    "url",
    [
        *("", "host:6379", "http://u:secret@host", "redis://u:secret@host:port", "redis://u:secret@host/nine"),
        *("redis://u:secret@[::1", "unix://u:secret@", "redis://u:secret@host:99999", "redis://secret@host"),
    ],
)
def test_what_is_no_url_is_refused_without_its_password(url):
    with pytest.raises(ArgumentValueError) as caught:
        settings_from_url(url)

    assert "secret" not in str(caught.value)


def test_a_url_is_text():
    with pytest.raises(ArgumentTypeError, match="a database URL is text, not NoneType"):
        settings_from_url(None)


# Settings


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cluster": 1}, ArgumentTypeError, "cluster must be True, False or None, not int: 1"),
        ({"tls": True}, ArgumentTypeError, r"tls must be a smartml\.store\.TLS or None, not bool: True"),
        ({"password": b"secret"}, ArgumentTypeError, "password must be str or None, not bytes$"),
        ({"username": "me"}, ArgumentValueError, "a user name is given without a password"),
        ({"timeout_s": "1"}, ArgumentTypeError, "timeout_s must be a number of seconds, not str: '1'"),
        ({"timeout_s": None}, ArgumentTypeError, "timeout_s must be a number of seconds, not NoneType: None"),
        ({"timeout_s": 0}, ArgumentValueError, "timeout_s must be above 0"),
        ({"connect_timeout_s": -1}, ArgumentValueError, "connect_timeout_s must be above 0"),
        ({"timeout_s": float("nan")}, ArgumentValueError, "timeout_s must be above 0"),
        ({"timeout_s": float("inf")}, ArgumentValueError, "at most 3153600000 s, not inf"),
    ],
)
def test_settings_are_checked(change, error, message):
    with pytest.raises(error, match=message):
        ConnectionSettings((ServerAddress(),), "somewhere", **change)


def test_settings_do_not_show_the_password():
    assert "secret" not in repr(ConnectionSettings((ServerAddress(),), "somewhere", password="secret"))


# Environment


@pytest.mark.parametrize(
    ("kind", "cluster"),
    [("Clustered", True), ("clustered", True), ("Standalone", False), ("anything", False), ("", None)],
)
def test_the_environment_names_a_database_and_its_kind(kind, cluster):
    found = addresses_from_environment({"SSDB": "a:1,b:2", "SR_DB_TYPE": kind})

    assert found == ((ServerAddress("a", 1), ServerAddress("b", 2)), cluster, "named by SSDB")


def test_a_named_database_has_variables_of_its_own():
    environment = {"SSDB": "a:1", "SR_DB_TYPE": "Clustered", "SSDB_two": "b:2", "SR_DB_TYPE_two": "Standalone"}

    assert addresses_from_environment(environment, "two") == ((ServerAddress("b", 2),), False, "named by SSDB_two")
    with pytest.raises(StoreConnectionError, match="the environment variable SSDB_three is not set"):
        addresses_from_environment(environment, "three")


@pytest.mark.parametrize("environment", [{}, {"SSDB": ""}])
def test_an_environment_without_a_database_says_what_to_do(environment):
    with pytest.raises(StoreConnectionError) as caught:
        addresses_from_environment(environment)

    assert str(caught.value) == (
        "no database is named: the environment variable SSDB is not set. "
        "Start this program through an Experiment, or give Client(address='host:port')"
    )


def test_a_wrong_address_in_the_environment_is_blamed_on_its_variable():
    with pytest.raises(
        ArgumentValueError, match="the environment variable SSDB is wrong: 'nonsense' is not an address"
    ):
        addresses_from_environment({"SSDB": "nonsense"})
