"""Credentials: read from the file that is named, shown to nobody, and taken where they are meant."""

import os
import stat

import pytest

from smartml import Client
from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreConnectionError, StoreReplyError
from smartml.store import TLS, Credentials
from smartml.store.credentials import credentials_from_environment, read_credentials


@pytest.fixture
def credentials(tmp_path):
    """Write the file of credentials; return an environment that names it."""

    def write(content, mode=0o600):
        path = tmp_path / "it's the file"
        path.write_text(content)
        path.chmod(mode)
        return {"SMARTML_DB_AUTH": str(path)}

    return write


def test_credentials_stand_in_a_file_of_the_owner(credentials):
    both = credentials_from_environment(credentials('{"username": "me", "password": "secret"}'))
    assert both == Credentials("me", "secret")
    assert credentials_from_environment(credentials('{"password": "secret"}', 0o400)) == Credentials(None, "secret")
    assert credentials_from_environment({}) == Credentials()


def test_certificates_lie_beside_the_file_or_where_their_path_says(credentials, tmp_path):
    found = credentials_from_environment(
        credentials('{"tls": {"ca_file": "ca.crt", "certificate_file": "/etc/x.crt"}}')
    )
    assert found == Credentials(tls=TLS(ca_file=str(tmp_path / "ca.crt"), certificate_file="/etc/x.crt"))


def test_what_is_written_is_read_again_and_nobody_else_can(tmp_path):
    file = tmp_path / "auth"
    file.write_text("old")
    file.chmod(0o644)
    for written in (Credentials("me", 's"ü'), Credentials(None, "x"), Credentials(tls=TLS("/ca", verify=False))):
        written.write(file)
        assert read_credentials(file) == written
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["auth"]


def test_a_password_is_not_shown():
    assert "secret" not in repr(Credentials("me", "secret"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622, 0o777])
def test_a_file_that_others_can_open_is_refused(credentials, mode):
    with pytest.raises(StoreConnectionError, match=r"SMARTML_DB_AUTH names .*, which others can read: chmod 600 '"):
        credentials_from_environment(credentials('{"password": "secret"}', mode))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "secret",
        "[]",
        '"secret"',
        "{}",
        '{"password": 1}',
        '{"password": null}',
        '{"username": 1, "password": "secret"}',
        '{"password": "',
        '{"password": "secret", "tls": "ca.crt"}',
        '{"password": "secret", "tls": {"authority": "ca.crt"}}',
    ],
)
def test_a_file_without_credentials_is_refused_without_showing_it(credentials, content):
    with pytest.raises(
        StoreConnectionError, match=r'does not hold {"username": "…", "password": "…"} as JSON'
    ) as caught:
        credentials_from_environment(credentials(content))

    assert "secret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StoreConnectionError, match=r"SMARTML_DB_AUTH names .*, which cannot be read: .*No such file"):
        credentials_from_environment({"SMARTML_DB_AUTH": os.fspath(tmp_path / "nowhere")})


def test_each_database_has_a_file_of_its_own(start_server, credentials, monkeypatch, tmp_path):
    guarded = start_server("--requirepass", "secret")
    [file] = credentials('{"password": "secret"}').values()
    monkeypatch.setenv("SSDB_inner", guarded.address)
    monkeypatch.setenv("SMARTML_DB_AUTH_inner", file)
    with Client(db_identifier="inner") as client:
        assert client.database.command("PING")
    # What is meant for one database is not told to another.
    monkeypatch.setenv("SMARTML_DB_AUTH", file)
    monkeypatch.delenv("SMARTML_DB_AUTH_inner")
    with pytest.raises(StoreReplyError, match="NOAUTH"):
        Client(db_identifier="inner")


def test_credentials_may_be_given_in_every_form(start_server, credentials, monkeypatch):
    guarded = start_server("--requirepass", "secret")
    [file] = credentials('{"password": "secret"}').values()
    for given in (file, Credentials(password="secret")):
        with Client(address=guarded.address, credentials=given) as client:
            assert client.database.command("PING")
    # Given ones win over the environment, empty ones, too.
    monkeypatch.setenv("SMARTML_DB_AUTH", file)
    with pytest.raises(StoreReplyError, match="NOAUTH"):
        Client(address=guarded.address, credentials=Credentials())
    with pytest.raises(ArgumentValueError, match="either credentials, or username and password"):
        Client(address=guarded.address, credentials=file, password="secret")
    with pytest.raises(ArgumentTypeError, match=r"must be a file or a smartml\.store\.Credentials, not int"):
        Client(address=guarded.address, credentials=3)
