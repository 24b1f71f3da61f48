"""`consent filter`: the rows that may be used, from a file or pipe into another."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from consent_domain.errors import ConsentError

from consent_gate.commands.check import add_question
from consent_gate.commands.filtered import in_words, summary
from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.offline import add_offline, is_offline, offline_gate
from consent_gate.commands.pandas_left_out import leave_pandas_out
from consent_gate.commands.richly import progress
from consent_gate.commands.settings import Settings, settings_of
from consent_gate.commands.usage import EXIT_CODES, PERMIT, Subcommands, examples
from consent_gate.commands.waiting import add_wait, followed
from consent_gate.engines.where import Where
from consent_gate.formats.format import STANDARD, formats

if TYPE_CHECKING:
    from consent_gate.engines.job import Job
    from consent_gate.formats.blocks import Columns, Reader, Writer
    from consent_gate.formats.reading import Source
    from consent_gate.formats.writing import Target
    from consent_gate.manifests import Prepared
    from consent_gate.verdicts import Verdict

_EXAMPLES = """\
  consent filter in.parquet out.parquet --column workspace_id --collected-column sent_at --purpose train.ads
  zcat in.jsonl.gz | consent filter --from jsonl --column user.workspace --purpose train.ads | wc -l
  consent filter out.parquet --column workspace_id --purpose train.ads --lost-since 2024-02-01T00:00:00Z

