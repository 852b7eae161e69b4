"""TLS towards a server whose key or certificate is known beforehand (trustedPublicKeyDataTls, SGP.32 2.11.1.1.1).

What is pinned takes the place of the usual roots. The check is part of the handshake: before it, no byte of a request
leaves.
"""

from __future__ import annotations

import hmac
import ssl
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from esim_bench.codec.eim_configuration import KeyData
from esim_bench.errors import ConfigError

_VERIFY_CODE: Final = 50
"""X509_V_ERR_APPLICATION_VERIFICATION: the application refused what OpenSSL found good."""


class PinError(ssl.SSLCertVerificationError):
    """The server is not the one that was pinned."""

    def __init__(self, what: str) -> None:
        super().__init__(ssl.SSL_ERROR_SSL, what)
        self.verify_code = _VERIFY_CODE
        self.verify_message = what


def pinned_context(pin: KeyData) -> ssl.SSLContext:
    """Return a client's TLS settings by which only the pinned server is spoken to.

    A public key: the server's certificate has that key, whatever else is in it; neither name nor dates are looked at. A
    certificate: the server shows that very certificate, under any name, or one for its name that leads up to it. Raises
    ConfigError for a pin that is neither.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Which of both checks it will be is known when the server has shown its certificate: the name is checked then.
    context.check_hostname = False
    if pin.certificate:
        # Without this flag nothing but a self-signed root counts as trusted.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=pin.der)
        except (ssl.SSLError, ValueError) as exc:
            raise ConfigError("the pinned certificate cannot be read", expected="X.509 in DER") from exc
    else:
        context.verify_mode = ssl.CERT_NONE

    class PinnedObject(ssl.SSLObject):
        """A TLS connection that is not established before its server was found to be the pinned one."""

        def do_handshake(self) -> None:
            super().do_handshake()
            shown = self.getpeercert(binary_form=True)
            if shown is None:
                raise PinError("the server showed no certificate")
            check_pin(pin, shown, self.server_hostname or "")

    context.sslobject_class = PinnedObject
    return context


def check_pin(pin: KeyData, shown: bytes, host: str) -> None:
    """Check a server's certificate (DER; its chain up to a pinned one holds already). Raises PinError."""
    if pin.certificate and hmac.compare_digest(shown, pin.der):
        return
    try:
        certificate = x509.load_der_x509_certificate(shown)
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        hosts = _hosts(certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise PinError("its certificate cannot be read") from exc
    if not pin.certificate:
        if not hmac.compare_digest(key, pin.der):
            raise PinError("it has another key than the pinned one")
    elif not any(_matches(name, host) for name in hosts):
        raise PinError("it is for another host, and not the pinned certificate itself")


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _matches(name: str, host: str) -> bool:
    """Tell whether a name of a certificate is a host's; a wildcard stands for one label (RFC 6125 6.4.3)."""
    name, host = name.lower().rstrip("."), host.lower().strip("[]").rstrip(".")
    if name.startswith("*."):
        return host.partition(".")[2] == name[2:] and not host.replace(".", "").isdecimal()
    return bool(host) and name == host
