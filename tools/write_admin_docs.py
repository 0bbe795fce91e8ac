"""Write docs/admin-api.md: start a broker from this checkout, ask it for its OpenAPI document, render it.

`python tools/write_admin_docs.py` rewrites the page; tests/dev/test_admin_manual.py fails while it is out of
date.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run from a checkout, installed or not


def main() -> None:
    from rivven.http.admin.manual import admin_page
    from tests.conformance.web import web_of
    from tests.shipped.broker import ShippedBroker

    with tempfile.TemporaryDirectory() as place, ShippedBroker(Path(place) / "broker") as broker:
        document = web_of(broker).get("/openapi.json").json
    (ROOT / "docs" / "admin-api.md").write_text(admin_page(document), encoding="utf-8")


if __name__ == "__main__":
    main()
