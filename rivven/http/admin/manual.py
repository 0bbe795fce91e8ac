"""docs/admin-api.md, made from the Admin API's own OpenAPI document. Pure text.

`python tools/write_admin_docs.py` starts a broker, asks it for the document and writes the page; a test
compares the two, so a route that is not on the page fails it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = """\
# The Admin API

This page is made from the document that a running broker serves at `/openapi.json`: `python
tools/write_admin_docs.py` writes it, a test checks that it is up to date.

What the Kafka protocol has no API for, over HTTPS: tokens, users, roles, policies, sessions,
revocations, quotas, audit, keys. The `rivven` command uses it; so may you. There is one with `rivven server
--dev` (127.0.0.1:9094) and wherever the configuration file has a section `admin`;
`data/dev/admin.properties` says where it is in development.

```sh
curl --cacert data/dev/ca.crt --user admin https://localhost:9094/v1/whoami
```

## Who may come

| way in | how |
|---|---|
| user and password | `Authorization: Basic ...`; an API token may stand in the password's place |
| API token, or a JWT of a configured identity provider | `Authorization: Bearer ...` |
| client certificate | with `admin.tls.client_auth`, mapped to a principal as on a listener |

A header wins over a certificate. Passwords and tokens are taken over TLS only; the listener without TLS
that `insecure: true` allows takes none and treats everybody as `User:ANONYMOUS`. Every request proves
who sends it: there are no cookies and no sessions. Whatever is wrong, the answer is the same 401, as
late as the back-off of the address says. What a caller may do is decided by the same rules, roles and
policies as for Kafka's requests: the permission is in the table, the listener's name in policies and in
the audit log is `admin`. Every change is in the audit log before and after it is made, and is refused
where it cannot be (503).

## Requests and answers

- JSON, UTF-8, bodies of at most 1 MiB; `Content-Type: application/json` on everything but GET; unknown
  fields and query parameters are refused.
- `Host` must be a name of the Admin API (`admin.names`, the host of `admin.bind`, the advertised hosts
  of listeners), else 421; probes may use any. An `Origin` of another site is refused. There is no CORS.
- Errors are problem documents (RFC 9457, `application/problem+json`) with `title`, `status`, `detail`,
  and where it fits `error` (Kafka's name) and `fields`.
- Lists take `?limit=` (100, at most 1,000) and `?after=`, the `next` of the page before; `next` is null
  at the end.
- Names in paths are percent-encoded, also `/` as `%2F`.
- A request has 10 s for its headers, 20 s for its body, and 120 s until the end of its answer; 512
  connections at most, 128 from one address, where new ones push out those that have not logged in.

`/healthz` and `/readyz` say yes or no to everybody; `/metrics` needs a permission here. The listener of
the section `metrics` stays beside it: without a password, and therefore on a loopback address only.

## Routes

| route | what | needs | audited as |
|---|---|---|---|
"""


def admin_page(document: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document of the Admin API."""
    return _HEAD + "".join(f"{row}\n" for row in _rows(document["paths"]))


def _rows(paths: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    for path in sorted(paths):
        for method, operation in paths[path].items():
            audited = operation.get("x-rivven-audited")
            shown = f"`{audited}`" if audited else ""
            needs = operation["x-rivven-permission"]
            yield f"| `{method.upper()} {path}` | {operation['summary']} | {needs} | {shown} |"
