"""One test authority for all listeners of these tests."""

from __future__ import annotations

import pytest

from tests.shipped.pki import Pki, make_pki


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("admin-pki") / "pki")
