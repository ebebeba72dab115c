"""``engram doctor``: is everything a run needs there, and safe?"""

from __future__ import annotations

import typer

from pipelines.commands.options import ConfigArgument, JsonOption, SetOption, console, emit, load_config

EXAMPLE = "Example:  engram doctor medical.yaml --set source.bootstrap=kafka:9092"


def command(config: ConfigArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Checks Kafka, Redis, tables, versions and unsafe settings, and names the line to change.

    Exit code 0: all is well, or there are warnings only; 1: something failed.
    """
    from pipelines import doctor

    coming = doctor.check(load_config(config, overrides), config)
    findings = list(coming) if as_json else doctor.show(coming, console())
    if as_json:
        emit({"ok": not any(f.level == "fail" for f in findings), "findings": findings})
    if any(f.level == "fail" for f in findings):
        raise typer.Exit(1)
