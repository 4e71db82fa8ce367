"""Runs migrations on a connection that `storage.schema` gives, on ``-x url=...``, or offline."""

from typing import Any, Literal

from alembic import context
from audit.store import metadata as audit_metadata
from storage.columns import UtcDateTime
from storage.order_models import Base
from storage.schema import ENGINE_TABLES, migrating
from storage.session import Database


def include_name(name: str | None, kind: str, parents: Any) -> bool:
    """Leave the work engine's tables alone: on SQLite they lie among ours."""
    return not (kind == "table" and name in ENGINE_TABLES)


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Write plain types into migrations: they must not change when our code does."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def run(**target: Any) -> None:
    context.configure(
        **target,
        target_metadata=[Base.metadata, audit_metadata],
        include_name=include_name,
        render_item=render_item,
        render_as_batch=True,
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    given = context.config.attributes.get("connection")
    url = context.get_x_argument(as_dictionary=True).get("url")
    if given is not None:
        run(connection=given)
    elif context.is_offline_mode():
        run(url=url or "postgresql+psycopg://", literal_binds=True)
    elif url is None:
        raise SystemExit("name the database: alembic -x url=<SQLAlchemy URL> ...")
    else:
        database = Database(url, pool_size=1)
        with migrating(database) as connection:
            run(connection=connection)
        database.close()


main()
