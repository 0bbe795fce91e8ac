"""The certificate in a PEM file, for commands that name one."""

from __future__ import annotations

import ssl
from pathlib import Path

from rivven_cli.exits import CommandFailed, Exit

FILE_BYTES_MAX = 1 << 20
"""No chain is larger; anything above is the wrong file."""

_END = "-----END CERTIFICATE-----"


def certificate_in(file: Path) -> bytes:
    """The first certificate of a file, DER. Raises CommandFailed."""
    try:
        with file.open("rb") as stream:
            text = stream.read(FILE_BYTES_MAX).decode("ascii", errors="replace")
        start = text.index("-----BEGIN CERTIFICATE-----")
        return ssl.PEM_cert_to_DER_cert(text[start : text.index(_END, start) + len(_END)])
    except OSError as error:
        raise CommandFailed(f"{file}: {error.strerror}", "", Exit.CONFIG) from None
    except ValueError:
        raise CommandFailed(f"{file}: holds no PEM certificate", "", Exit.CONFIG) from None
