"""Explores the commit protocol: python -m tests.model --states 100000 --seed 1 [--grain calls] [--only erasure]"""

from __future__ import annotations

import argparse
import sys
import time

from tests.model.explorer import Explorer
from tests.model.process import GRAINS
from tests.model.scenarios import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--states", type=int, default=100_000, help="distinct states, shared among the scenarios")
    parser.add_argument("--seed", type=int, default=1, help="order among schedules with equally many deviations")
    parser.add_argument("--grain", choices=GRAINS, default="writes", help="where processes stop")
    parser.add_argument("--deviations", type=int, default=1_000, help="turns off the usual way, at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="processor time, at most")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    given = parser.parse_args()
    chosen = [s for s in SCENARIOS if given.only in s.name]
    states = schedules = ends = violations = 0
    for number, scenario in enumerate(chosen):
        left = len(chosen) - number
        seconds = (given.seconds - time.process_time()) / left
        report = Explorer(
            scenario, grain=given.grain, states=max((given.states - states) // left, 1), seed=given.seed,
            deviations=given.deviations, seconds=seconds,
        ).run()
        print(report, flush=True)
        for found in report.violations:
            print(f"  {found.said}", *found.way, sep="\n    ", flush=True)
        states, schedules = states + report.states, schedules + report.schedules
        ends, violations = ends + report.ends, violations + len(report.violations)
    print(f"in all: {states} states, {schedules} schedules, {ends} ends, {violations} violations; "
          f"seed {given.seed}, stops at {given.grain}, {time.process_time():.0f} s of processor time")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
