"""The page about the Admin API against what the development server serves, and the commands that use it."""

from __future__ import annotations

import json
from pathlib import Path

from rivven.http.admin.manual import admin_page
from tests.conformance.web import Web
from tests.dev.stranger import Stranger
from tests.shipped.connection import Account

DOCS = Path(__file__).parents[2] / "docs"


def web_of(stranger: Stranger) -> Web:
    settings = stranger.broker.client_settings()
    account = Account(settings["sasl.username"], settings["sasl.password"])
    lines = (stranger.broker.profile.with_name("admin.properties")).read_text().splitlines()
    [url] = [line.removeprefix("admin.url=") for line in lines]
    return Web(url, Path(settings["ssl.ca.location"])).as_user(account)


def test_the_page_shows_every_route(stranger: Stranger) -> None:
    document = web_of(stranger).get("/openapi.json").json
    page = admin_page(document)
    assert page.count("| `GET /") > 10
    assert (DOCS / "admin-api.md").read_text(encoding="utf-8") == page, (
        "run `python tools/write_admin_docs.py`"
    )


def test_the_development_profile_leads_there(stranger: Stranger) -> None:
    """No option is given: the command finds address, authority and password by itself."""
    assert isinstance(json.loads(stranger.types("rivven auth token list -o json")), list)


def test_an_address_may_be_given(stranger: Stranger) -> None:
    url = web_of(stranger).url
    stranger.types(f"rivven --admin-url {url} auth token list")
