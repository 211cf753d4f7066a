"""What the libcurl in use can do, and where this system keeps its certificate authorities."""

import ssl
from pathlib import Path

import pycurl

_FEATURES: int = pycurl.version_info()[4]

# Content codings that libcurl decodes itself. What it cannot decode is never offered to a server.
DECODES = frozenset(
    {"gzip", "x-gzip", "deflate", "identity", "*"}
    | ({"br"} if _FEATURES & pycurl.VERSION_BROTLI else set())
    | ({"zstd"} if _FEATURES & pycurl.VERSION_ZSTD else set())
)
ACCEPT_ENCODING = "gzip, deflate, br" if "br" in DECODES else "gzip, deflate"

_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, BSD
)


def ca_file() -> str | None:
    """Return the system's certificate bundle; None leaves it to libcurl's built-in path.

    A libcurl from a wheel has the path of the machine it was built on, which need not exist here.
    """
    paths = (ssl.get_default_verify_paths().cafile, *_CA_FILES)
    return next((path for path in paths if path and Path(path).is_file()), None)
