"""Only what configuration names is loaded, and only from one place."""

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from confide import plugins
from confide.errors import ConfigError


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these (name, target) pairs are installed in one group."""

    def install(*pairs):
        points = EntryPoints(EntryPoint(name, target, "group") for name, target in pairs)
        monkeypatch.setattr(plugins, "entry_points", lambda **kw: points.select(**kw))

    return install


def test_the_named_extension_is_loaded(installed):
    installed(("one", "json:loads"))
    assert plugins.load("group", "one") is __import__("json").loads


def test_the_others_are_not_imported(installed):
    installed(("one", "json:loads"), ("two", "antigravity:fly"))
    plugins.load("group", "one")
    assert "antigravity" not in sys.modules


def test_an_unknown_name_says_what_there_is(installed):
    installed(("one", "json:loads"), ("two", "json:dumps"))
    with pytest.raises(ConfigError) as refused:
        plugins.load("group", "three")
    assert "one, two" in str(refused.value)


def test_a_name_that_two_distributions_offer_is_refused(installed):
    installed(("one", "json:loads"), ("one", "json:dumps"))
    with pytest.raises(ConfigError):
        plugins.load("group", "one")


def test_an_extension_whose_extra_is_missing_is_a_configuration_error(installed):
    installed(("llamacpp", "no_such_module_anywhere:Backend"))
    with pytest.raises(ConfigError) as refused:
        plugins.load("group", "llamacpp")
    assert refused.value.hint == "pip install 'confide[llamacpp]'"


def test_built_in_backends_come_through_the_same_door():
    assert set(plugins.offered(plugins.BACKENDS)) >= {"echo", "llamacpp", "ollama", "openai_http"}


def test_simulated_evidence_is_offered_by_no_group():
    assert "simulated" not in plugins.offered(plugins.PLATFORMS)
