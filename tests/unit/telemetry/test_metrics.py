"""Label values come from closed lists, and the text is what Prometheus reads."""

import pytest

from confide.telemetry.metrics import Registry


def test_every_series_exists_at_zero_from_the_start():
    registry = Registry()
    registry.counter("a_total", "A.", labels={"way": ("up", "down"), "end": ("ok", "cut")})
    assert registry.render().splitlines() == [
        "# HELP a_total A.",
        "# TYPE a_total counter",
        'a_total{way="up",end="ok"} 0',
        'a_total{way="up",end="cut"} 0',
        'a_total{way="down",end="ok"} 0',
        'a_total{way="down",end="cut"} 0',
    ]


@pytest.mark.parametrize(
    "values", [{"way": "sideways"}, {}, {"key": "up"}, {"way": "up", "key": "ck_1"}]
)
@pytest.mark.parametrize("make", ["counter", "gauge", "histogram"])
def test_a_label_value_outside_its_list_is_refused(make, values):
    metric = getattr(Registry(), make)("a", "A.", labels={"way": ("up", "down")})
    with pytest.raises(ValueError):
        metric.child(**values)


def test_counting_shows_in_the_text():
    registry = Registry()
    counter = registry.counter("a_total", "A.")
    counter.child().inc()
    counter.child().inc(2)
    assert "\na_total 3\n" in registry.render()


def test_a_gauge_goes_up_and_down_and_can_be_computed():
    registry = Registry()
    open_streams = registry.gauge("open", "Open.")
    registry.gauge("age", "Age.", read=lambda: 2.5)
    open_streams.child().inc(3)
    open_streams.child().dec()
    assert "\nopen 2\n" in registry.render()
    open_streams.child().set(7)
    assert "\nopen 7\n" in registry.render()
    assert registry.render().endswith("\nage 2.5\n")


def test_a_computed_gauge_has_no_labels():
    with pytest.raises(ValueError):
        Registry().gauge("age", "Age.", labels={"a": ("b",)}, read=lambda: 1.0)


def test_histogram_buckets_are_cumulative_and_include_their_bound():
    registry = Registry()
    seconds = registry.histogram("s", "S.", labels={"end": ("ok",)}, bounds=(1, 0.1))
    for value in (0.1, 0.5, 9):
        seconds.child(end="ok").observe(value)
    assert registry.render().splitlines()[2:] == [
        's_bucket{end="ok",le="0.1"} 1',
        's_bucket{end="ok",le="1"} 2',
        's_bucket{end="ok",le="+Inf"} 3',
        's_sum{end="ok"} 9.6',
        's_count{end="ok"} 3',
    ]


def test_a_name_can_be_used_once():
    registry = Registry()
    registry.counter("a_total", "A.")
    with pytest.raises(ValueError):
        registry.gauge("a_total", "A.")
    assert registry.names() == ("a_total",)


def test_large_counts_are_written_in_full():
    registry = Registry()
    registry.counter("a_total", "A.").child().inc(123_456_789_012)
    assert "\na_total 123456789012\n" in registry.render()
