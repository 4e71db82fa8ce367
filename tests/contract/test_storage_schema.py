"""The tables: what migrations build, and what the node does when they are not its own."""

import io
import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from alembic import command
from audit.errors import Disposition
from audit.store import metadata as audit_metadata
from dicom_node import node
from storage import engine, schema
from storage.order_models import Base
from storage.resources import MissingResource, resource
from storage.session import Database
from storage.work import Fate, WorkEngine
from tests.filings import filed

VERSIONS = sorted((resource("alembic.ini").parent / "alembic" / "versions").glob("*.py"))


def differences(database: Database) -> list[object]:
    with database.reading() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_name": lambda name, kind, _: (
                    kind != "table" or name not in schema.ENGINE_TABLES
                ),
                "compare_type": True,
            },
        )
        return list(compare_metadata(context, [Base.metadata, audit_metadata]))


def config_for(database: Database) -> Config:
    config = Config(str(resource("alembic.ini")))
    url = database.engine.url.render_as_string(hide_password=False)
    config.cmd_opts = type("Options", (), {"x": [f"url={url}"]})()
    return config


def test_migrations_build_exactly_the_declared_tables(empty_database: Database) -> None:
    schema.upgrade(empty_database)

    assert differences(empty_database) == []


def test_a_missing_column_would_be_noticed(empty_database: Database) -> None:
    schema.upgrade(empty_database)
    with empty_database.transaction() as connection:
        connection.execute(text("ALTER TABLE delivery DROP COLUMN status"))

    assert len(differences(empty_database)) == 1


def test_every_migration_can_be_undone_and_done_again(empty_database: Database) -> None:
    config = config_for(empty_database)
    command.upgrade(config, "head")
    for _ in VERSIONS:
        command.downgrade(config, "-1")

    with empty_database.reading() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    command.upgrade(config, "head")
    schema.require_head(empty_database)


def test_migrations_make_the_audit_table_append_only(empty_database: Database) -> None:
    schema.upgrade(empty_database)
    columns = [column.name for column in audit_metadata.tables["audit_record"].c]
    values = ", ".join("1" if name == "seq" else f"'{name}'" for name in columns)
    with empty_database.transaction() as connection:
        connection.execute(
            text(f"INSERT INTO audit_record ({', '.join(columns)}) VALUES ({values})")
        )

    for statement in ("UPDATE audit_record SET kind = 'x'", "DELETE FROM audit_record"):
        with (
            pytest.raises(DBAPIError, match="append only"),
            empty_database.transaction() as connection,
        ):
            connection.execute(text(statement))


def test_migrations_can_be_written_as_sql_without_a_database() -> None:
    written = io.StringIO()
    command.upgrade(Config(str(resource("alembic.ini")), output_buffer=written), "head", sql=True)
    script = written.getvalue()

    assert "CREATE TABLE study" in script
    assert "audit_record_append_only" in script


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.name)
def test_every_migration_says_its_phase(path: Path) -> None:
    title = path.read_text().splitlines()[0]

    assert re.fullmatch(r'"""[A-Z].* \((expand|contract)\)\.', title)


def test_a_fresh_database_is_empty_and_must_be_upgraded(empty_database: Database) -> None:
    assert schema.is_empty(empty_database)
    assert schema.current_revision(empty_database) is None
    with pytest.raises(schema.SchemaMismatch, match="dicom-node db upgrade") as failure:
        schema.require_head(empty_database)
    assert failure.value.disposition is Disposition.PARK


@pytest.mark.parametrize("ends_after", ["migrate", "upgrade"])
def test_a_first_start_that_ended_half_way_is_made_good_by_the_next(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, ends_after: str
) -> None:
    of: object = node if ends_after == "migrate" else schema
    step = getattr(of, ends_after)

    def cut(database: Database) -> None:
        step(database)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(of, ends_after, cut)
        with pytest.raises(KeyboardInterrupt):
            node.prepare_database(empty_database)

    node.prepare_database(empty_database)
    fates = WorkEngine(empty_database, executor_id="n").fates([("analyse:1", 1)])
    assert fates == {("analyse:1", 1): Fate.UNKNOWN}


def test_an_upgraded_database_is_accepted_and_upgrading_again_changes_nothing(
    database: Database,
) -> None:
    schema.upgrade(database)

    schema.require_head(database)
    assert not schema.is_empty(database)
    assert schema.current_revision(database) == schema.head_revision()


def test_a_schema_of_a_newer_release_is_refused(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'ffff'"))

    for act in (schema.require_head, schema.upgrade):
        with pytest.raises(schema.SchemaMismatch, match="newer release"):
            act(database)


def test_the_work_engines_tables_are_known_and_left_alone(empty_database: Database) -> None:
    engine.migrate(empty_database)
    with empty_database.reading() as connection:
        tables = set(inspect(connection).get_table_names())

    assert schema.is_empty(empty_database)
    if empty_database.dialect == "sqlite":
        assert tables == schema.ENGINE_TABLES
    schema.upgrade(empty_database)
    assert differences(empty_database) == []
    command.check(config_for(empty_database))  # what `alembic revision --autogenerate` would see


def test_a_failed_migration_leaves_nothing_behind(empty_database: Database) -> None:
    with empty_database.transaction() as connection:
        connection.execute(text("CREATE TABLE executor (id INTEGER)"))

    with pytest.raises(DBAPIError, match="already exists"):
        schema.upgrade(empty_database)

    with empty_database.reading() as connection:
        assert inspect(connection).get_table_names() == ["executor"]


def test_a_migration_that_leaves_a_row_without_its_parent_is_undone(database: Database) -> None:
    with pytest.raises((schema.SchemaMismatch, IntegrityError)):
        orphan(database)

    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM series")).scalar_one() == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlite_tables_may_be_replaced_while_others_refer_to_them(database: Database) -> None:
    filed(database)

    with schema.migrating(database) as connection:
        for statement in (
            "CREATE TABLE study_new AS SELECT * FROM study",
            "DROP TABLE study",
            "CREATE TABLE study (id INTEGER PRIMARY KEY, study_instance_uid VARCHAR(64))",
            "INSERT INTO study SELECT id, study_instance_uid FROM study_new",
        ):
            connection.execute(text(statement))

    with database.transaction() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
        assert connection.execute(text("SELECT count(*) FROM study")).scalar_one() == 1


def orphan(database: Database) -> None:
    with schema.migrating(database) as connection:
        connection.execute(
            text(
                "INSERT INTO series (id, series_instance_uid, study_fk, modality,"
                " body_part_examined, series_description, series_number)"
                " VALUES (1, '1.2', 404, '', '', '', '')"
            )
        )


def test_a_resource_that_did_not_come_with_the_node_is_a_fault() -> None:
    with pytest.raises(MissingResource):
        resource("nonsense.yaml")