formats: parquet, csv, tsv, jsonl, arrow (a file), arrows (a stream); text also as csv.gz or jsonl.zst.
A name says it by its suffix."""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "filter", parents=[shared], help="the rows of a file or pipe that may be used",
        **examples(_EXAMPLES, EXIT_CODES),
    )  # fmt: skip
    command.add_argument("source", metavar="IN", nargs="?", default=STANDARD, help="- is standard input")
    command.add_argument(
        "target", metavar="OUT", nargs="?",
        help="there if and only if the exit code is 0; - or nothing is standard output",
    )  # fmt: skip
    command.add_argument(
        "--column", action="append", required=True, metavar="NAME",
        help="of workspace ids, or lists of them; in JSONL a dotted path; may be repeated: all must permit",
    )  # fmt: skip
    add_question(command)
    command.add_argument(
        "--collected-column", metavar="NAME", default="",
        help="of times at which the row's data was collected, with time zone; in text as RFC 3339 has them",
    )  # fmt: skip
    command.add_argument("--from", dest="read_as", metavar="FORMAT", help="of IN, whatever its name says")
    command.add_argument("--to", dest="written_as", metavar="FORMAT", help="of OUT, whatever its name says")
    command.add_argument(
        "--separator", metavar="TEXT", default="", help="between the ids in one cell of CSV, such as ;"
    )
    command.add_argument(
        "--overwrite", action="store_true", help="remove what is to be written if it is there"
    )
    command.add_argument("--report", metavar="FILE", help="write what became of the rows there, as JSON")
    command.add_argument(
        "--lost-since", metavar="TOKEN|POSITION|TIME",
        help="write no rows: count those that were permitted then and are not now; 1 if there are any",
    )  # fmt: skip
    add_wait(command)
    group = command.add_argument_group("a manifest, for `consent runs register`")
    group.add_argument("--manifest", metavar="FILE", help="write it there")
    group.add_argument(
        "--run", metavar="RUN", dest="run_name", help="what the run is called; required for it"
    )
    group.add_argument("--parent", action="append", default=[], metavar="RUN", help="whose output IN is")
    group.add_argument("--input-uri", metavar="URI", help="by default that of the file IN")
    group.add_argument("--output-uri", metavar="URI", help="by default that of the file OUT")
    add_offline(command)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.lost_since is None:
        options.target = options.target or STANDARD
        options.is_data_printed = options.target == STANDARD
    if is_offline(options, {"--lost-since": "lost_since", "--wait": "wait"}):
        return filter_rows(None, settings_of(options, "pipeline", ()), options)
    return asking("pipeline", filter_rows)(options)


def filter_rows(ledger: Ledger | None, settings: Settings, options: argparse.Namespace) -> int:
    """Filter, print what became of the rows, return 0; with `--lost-since` see `commands.lost`.

    Raises ConsentError if it could not be decided, or not be done: no target is there then, and what went
    to standard output has no end.
    """
    require_pyarrow()
    if getattr(options, "is_program", False):
        leave_pandas_out()
    if options.lost_since is not None and ledger is not None:
        from consent_gate.commands.lost import count_lost

        return count_lost(ledger, settings, options)
    from consent_gate.formats.reading import Source
    from consent_gate.formats.writing import Target, make_way

    _require_sense(options)
    begun = time.monotonic()
    read_as, written_as = formats(options.source, options.target, options.read_as, options.written_as)
    if options.target == STANDARD and not written_as.is_text and sys.stdout.isatty():
        raise ConsentError(
            "invalid_value", f"a terminal shows no {written_as.name}; name a file, or pipe it on"
        )
    with Source(options.source, read_as) as source:
        columns, reader = opened(source, options)
        for path in filter(None, (options.target, options.report, options.manifest)):
            make_way(source, path, options.overwrite)
        with asked(ledger, settings, options) as job, Target(options.target, written_as) as target:
            passed_on(job, columns, reader, source, target, notes_kept=bool(options.manifest))
            digest = _finished(target)
            told = summary(job.report(), options, digest, time.monotonic() - begun)
            beside = {}
            if options.manifest:
                beside[Path(options.manifest)] = _prepared(job, source, digest, options).encode()
            if options.report:
                beside[Path(options.report)] = json.dumps(told, indent=1).encode() + b"\n"
            _keep(target, beside)
    printed = json.dumps(told) if options.json else in_words(told)
    print(printed, file=sys.stderr if options.is_data_printed else sys.stdout)
    return PERMIT


def _keep(target: Target, beside: dict[Path, bytes]) -> None:
    """The target is there last of all, and nothing without it."""
    from consent_gate.formats.writing import write_whole

    written: list[Path] = []
    try:
        for path, content in beside.items():
            write_whole(path, content)
            written.append(path)
        target.keep()
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def require_pyarrow() -> None:
    """Raises ConsentError `unavailable` without the extra `filter`."""
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConsentError(
            "unavailable", f"{error.name} is not installed: pip install 'consent-gate[filter]'"
        ) from error


def opened(source: Source, options: argparse.Namespace) -> tuple[Columns, Reader]:
    """The reader of the columns that the arguments name. Raises ConsentError `invalid_value`."""
    from consent_gate.formats.blocks import Columns, reader_of

    columns = Columns(options.column, options.collected_column, options.separator)
    return columns, reader_of(source, columns)


@contextmanager
def asked(ledger: Ledger | None, settings: Settings, options: argparse.Namespace) -> Iterator[Job]:
    """A job as of now. Raises ConsentError as `commands.waiting.followed` and `Gate.job` do."""
    if ledger is None:
        with offline_gate(options) as gate, gate.job(options.purpose, categories=options.category) as job:
            yield job
        return
    gate, left = followed(ledger, settings, options.wait)
    with gate, gate.job(options.purpose, categories=options.category, wait_seconds_max=left) as job:
        yield job


def require_known_purpose(purpose: str, verdicts: Iterable[Verdict]) -> None:
    """Raises ConsentError `unknown_purpose` if a row was denied because no policy knows the purpose: then it
    is misspelt, and an empty answer would look like one about the data."""
    if any(verdict.code == "unknown_purpose" for verdict in verdicts):
        raise ConsentError(
            "unknown_purpose",
            f"no policy knows the purpose {purpose!r}; is it misspelt? `GET /v1/purposes` lists those that "
            "there are",
        )


def passed_on(
    job: Job, columns: Columns, reader: Reader, source: Source, target: Target, *, notes_kept: bool
) -> None:
    """All rows that stay go to the target, and the job counts them.

    `notes_kept`: the job's set is of those who own a row that stayed, and not of all who were met and permit
    at some time.
    """
    import pyarrow as pa

    from consent_gate.filter import Filter

    task = job.task(Where(tuple(columns.owners), columns.collected or None), True, None)
    rows = Filter(task.judge(), columns.owners, columns.collected, notes_kept=notes_kept)
    task.counting(rows)
    with _written(target):
        writer: Writer = reader.writer(target)
    unit = reader.done()[2]
    with progress("filtering", unit, beside_lines=target.path == STANDARD) as show:
        for block in reader.blocks():
            try:
                mask = rows.mask(block.columns)
            except pa.ArrowException as error:
                raise source.unreadable(error) from error
            require_known_purpose(job.purpose, rows.counts)
            with _written(target):
                writer.write(block, mask)
            show(*reader.done()[:2])
    with _written(target):
        writer.close()
    task.end()


def _finished(target: Target) -> str:
    with _written(target):
        return target.finish()


@contextmanager
def _written(target: Target) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except BrokenPipeError:
        raise  # whoever read it has what they wanted
    except (OSError, pa.ArrowException) as error:
        raise target.unwritable(error) from error


# -- the manifest --------------------------------------------------------------------------------------------


class _Named(NamedTuple):
    """What an end of the pipe is called in a manifest."""

    option: str
    path: str

    def uri(self, given: str | None) -> str:
        """Raises ConsentError `invalid_value` for a pipe that nobody gave a name."""
        if given:
            return given
        if self.path == STANDARD:
            raise ConsentError("invalid_value", f"a pipe has no name to find it by: say {self.option} URI")
        return Path(os.path.abspath(self.path)).as_uri()


def _require_sense(options: argparse.Namespace) -> None:
    """Before anything is read: files that are one, a manifest that cannot be made."""
    paths = [
        path for path in (options.target, options.report, options.manifest) if path not in (None, STANDARD)
    ]
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise ConsentError("invalid_value", "OUT, --report and --manifest must be different files")
    if STANDARD in (options.report, options.manifest):
        raise ConsentError("invalid_value", "--report and --manifest name files; with --json it is printed")
    about = (options.run_name, options.input_uri, options.output_uri, *options.parent)
    if options.manifest is None:
        if any(about):
            raise ConsentError("invalid_value", "--run, --parent and URIs are for --manifest FILE")
        return
    if not options.run_name:
        raise ConsentError("invalid_value", "a manifest is of a run: say what it is called by --run")
    _uris(options)
    try:
        import pyroaring  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConsentError(
            "unavailable", "pyroaring is not installed: pip install 'consent-gate[filter,manifest]'"
        ) from error


def _uris(options: argparse.Namespace) -> tuple[str, str]:
    read = _Named("--input-uri", options.source).uri(options.input_uri)
    return read, _Named("--output-uri", options.target).uri(options.output_uri)


def _prepared(job: Job, source: Source, digest: str, options: argparse.Namespace) -> Prepared:
    from consent_domain.manifest import Input

    from consent_gate.manifests import dataset, prepare

    read, written = _uris(options)
    return prepare(
        job,
        options.run_name,
        inputs=[Input(uri=read, digest=source.digest(), rows=str(job.report().rows_in))],
        outputs=[dataset(written, digest=digest)],
        parents=options.parent,
    )
