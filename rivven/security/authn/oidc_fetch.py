"""Fetching an issuer's keys: discovery document, then key set. A driver; it judges nothing but the transport.

Whoever can change what is fetched here can log in as anybody. So: HTTPS with verification, no redirects, no
proxies of the environment, no compression, a hard limit of time over everything and of bytes per document,
and the discovery document must be the issuer's own (OpenID Connect Discovery 4.3, RFC 8414 3.3).
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rivven.config.oidc import url_problem
from rivven.security.authn.jwk_set import DOCUMENT_BYTES_MAX, JwkSet, UnusableKeySet, parse_jwk_set
from rivven.security.authn.jwt_format import MalformedJwt, shown, strict_object
from rivven.security.tls import client_context

if TYPE_CHECKING:
    import httpx

FETCH_SECONDS_MAX = 5.0
"""Both documents together; logins may wait for it."""


class FetchFailed(Exception):
    """The keys cannot be had; the message says why in one line, with the URL."""


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where an issuer's keys are. `url` is the key set's own when `discovery` is false."""

    issuer: str
    url: str
    discovery: bool = True
    ca_path: Path | None = None
    insecure: bool = False
    refresh_s: float = 300.0


async def fetch_keys(source: KeySource, seconds_max: float = FETCH_SECONDS_MAX) -> JwkSet:
    """The issuer's key set as it is now. Raises FetchFailed."""
    client = await asyncio.to_thread(_client, source, seconds_max)
    try:
        async with asyncio.timeout(seconds_max), client:
            url = source.url
            if source.discovery:
                url = _key_set_url(await _get(client, url, source.insecure), source, url)
            document = await _get(client, url, source.insecure)
    except TimeoutError:
        raise FetchFailed(f"{source.url}: no complete answer within {seconds_max:g} s") from None
    try:
        return await asyncio.to_thread(parse_jwk_set, document)
    except UnusableKeySet as error:
        raise FetchFailed(f"{url}: {error}") from None


def _client(source: KeySource, seconds_max: float) -> httpx.AsyncClient:
    """Made anew for each fetch, on a thread: the authorities are read as they are now, and httpx and the
    system's authorities take their time to load."""
    import httpx

    try:
        context = client_context(source.ca_path)
    except (OSError, ssl.SSLError) as error:
        raise FetchFailed(f"ca_path: {source.ca_path}: {error.strerror or error}") from None
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "rivven"}
    return httpx.AsyncClient(
        verify=context, trust_env=False, follow_redirects=False, headers=headers, timeout=seconds_max
    )


async def _get(client: httpx.AsyncClient, url: str, insecure: bool) -> bytes:
    import httpx

    problem = url_problem(url, insecure)
    if problem is not None:
        raise FetchFailed(f"{shown(url)} {problem}")
    try:
        async with client.stream("GET", url) as response:
            if response.status_code != httpx.codes.OK:
                raise FetchFailed(f"{url}: answered {response.status_code} instead of 200")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise FetchFailed(f"{url}: the answer is compressed")
            data = bytearray()
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > DOCUMENT_BYTES_MAX:
                    raise FetchFailed(f"{url}: more than {DOCUMENT_BYTES_MAX} bytes")
            return bytes(data)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # ValueError: no host name
        raise FetchFailed(f"{url}: {type(error).__name__}: {error}".rstrip(": ")) from None


def _key_set_url(document: bytes, source: KeySource, url: str) -> str:
    try:
        found = strict_object(document, "discovery document")
    except MalformedJwt as error:
        raise FetchFailed(f"{url}: {error}") from None
    if found.get("issuer") != source.issuer:
        raise FetchFailed(f"{url}: is the document of another issuer: {shown(found.get('issuer'))}")
    address = found.get("jwks_uri")
    if not isinstance(address, str):
        raise FetchFailed(f"{url}: names no jwks_uri")
    return address
