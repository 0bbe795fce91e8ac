"""A scripted identity provider: keys, tokens signed as a test wants them, an HTTPS server with the keys.

Driver. It does what real providers never do - slow answers, redirects, huge documents, foreign signatures -
and records what was asked of it. Tokens are put together by hand: nothing of the verifier is used.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.shipped.pki import Pki

AUDIENCE = "rivven"
LIFETIME_S = 300
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, length: int | None = None) -> str:
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


@dataclass
class SigningKey:
    """A private key, and what its owner publishes of it."""

    algorithm: str = "ES256"
    kid: str | None = "key-1"
    bits: int = 2048
    private: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.private is not None:
            return
        if self.algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif self.algorithm.startswith("ES"):
            self.private = ec.generate_private_key(_CURVES[self.algorithm])
        else:
            self.private = rsa.generate_private_key(65537, self.bits)

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public half; `members` replace what would be there, None takes it out."""
        jwk = {"use": "sig", "alg": self.algorithm, "kid": self.kid, **self._numbers(), **members}
        return {name: value for name, value in jwk.items() if value is not None}

    def public_pem(self) -> bytes:
        """What an attacker would use as an HMAC secret."""
        pem: bytes = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def sign(self, data: bytes) -> bytes:
        """A signature as RFC 7518 wants it."""
        if self.algorithm == "EdDSA":
            return bytes(self.private.sign(data))
        digest = _HASHES[self.algorithm[2:]]
        if self.algorithm.startswith("ES"):
            length = (self.private.key_size + 7) // 8
            numbers = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest)))
            return b"".join(number.to_bytes(length, "big") for number in numbers)
        if self.algorithm.startswith("PS"):
            scheme: Any = padding.PSS(padding.MGF1(digest), digest.digest_size)
        else:
            scheme = padding.PKCS1v15()
        return bytes(self.private.sign(data, scheme, digest))

    def token(self, claims: Mapping[str, Any], **header: Any) -> str:
        """A signed JWT; `header` replaces members of the header, None takes one out."""
        members = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **header}
        return assemble(
            {name: value for name, value in members.items() if value is not None}, claims, self.sign
        )

    def _numbers(self) -> dict[str, str]:
        public = self.private.public_key()
        if self.algorithm == "EdDSA":
            return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw())}
        if self.algorithm.startswith("ES"):
            numbers, length = public.public_numbers(), (public.key_size + 7) // 8
            curve = f"P-{public.key_size}"
            return {
                "kty": "EC",
                "crv": curve,
                "x": _number(numbers.x, length),
                "y": _number(numbers.y, length),
            }
        return {
            "kty": "RSA",
            "n": _number(public.public_numbers().n),
            "e": _number(public.public_numbers().e),
        }


def assemble(
    header: Mapping[str, Any] | str, claims: Mapping[str, Any] | str, sign: Callable[[bytes], bytes]
) -> str:
    """The compact form of anything, JSON text as it is given included."""
    texts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    body = ".".join(base64url(text.encode()) for text in texts)
    return f"{body}.{base64url(sign(body.encode()))}"


def hmac_token(secret: bytes, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """A token signed with a shared secret (HS256)."""
    return assemble(header, claims, lambda data: hmac.digest(secret, data, hashlib.sha256))


def claims(issuer: str, subject: str = "alice", now: float | None = None, **members: Any) -> dict[str, Any]:
    """The claims of a good token; `members` replace some, None takes one out."""
    moment = int(time.time() if now is None else now)
    good = {"iss": issuer, "sub": subject, "aud": AUDIENCE, "iat": moment, "exp": moment + LIFETIME_S}
    return {name: value for name, value in (good | members).items() if value is not None}


class ScriptedIssuer:
    """An issuer on this machine; `keys` and `script` may change while it runs. Used as a context manager."""

    def __init__(self, pki: Pki, *keys: SigningKey) -> None:
        self.pki = pki
        self.keys = list(keys) or [SigningKey()]
        self.discovery: dict[str, Any] = {}
        """Members of the discovery document that differ from what is right."""
        self.script: Callable[[BaseHTTPRequestHandler], bool] | None = None
        """Answers a request in place of the server, if it returns True."""
        self.clients: dict[str, str] = {}
        """Id and secret of those who may ask the token endpoint."""
        self.requests: list[str] = []
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                issuer.requests.append(self.path)
                if issuer.script is None or not issuer.script(self):
                    answer_json(self, issuer.document(self.path))

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                issuer.requests.append(self.path)
                status, document = issuer.exchange(form, self.headers.get("Authorization", ""))
                answer(self, status, json.dumps(document).encode(), Content_Type="application/json")

            def log_message(self, format: str, *args: Any) -> None:
                """Requests are recorded, not printed."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hangs up is part of some scripts."""

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.certificate, pki.key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> ScriptedIssuer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def key(self) -> SigningKey:
        """The first key."""
        return self.keys[0]

    def document(self, path: str) -> dict[str, Any]:
        """The discovery document or the key set."""
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | self.discovery
        return {"keys": [key.jwk() for key in self.keys]}

    def exchange(self, form: Mapping[str, list[str]], authorization: str) -> tuple[int, dict[str, Any]]:
        """The token endpoint (RFC 6749 4.4): a token for a client that shows its secret in either way."""
        for client, secret in self.clients.items():
            basic = "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()
            shown = form.get("client_id") == [client] and form.get("client_secret") == [secret]
            if form.get("grant_type") == ["client_credentials"] and (shown or authorization == basic):
                token = self.token(client)
                return 200, {"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME_S}
        return 401, {"error": "invalid_client"}

    def token(self, subject: str = "alice", key: SigningKey | None = None, **members: Any) -> str:
        """A token of this issuer, good unless `members` say otherwise."""
        return (key or self.key).token(claims(self.url, subject, **members))

    def settings(self, **keys: Any) -> dict[str, Any]:
        """This issuer as an entry of `auth.oidc.issuers`."""
        return {"issuer": self.url, "audiences": [AUDIENCE], "ca_path": str(self.pki.ca), **keys}


def answer_json(handler: BaseHTTPRequestHandler, document: Any) -> None:
    answer(handler, 200, json.dumps(document).encode())


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """A whole HTTP answer."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
