"""``dicom-node audit``: find, show and prove what was predicted."""

import argparse
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from audit import chain
from audit.clock import SystemClock
from audit.entries import RecordKind
from audit.pseudonym import Pseudonyms
from audit.store import AuditFilter, AuditRow, append, get, query, verify
from dicom_node.bootstrap_data import audit_writer, open_pseudonyms, open_tables
from dicom_node.cli.parsing import (
    add_config_flag,
    add_json_flag,
    positive,
    print_json_lines,
    print_table,
    user,
)
from dicom_node.config.load import load
from dicom_node.config.settings import NodeSettings
from storage.session import Database

_LONGEST_NUMBER = 19
"""Digits that no number of a record has: the column holds 64 bits."""

_OUTCOMES = ("predicted", "skipped", "failed")
_VERDICTS = ("match", "mismatch", "uncertain", "not_declared")


def register(parser: argparse.ArgumentParser) -> None:
    """Describe the commands and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list records")
    add_config_flag(listing)
    listing.add_argument("--kind", choices=[k.value for k in RecordKind], default="prediction")
    listing.add_argument("--all-kinds", action="store_true")
    listing.add_argument("--patient-id", metavar="ID")
    listing.add_argument("--issuer", default="", metavar="TEXT", help="of the patient id")
    listing.add_argument("--accession", metavar="NUMBER")
    listing.add_argument("--study", default="", metavar="UID")
    listing.add_argument("--instance", default="", metavar="UID")
    listing.add_argument("--model", default="", metavar="NAME")
    listing.add_argument("--model-version", default="", metavar="VERSION")
    listing.add_argument("--outcome", default="", choices=_OUTCOMES)
    listing.add_argument("--verdict", default="", choices=_VERDICTS)
    listing.add_argument("--since", type=_moment, metavar="TIME", help="ISO 8601, UTC if bare")
    listing.add_argument("--until", type=_moment, metavar="TIME")
    listing.add_argument("--limit", type=positive, default=50, metavar="N", help="newest N")
    add_json_flag(listing)
    listing.set_defaults(run=run_list)
    show = actions.add_parser("show", help="show one record, whole")
    add_config_flag(show)
    show.add_argument(
        "record", metavar="SEQ|AUDIT_ID", help="number in the chain, or audit id, of the record"
    )
    show.set_defaults(run=run_show)
    proof = actions.add_parser("verify", help="check the whole hash chain")
    add_config_flag(proof)
    proof.add_argument(
        "--anchor", type=_anchor, metavar="SEQ:HASH", help="a head that was kept elsewhere"
    )
    add_json_flag(proof)
    proof.set_defaults(run=run_verify)


def run_list(arguments: argparse.Namespace) -> int:
    """Print the newest records that fit, oldest of them first."""
    settings = load(arguments.config)
    with open_tables(settings) as database:
        wanted = _wanted(arguments, open_pseudonyms(settings, database))
        with database.reading() as connection:
            rows = list(query(connection, wanted))[::-1]
        _note_access(settings, database, "read", {"records": len(rows), **_asked_for(wanted)})
    if arguments.json:
        print_json_lines(_document(row) for row in rows)
    elif not rows:
        print("no such records")
    else:
        _print_table(rows, with_kind=arguments.all_kinds)
    return 0


def _wanted(arguments: argparse.Namespace, names: Pseudonyms) -> AuditFilter:
    return AuditFilter(
        kinds=() if arguments.all_kinds else (RecordKind(arguments.kind),),
        since=arguments.since,
        until=arguments.until,
        patient_pseudonym=names.patient(arguments.patient_id or "", arguments.issuer),
        accession_pseudonym=names.accession(arguments.accession or ""),
        study_instance_uid=arguments.study,
        sop_instance_uid=arguments.instance,
        model_name=arguments.model,
        model_version=arguments.model_version,
        outcome=arguments.outcome,
        verdict=arguments.verdict,
        limit=arguments.limit,
        newest_first=True,
    )


def _asked_for(wanted: AuditFilter) -> dict[str, str]:
    """Return what was looked for, patients and orders as pseudonyms."""
    given = {
        "kinds": ", ".join(kind.value for kind in wanted.kinds),
        "since": wanted.since.isoformat() if wanted.since else "",
        "until": wanted.until.isoformat() if wanted.until else "",
        **{name: getattr(wanted, name) for name in chain.SEARCHED},
    }
    return {name: value for name, value in given.items() if value}


def run_show(arguments: argparse.Namespace) -> int:
    """Print one record as indented JSON; return 1 when there is none."""
    settings = load(arguments.config)
    with open_tables(settings) as database:
        with database.reading() as connection:
            named = arguments.record
            is_number = named.isdecimal() and len(named) < _LONGEST_NUMBER
            row = get(connection, int(named) if is_number else named)
        if row is None:
            print("no such record")
            return 1
        _note_access(settings, database, "read", {"audit_id": row.audit_id})
    print(json.dumps(_document(row), indent=2, ensure_ascii=False, sort_keys=True))
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Check every link; return 1 when the chain is broken."""
    settings = load(arguments.config)
    with open_tables(settings) as database:
        with database.reading() as connection:
            report = verify(connection, anchor=arguments.anchor)
        _note_access(settings, database, "verify", {"ok": report.ok})
    document = {
        "ok": report.ok,
        "records": report.count,
        "first_bad_seq": report.first_bad_seq,
        "reason": report.reason,
        "head_seq": report.head.seq,
        "head_hash": report.head.row_hash,
    }
    if arguments.json:
        print_json_lines([document])
    elif report.ok:
        print(
            f"ok: {report.count} records, unbroken; head {report.head.seq}:{report.head.row_hash}"
        )
        print("keep the head elsewhere: with --anchor it shows records missing from the end")
    else:
        print(f"BROKEN at record {report.first_bad_seq}: {report.reason}")
    return 0 if report.ok else 1


