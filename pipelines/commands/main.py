"""``engram``: the command line.

Exit codes: 0 done; 1 failed; 2 wrong arguments, configuration or input; 3 a service does not answer; 4 the commit log
is damaged; 5 a position cannot be supplied; 6 a model cannot be used; 70 a fault of engram itself; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from kie_ops.errors import EngramError
from pipelines.commands import (
    archive,
    backfill,
    demo,
    doctor,
    evaluate,
    evaluate_stream,
    extract,
    memory,
    replay,
    replay_dead_letters,
    report,
    review_queue,
    run,
    train,
)

INTERNAL, INTERRUPTED, BROKEN_PIPE = 70, 130, 141

app = typer.Typer(
    name="engram", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]}, pretty_exceptions_enable=False,
    help="Reads documents into tables of entities, relations and events, with a memory that can be corrected, "
         "explained and undone.",
    epilog="Start with: engram demo",
)
for name, module in (
    ("demo", demo), ("run", run), ("backfill", backfill), ("extract", extract), ("report", report),
    ("review-queue", review_queue),
    ("doctor", doctor), ("archive", archive), ("replay", replay), ("replay-dead-letters", replay_dead_letters),
    ("train", train), ("evaluate", evaluate), ("evaluate-stream", evaluate_stream),
):
    app.command(name, epilog=module.EXAMPLE)(module.command)
app.add_typer(memory.app, name="memory")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"engram {version('engram-kie')}")
        raise typer.Exit


@app.callback()
def _global(
    debug: Annotated[bool, typer.Option("--debug", help="Shows tracebacks and debug logs.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Version.")] = False,
) -> None:
    from pipelines import logs

    logs.configure(debug=debug)


def run_command(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code.  Never raises; errors are one message on standard error."""
    debug, as_json = "--debug" in arguments, "--json" in arguments
    try:
        app(list(arguments), prog_name="engram")
        return 0
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except EngramError as e:
        if debug:
            traceback.print_exc()
        _say(type(e).__name__, e.what, e.where, e.next_step, as_json)
        return e.exit_code
    except OSError as e:
        if debug:
            traceback.print_exc()
        _say(type(e).__name__, e.strerror or str(e), e.filename, None, as_json)
        return 2
    except Exception as e:
        if debug:
            traceback.print_exc()
        _say(type(e).__name__, f"internal error: {type(e).__name__}: {e}", None,
             "run it again as `engram --debug ...` and report what it prints", as_json)
        return INTERNAL


def _say(kind: str, what: str, where: object, next_step: str | None, as_json: bool) -> None:
    if as_json:
        said = {"error": kind, "what": what, "where": None if where is None else str(where), "next_step": next_step}
        sys.stderr.write(json.dumps(said, ensure_ascii=False) + "\n")
        return
    lines = [f"error: {what}"]
    lines += [f"   at: {where}"] if where is not None else []
    lines += [f" next: {next_step}"] if next_step else []
    sys.stderr.write("\n".join(lines) + "\n")


def main() -> None:
    code = run_command(sys.argv[1:])
    sys.stdout.flush()
    sys.exit(code)
