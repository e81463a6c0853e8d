"""The database is upgraded whole or not at all, and nothing is served on another schema."""

import json
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from confide.errors import ConfigError
from confide.gateway import tables
from confide.gateway.migrate import head, migrate
from confide.gateway.schema import COLUMNS, REVISION, SchemaState, connect, inspect, require_current
from confide.identity.records import OPERATIONS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "gateway.db"


def run(path, statement):
    connection = connect(path)
    rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def test_a_fresh_database_gets_the_whole_schema_and_the_default_domain(path):
    assert inspect(path) is SchemaState.FRESH
    assert migrate(path) is None
    assert inspect(path) is SchemaState.CURRENT
    assert run(path, "SELECT id, models, usage FROM domains") == [("default", '["*"]', "bucketed")]
    require_current(path)


def test_only_the_owner_can_read_the_database(path):
    migrate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_migrations_make_exactly_the_declared_tables(path):
    migrate(path)
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(path))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_the_serving_process_knows_the_same_columns_and_revision():
    declared = {name: frozenset(c.name for c in t.c) for name, t in tables.metadata.tables.items()}
    assert declared == COLUMNS
    assert head() == REVISION


def test_an_older_database_is_refused_then_upgraded_with_its_rows_and_a_backup(path):
    migrate(path, revision="0001")
    run(path, "INSERT INTO enclaves VALUES ('http://127.0.0.1:8002', 1)")
    assert inspect(path) is SchemaState.OLDER
    with pytest.raises(ConfigError) as refused:
        require_current(path)
    assert refused.value.hint == "confide gateway migrate"

    backup = migrate(path)

    require_current(path)
    assert run(path, "SELECT url FROM enclaves") == [("http://127.0.0.1:8002",)]
    assert backup is not None
    assert inspect(backup) is SchemaState.OLDER
    assert run(backup, "SELECT url FROM enclaves") == [("http://127.0.0.1:8002",)]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_migrating_twice_changes_nothing(path):
    migrate(path)
    before = path.read_bytes()
    assert migrate(path) is None
    assert path.read_bytes() == before


def test_an_upgrade_that_fails_half_way_leaves_the_old_schema(path):
    migrate(path, revision="0001")
    # `chains` is made after `requests` and `usage_statements`, so two tables exist when it fails.
    run(path, "CREATE TABLE chains (x)")
    with pytest.raises(ConfigError):
        migrate(path)
    assert inspect(path) is SchemaState.OLDER
    names = {row[0] for row in run(path, "SELECT name FROM sqlite_master")}
    assert not {"requests", "usage_statements"} & names


def test_a_killed_upgrade_leaves_the_old_schema_and_can_be_repeated(path):
    migrate(path, revision="0001")
    program = f"""
import os, pathlib, sqlite3
from confide.gateway import migrate, schema
real = schema.connect
def connect(path, **options):
    connection = real(path, **options)
    def trace(statement):
        if "usage_daily" in statement:
            os.kill(os.getpid(), 9)
    connection.set_trace_callback(trace)
    return connection
migrate.connect = connect
migrate.migrate(pathlib.Path({str(path)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -9
    assert inspect(path) is SchemaState.OLDER
    migrate(path)
    require_current(path)


def test_a_newer_schema_is_neither_served_nor_migrated(path):
    migrate(path)
    run(path, "UPDATE alembic_version SET version_num='0999'")
    assert inspect(path) is SchemaState.NEWER
    for refuse in (require_current, migrate):
        with pytest.raises(ConfigError):
            refuse(path)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE usage_statements",
        "ALTER TABLE requests DROP COLUMN outcome",
        "DROP TABLE alembic_version",
        "DELETE FROM alembic_version",
    ],
)
def test_a_half_made_schema_is_neither_served_nor_migrated(path, damage):
    migrate(path)
    run(path, damage)
    assert inspect(path) is SchemaState.BROKEN
    for refuse in (require_current, migrate):
        with pytest.raises(ConfigError):
            refuse(path)


def test_a_file_that_is_not_a_database_is_refused(path):
    path.parent.mkdir()
    path.write_text("not a database" * 100)
    with pytest.raises(ConfigError):
        inspect(path)


def test_a_directory_that_cannot_be_written_is_one_config_error():
    with pytest.raises(ConfigError):  # not even root can make files here
        migrate(Path("/proc/confide/gateway.db"))


def test_a_parent_that_is_a_file_is_one_config_error(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError):
        migrate(tmp_path / "state" / "gateway.db")


def test_domains_that_may_use_everything_get_audio_and_others_keep_their_choice(path):
    migrate(path, revision="0002")
    chosen = '["chat","models"]'
    run(path, f"INSERT INTO domains VALUES ('narrow', '[\"*\"]', '{chosen}', 'exact', 1)")
    migrate(path)
    found = dict(run(path, "SELECT id, operations FROM domains"))
    assert json.loads(found["default"]) == list(OPERATIONS)
    assert found["narrow"] == chosen
