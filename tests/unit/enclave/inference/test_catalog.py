import pytest

from confide.enclave.inference import Catalog, CatalogEntry, Operation
from confide.errors import ConfigError, InvalidRequest, ModelNotFound


def entry(name="m", backends=("b",), **further):
    return CatalogEntry(name, backends, **further)


def test_a_model_is_found_by_its_exact_name():
    catalog = Catalog([entry("llama3:8b"), entry("other")], {"b"})
    assert catalog.find("llama3:8b", Operation.CHAT).name == "llama3:8b"
    for name in ("llama3", "LLAMA3:8B", "", "other "):
        with pytest.raises(ModelNotFound):
            catalog.find(name, Operation.CHAT)


def test_a_model_is_offered_for_its_operations_only():
    catalog = Catalog([entry(operations=(Operation.EMBEDDINGS,))], {"b"})
    with pytest.raises(InvalidRequest) as refusal:
        catalog.find("m", Operation.CHAT)
    assert refusal.value.param == "model"


@pytest.mark.parametrize(
    "names",
    [("m", "m"), ("m", "M"), ("m", "m:latest"), ("M:LATEST", "m"), ("a:latest", "A:latest")],
)
def test_names_that_one_may_take_for_each_other_collide(names):
    with pytest.raises(ConfigError):
        Catalog([entry(name) for name in names], {"b"})


@pytest.mark.parametrize(
    "bad",
    [
        entry(""),
        entry("a b"),
        entry("-x"),
        entry("x" * 129),
        entry("gpt-oss:120b-cloud"),
        entry("m", backend_model="kimi:cloud"),
        entry("m", backend_model="a b"),
        entry("m", model_class="Secret Model"),
        entry("m", ()),
        entry("m", ("b", "b")),
        entry("m", ("absent",)),
    ],
)
def test_an_unusable_entry_is_a_config_error(bad):
    with pytest.raises(ConfigError):
        Catalog([bad], {"b"})


def test_a_catalog_without_models_is_a_config_error():
    with pytest.raises(ConfigError):
        Catalog([], {"b"})
