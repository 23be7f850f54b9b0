"""Encrypted connections, with a certificate authority made for the test."""

import shutil
import subprocess

import numpy as np
import pytest

from smartml import Client, Dataset
from smartml.errors import StoreConnectionError
from smartml.store import TLS

REDIS = shutil.which("redis-server")
OPENSSL = shutil.which("openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with a certificate authority, and with certificates of a server and of a client."""
    if OPENSSL is None:
        pytest.skip("no openssl: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run([OPENSSL, *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    # Python 3.13 insists on what a certificate authority must say of itself.
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test authority", "-days", "1",
            "-addext", "keyUsage=critical,keyCertSign", "-addext", "subjectKeyIdentifier=hash")  # fmt: skip
    for name in ("server", "client"):
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.crt", "-days", "1", "-extfile", f"{name}.ext")  # fmt: skip
    return folder


def options(authority, port, auth_clients):
    files = ("--tls-cert-file", f"{authority}/server.crt", "--tls-key-file", f"{authority}/server.key")
    more = ("--tls-ca-cert-file", f"{authority}/ca.crt", "--tls-auth-clients", auth_clients)
    return ("--port", "0", "--tls-port", str(port), *files, *more)


@pytest.fixture
def start_tls_server(authority, start_server, free_port):
    def start(auth_clients="no"):
        if REDIS is None:
            pytest.skip("no redis-server with TLS: apt-get install redis-server")
        port = free_port()
        return start_server(*options(authority, port, auth_clients), binary=REDIS, port=port)

    return start


def check(client):
    """Use both ways to the server, with small and large values."""
    array = np.arange(500_000.0)
    dataset = Dataset("d")
    dataset.add_tensor("x", array)
    client.put_tensors({"small": np.arange(3), "large": array})
    client.put_dataset(dataset)
    client.delete_list("l")
    client.append_to_list("l", dataset)

    assert client.get_tensor("small").tolist() == [0, 1, 2]
    assert (client.get_tensor("large", out=np.empty_like(array)) == array).all()
    assert (client.get_tensors(["large", "small"])["large"] == array).all()
    assert (client.get_datasets_from_list("l")[0].get_tensor("x") == array).all()
    assert client.get_list_length("l") == 1
    client.delete_tensor("large")
    assert not client.tensor_exists("large")


def test_everything_works_encrypted(authority, start_tls_server):
    address = start_tls_server().address

    with Client(address=address, tls=TLS(ca_file=f"{authority}/ca.crt")) as client:
        check(client)
    with Client.from_url(f"rediss://{address}", tls=TLS(ca_file=f"{authority}/ca.crt")) as client:
        check(client)


def test_a_server_that_nobody_vouches_for_is_refused_unless_asked_not_to(start_tls_server):
    address = start_tls_server().address

    with pytest.raises(
        StoreConnectionError, match=r"no database answers at .* \(given as a URL\): .*CERTIFICATE_VERIFY"
    ):
        Client.from_url(f"rediss://{address}", connect_timeout_s=100)
    with Client(address=address, tls=TLS(verify=False)) as client:
        check(client)


def test_a_server_may_want_a_certificate_of_the_client(authority, start_tls_server):
    address = start_tls_server(auth_clients="yes").address
    files = {"certificate_file": f"{authority}/client.crt", "key_file": f"{authority}/client.key"}

    with Client(address=address, tls=TLS(ca_file=f"{authority}/ca.crt", **files)) as client:
        check(client)
    with pytest.raises(StoreConnectionError, match="no database answers at"):
        Client(address=address, tls=TLS(ca_file=f"{authority}/ca.crt"), connect_timeout_s=0.2)


def test_a_server_without_encryption_is_told_apart(start_server):
    with pytest.raises(StoreConnectionError, match="it takes connections, but does not answer in TLS"):
        Client(address=start_server().address, tls=TLS(), connect_timeout_s=0.2)


def test_a_server_with_encryption_hangs_up_on_a_client_without(start_tls_server):
    with pytest.raises(StoreConnectionError, match=r"no database answers at .* within 0\.2 s"):
        Client(address=start_tls_server().address, connect_timeout_s=0.2)
