"""``dicom-node db``: the database's schema, changed on a person's word only."""

import argparse

from dicom_node.bootstrap_data import open_database
from dicom_node.cli.parsing import add_config_flag
from dicom_node.config.load import load
from storage import schema
from storage.engine import migrate


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the commands and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    current = actions.add_parser("current", help="show the schema's revision")
    add_config_flag(current)
    current.set_defaults(run=run_current)
    upgrade = actions.add_parser("upgrade", help="upgrade to this release")
    add_config_flag(upgrade)
    upgrade.set_defaults(run=run_upgrade)


def run_current(arguments: argparse.Namespace) -> int:
    """Print the revision; return 1 when it is not this release's."""
    with open_database(load(arguments.config)) as database:
        found, wanted = schema.current_revision(database), schema.head_revision()
    print(f"schema {found or 'empty'}, this release works with {wanted}")
    return 0 if found == wanted else 1


def run_upgrade(arguments: argparse.Namespace) -> int:
    """Upgrade the tables of the node and of its engine; running it twice is harmless."""
    with open_database(load(arguments.config)) as database:
        schema.upgrade(database)
        migrate(database)
        print(f"ok: schema {schema.current_revision(database)}")
    return 0
