"""``dicom-node jobs``: what is queued or parked, and a person's word on what is parked."""

import argparse
from dataclasses import asdict

from rich.table import Table

from dicom_node.bootstrap_beside import open_work
from dicom_node.bootstrap_data import open_tables
from dicom_node.cli.parsing import (
    add_config_flag,
    add_json_flag,
    positive,
    print_json_lines,
    print_table,
    user,
)
from dicom_node.config.load import load
from storage import jobs
from storage.states import JobKind, JobState


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the commands and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list jobs, parked ones first")
    add_config_flag(listing)
    listing.add_argument("--state", choices=[s.value for s in JobState])
    listing.add_argument("--kind", choices=[k.value for k in JobKind])
    listing.add_argument("--limit", type=positive, default=100, metavar="N")
    add_json_flag(listing)
    listing.set_defaults(run=run_list)
    for name, text in (
        ("redrive", "try parked jobs again"),
        ("discard", "give parked jobs up for good"),
    ):
        change = actions.add_parser(name, help=text)
        add_config_flag(change)
        change.add_argument("keys", nargs="*", metavar="KEY", help="job keys, as listed")
        change.add_argument("--all-parked", action="store_true", help="every parked job")
        change.add_argument("--dry-run", action="store_true", help="say what would be done")
        change.set_defaults(run=run_change)


def run_list(arguments: argparse.Namespace) -> int:
    """Print the jobs."""
    state = JobState(arguments.state) if arguments.state else None
    kind = JobKind(arguments.kind) if arguments.kind else None
    with open_tables(load(arguments.config)) as database, database.reading() as connection:
        rows = jobs.listing(connection, state=state, kind=kind, limit=arguments.limit)
    if arguments.json:
        print_json_lines(asdict(row) for row in rows)
        return 0
    if not rows:
        print("no such jobs")
        return 0
    table = Table("job", "state", "attempt", "due", "reason", box=None)
    for row in rows:
        reason = f"{row.error_code}: {row.error}" if row.error_code else ""
        due = row.due_at.isoformat(timespec="seconds") if row.state is JobState.QUEUED else ""
        table.add_row(row.key, row.state.value, str(row.attempt), due, reason)
    print_table(table)
    return 0


def run_change(arguments: argparse.Namespace) -> int:
    """Re-drive or discard; return 1 when a key names no parked job."""
    settings = load(arguments.config)
    verb = {"redrive": "re-driven", "discard": "discarded"}[arguments.action]
    failed = 0
    with open_tables(settings) as database:
        with database.reading() as connection:
            parked = {
                row.key for row in jobs.listing(connection, state=JobState.PARKED, limit=100_000)
            }
        keys = sorted(parked) if arguments.all_parked else list(dict.fromkeys(arguments.keys))
        if not keys:
            print("nothing is parked" if arguments.all_parked else "name a job, or --all-parked")
            return 0 if arguments.all_parked else 2
        work = open_work(settings, database)
        change = work.redrive if arguments.action == "redrive" else work.discard
        for key in keys:
            if arguments.dry_run and key in parked:
                print(f"{key}: would be {verb}")
            elif key in parked and change(key, actor=user()):
                print(f"{key}: {verb}")
            else:
                print(f"{key}: is not parked")
                failed += 1
    return 1 if failed else 0
