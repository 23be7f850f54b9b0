"""Certificates for one database, made on the spot: an authority of its own, and what the authority vouches for."""

import datetime
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from smartml.extras import require
from smartml.store import TLS
from smartml.store.credentials import write_secret

# The clocks of other machines may be behind.
_BACKDATED = datetime.timedelta(days=1)
_VALID_FOR = datetime.timedelta(days=365)
# What ends sooner is made anew.
_LEAST_LEFT = datetime.timedelta(days=30)


def make_certificates(folder: Path, hosts: Iterable[str]) -> TLS:
    """Return certificate and key of a server at these IP addresses, and the authority by which clients know it.

    They lie in `folder`, where those of an earlier run are taken again as long as they hold. The key of the authority
    is thrown away: it vouches for nothing else. Raises MissingDependencyError without the package `cryptography`.
    """
    require("cryptography", "TLS certificates for a database", "tls")
    files = TLS(str(folder / "ca.crt"), str(folder / "server.crt"), str(folder / "server.key"))
    wanted = {ipaddress.ip_address(host) for host in hosts}
    if not _still_hold(folder, wanted):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(folder, wanted)
    return files


def _still_hold(folder: Path, wanted: "set[_Address]") -> bool:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        named = set(names.get_values_for_type(x509.IPAddress))
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    now = datetime.datetime.now(datetime.timezone.utc)
    has_all = all((folder / name).exists() for name in ("ca.crt", "server.key"))
    return has_all and wanted <= named and certificate.not_valid_after_utc - now > _LEAST_LEFT


def _make(folder: Path, wanted: "set[_Address]") -> None:
    # Imported here: the package is optional, and slow to import.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.timezone.utc)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    known_by = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())

    def begin(subject: str, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("authority of a smartml database"))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _VALID_FOR)
        )

    # What RFC 5280 (4.2.1) and the strict checks of Python 3.13 want an authority to say of itself.
    usage = {
        "digital_signature": False,
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "key_cert_sign": True,
        "crl_sign": True,
        "encipher_only": False,
        "decipher_only": False,
    }
    authority = (
        begin("authority of a smartml database", authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(known_by, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    # The nodes of a cluster are clients of each other.
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    names = [x509.DNSName("localhost"), *map(x509.IPAddress, sorted(wanted, key=str))]
    server = (
        begin("smartml database", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known_by), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # The server's own last: where it is, the others are.
    for file, content in (
        ("ca.crt", authority.public_bytes(Encoding.PEM)),
        ("server.key", private),
        ("server.crt", server.public_bytes(Encoding.PEM)),
    ):
        write_secret(folder / file, content.decode("ascii"))


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
