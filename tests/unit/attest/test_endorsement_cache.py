"""The cache keeps what was found, believes nothing, and forgets in the right order."""

import json
import os
import stat
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.attest.collateral import EndorsementCache, Period
from confide.attest.collateral.cache import MAX_PER_KEY
from confide.attest.endorsements import Endorsement, EndorsementKey
from confide.errors import ConfigError

CRL = EndorsementKey("snp/crl", "Genoa")
VEK = EndorsementKey("snp/vek", "Genoa/aa/bb")


def put(cache, content, key=CRL, at=1_000, **more):
    return cache.add(Endorsement(key, content, "test"), at=at, **more)


def contents(cache, key=CRL):
    return [found.content for found in cache.find(key)]


@pytest.fixture
def cache(tmp_path):
    return EndorsementCache(tmp_path / "endorsements")


def object_of(cache, line):
    return cache.folder / "objects" / line.sha256.hex()


def test_what_was_added_is_found_under_exactly_its_key(cache):
    put(cache, b"list")
    assert contents(cache) == [b"list"]
    assert contents(cache, EndorsementKey("snp/crl", "Milan")) == []
    assert contents(cache, EndorsementKey("snp/crl")) == []


def test_an_empty_cache_finds_nothing_and_makes_nothing(cache):
    assert contents(cache) == []
    assert not cache.folder.exists()


def test_the_newest_content_of_a_key_comes_first_and_four_are_kept(cache):
    for n in range(6):
        put(cache, b"%d" % n)
    assert contents(cache) == [b"5", b"4", b"3", b"2"]
    assert len(list((cache.folder / "objects").iterdir())) == MAX_PER_KEY


def test_adding_the_same_content_again_moves_it_to_the_front(cache):
    for content in (b"a", b"b", b"a"):
        put(cache, content)
    assert contents(cache) == [b"a", b"b"]


def test_content_shared_by_two_keys_stays_while_one_needs_it(cache):
    put(cache, b"same", CRL)
    put(cache, b"same", VEK)
    for n in range(MAX_PER_KEY):
        put(cache, b"%d" % n, CRL)
    assert contents(cache, VEK) == [b"same"]


def test_files_are_for_their_owner_only(cache):
    line = put(cache, b"list")
    for path in (object_of(cache, line), cache.folder / "index.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


def test_content_that_was_changed_on_disk_is_not_returned(cache):
    line = put(cache, b"genuine")
    object_of(cache, line).write_bytes(b"poisoned")
    assert contents(cache) == []
    assert not cache.intact(line)


def test_adding_it_again_heals_changed_content(cache):
    line = put(cache, b"genuine")
    object_of(cache, line).write_bytes(b"gen")
    put(cache, b"genuine")
    assert contents(cache) == [b"genuine"]


def test_an_older_content_is_still_found_when_the_newest_was_truncated(cache):
    put(cache, b"old one")
    line = put(cache, b"new one")
    os.truncate(object_of(cache, line), 3)
    assert contents(cache) == [b"old one"]


def test_an_index_cut_at_any_byte_is_an_empty_cache_and_works_again(cache):
    put(cache, b"list")
    index = cache.folder / "index.json"
    whole = index.read_bytes()
    for length in range(len(whole)):
        index.write_bytes(whole[:length])
        assert contents(cache) == []
    put(cache, b"fresh")
    assert contents(cache) == [b"fresh"]


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..", "/etc/passwd", "a" * 63, "A" * 64])
def test_an_index_cannot_name_a_file_elsewhere(cache, name):
    put(cache, b"list")
    index = cache.folder / "index.json"
    members = json.loads(index.read_text())
    members["entries"][0]["sha256"] = name
    index.write_text(json.dumps(members))
    assert cache.entries() == ()


@given(st.binary(max_size=300))
def test_whatever_the_index_holds_nothing_but_an_empty_answer_comes(tmp_path_factory, raw):
    cache = EndorsementCache(tmp_path_factory.mktemp("cache"))
    (cache.folder / "index.json").write_bytes(raw)
    assert cache.find(CRL) == ()


def test_what_was_used_least_recently_leaves_first(tmp_path):
    cache = EndorsementCache(tmp_path, limit=30)
    keys = [EndorsementKey("snp/vek", str(n)) for n in range(4)]
    for n, key in enumerate(keys[:3]):
        line = put(cache, b"%d" % n * 10, key)
        os.utime(object_of(cache, line), (1_000 + n, 1_000 + n))
    assert contents(cache, keys[0])  # used again, so it stays
    put(cache, b"3" * 10, keys[3])
    assert [bool(contents(cache, key)) for key in keys] == [True, False, True, True]


def test_one_that_is_larger_than_the_limit_is_kept_alone(tmp_path):
    cache = EndorsementCache(tmp_path, limit=5)
    put(cache, b"small", VEK)
    put(cache, b"larger than five", CRL)
    assert contents(cache, CRL) == [b"larger than five"]
    assert contents(cache, VEK) == []


@pytest.mark.parametrize("content", [b"", bytes(256 * 1024 + 1)])
def test_empty_and_oversized_endorsements_are_refused(cache, content):
    with pytest.raises(ConfigError):
        put(cache, content)
    assert cache.entries() == ()


def test_a_directory_that_cannot_be_made_is_a_setting_to_fix(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        put(EndorsementCache(tmp_path / "file" / "cache"), b"list")


def test_dates_are_kept_and_half_of_a_life_is_time_to_fetch(cache):
    put(cache, b"list", period=Period(1_000, 3_000))
    (line,) = cache.entries()
    assert not line.period.due(1_999)
    assert line.period.due(2_000)
    assert not Period(None, 3_000).due(9_999)
    assert not Period().due(9_999)


WRITER = """
import sys
from pathlib import Path
from confide.attest.collateral import EndorsementCache
from confide.attest.endorsements import Endorsement, EndorsementKey
cache = EndorsementCache(Path(sys.argv[1]))
for n in range(12):
    key = EndorsementKey("snp/vek", f"{sys.argv[2]}/{n}")
    cache.add(Endorsement(key, f"{sys.argv[2]} {n}".encode(), "test"), at=n)
"""


def test_processes_that_write_at_once_lose_nothing(cache):
    names = ["a", "b", "c"]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, os.fspath(cache.folder), name])
        for name in names
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    for name in names:
        for n in range(12):
            key = EndorsementKey("snp/vek", f"{name}/{n}")
            assert contents(cache, key) == [f"{name} {n}".encode()]


def test_a_reader_beside_a_writer_sees_whole_contents_only(cache):
    put(cache, b"x" * 1_000)
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set():
            seen.append({len(content) for content in contents(cache)})

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(20):
        put(cache, b"%d" % (n % 10) * 1_000)
    stop.set()
    reader.join()
    assert set().union(*seen) == {1_000}
    assert all(sizes for sizes in seen)