def _document(row: AuditRow) -> dict[str, Any]:
    """Return a record for a reader: what it says, and under its own names what it is.

    ``payload`` is the text that was hashed with ``prev_hash``: who has the lines can prove them.
    """
    return {
        **row.body,
        **({"proposal_kind": row.body["kind"]} if "kind" in row.body else {}),
        "seq": row.seq,
        "audit_id": row.audit_id,
        "kind": row.kind.value,
        "key": row.key,
        "recorded_at": row.recorded_at.isoformat(),
        "payload": row.payload,
        "row_hash": row.row_hash,
        "prev_hash": row.prev_hash,
    }


def _print_table(rows: list[AuditRow], *, with_kind: bool) -> None:
    """Print rows that fit into 80 columns; `audit show` takes their numbers."""
    kind = ("kind",) if with_kind else ()
    table = Table("seq", "time (UTC)", *kind, "model", "outcome", "verdict", box=None)
    for row in rows:
        model = row.body.get("model") or {}
        table.add_row(
            str(row.seq),
            row.recorded_at.strftime("%Y-%m-%d %H:%M:%S"),
            *((row.kind.value,) if with_kind else ()),
            f"{model.get('name', '')} {model.get('version', '')}".strip(),
            str(row.body.get("outcome", "")),
            _verdict(row.body),
        )
    print_table(table)


def _verdict(body: Mapping[str, Any]) -> str:
    """Return a record's verdict and what it was compared with, header or orders."""
    verdict = body.get("verdict")
    word = verdict.get("verdict", "") if isinstance(verdict, Mapping) else ""
    by = verdict.get("compared_with", "") if isinstance(verdict, Mapping) else ""
    if body.get("compared_with"):
        word, by = body.get("outcome", ""), body["compared_with"]
    return f"{word} (by {by})" if word and by else str(word)


def _note_access(
    settings: NodeSettings, database: Database, action: str, what: Mapping[str, Any]
) -> None:
    with database.transaction() as connection:
        append(
            connection,
            audit_writer(settings).access(
                actor=user(),
                action=action,
                query=what,
                recorded_at=SystemClock().now(),
            ),
        )


def _anchor(text: str) -> chain.Head:
    seq, _, row_hash = text.partition(":")
    if not seq.isdecimal() or not re.fullmatch(r"[0-9a-f]{64}", row_hash):
        raise argparse.ArgumentTypeError("must be the number and the hash that verify prints")
    return chain.Head(int(seq), row_hash)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be ISO 8601, such as 2026-11-20T08:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
