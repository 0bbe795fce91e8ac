"""The optional package is asked for when needed, and missing it names what to install."""

import importlib
from collections.abc import Iterator

import pytest

from rivven.security.authz.cedar import binding


@pytest.fixture
def forgotten() -> Iterator[None]:
    binding.cedarpy.cache_clear()
    yield
    binding.cedarpy.cache_clear()


def test_a_missing_package_names_the_extra(forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"no module named {name}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(binding.CedarMissing, match=r"install rivven\[cedar\]"):
        binding.parse_schema("")


def test_refusals_are_one_line() -> None:
    with pytest.raises(binding.CedarRefused) as caught:
        binding.parse_schema("entity\n\nentity")
    assert "\n" not in str(caught.value)
    with pytest.raises(binding.CedarRefused):
        binding.compile_policies({"x": {"effect": "nothing"}})


def test_actions_of_a_schema_with_their_groups() -> None:
    schema = binding.parse_schema(
        "entity User, Topic; action anything; "
        "action Read in [anything] appliesTo { principal: User, resource: Topic };"
    )
    parents = {entity["uid"]["id"]: entity["parents"] for entity in binding.action_entities(schema)}
    assert parents == {"anything": [], "Read": [{"type": "Action", "id": "anything"}]}
