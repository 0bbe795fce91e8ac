"""The Admin API as an HTTP client without any knowledge of ours meets it: the standard library's."""

from __future__ import annotations

import http.client
import json
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientFiles
from tests.shipped.connection import Account

SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `json` is None where there is none."""

    status: int
    headers: Mapping[str, str]
    text: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.text) if self.text.strip() else None


@dataclass(frozen=True, slots=True)
class Web:
    """A caller: address, authority, and what it shows of itself."""

    url: str
    ca: Path
    authorization: str | None = field(default=None, repr=False)
    certificate: ClientFiles | None = None

    def as_user(self, account: Account) -> Web:
        text = b64encode(f"{account.user}:{account.password}".encode()).decode()
        return replace(self, authorization=f"Basic {text}")

    def with_token(self, token: str) -> Web:
        return replace(self, authorization=f"Bearer {token}")

    def with_certificate(self, files: ClientFiles) -> Web:
        return replace(self, certificate=files, authorization=None)

    def as_nobody(self) -> Web:
        return replace(self, authorization=None, certificate=None)

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: object) -> Answer:
        return self.ask("POST", path, body)

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """One request on a connection of its own."""
        headers = {} if self.authorization is None else {"Authorization": self.authorization}
        content = None
        if method != "GET":
            headers["Content-Type"] = "application/json"
            content = json.dumps({} if body is None else body).encode()
        place = urlsplit(self.url)
        assert place.hostname is not None
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.certificate is not None:
            context.load_cert_chain(self.certificate.certificate, self.certificate.key)
        connection = http.client.HTTPSConnection(
            place.hostname, place.port, context=context, timeout=SECONDS_MAX
        )
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()


def web_of(broker: ShippedBroker) -> Web:
    """The administrator's way in, by user and password."""
    return Web(broker.admin_url(), broker.pki.ca).as_user(broker.admin)
