"""``make bench``: what a piece costs, how soon the first byte comes, how much memory it takes, next to the usual ways.

The cases take turns in one run, so that whatever else the machine does falls on all of them; the figures are medians.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cases import (
    CASES,
    Case,
    Sample,
    cases_of,
    cpu_per_piece,
    median,
    package_of,
    run,
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each case (default: 7)")
    parser.add_argument(
        "--pieces", type=int, default=20_000, help="pieces in a long stream (default: 20000)"
    )
    parser.add_argument(
        "--against", metavar="REVISION", help="measure the function as it was then, too"
    )
    arguments = parser.parse_args()
    with TemporaryDirectory() as now, TemporaryDirectory() as then:
        cases = (*CASES, *package_of(None, Path(now)))
        if arguments.against:
            cases += cases_of(arguments.against, Path(then))
            cases += package_of(arguments.against, Path(then))
        measure(cases, arguments.rounds, arguments.pieces)


def measure(cases: tuple[Case, ...], rounds: int, pieces: int) -> None:
    """Measure cases in turns, and print a line each."""
    starts: dict[Case, list[Sample]] = {case: [] for case in cases}
    costs: dict[Case, list[float]] = {case: [] for case in cases}
    # One after the other: what a long stream leaves in this process would count as memory of those it starts.
    for _ in range(rounds):
        for case in cases:
            starts[case].append(run(case))
    for _ in range(rounds):
        for case in cases:
            costs[case].append(cpu_per_piece(case, pieces))

    print(f"{'':52}{'first byte':>14}{'memory':>10}{'CPU a piece':>14}{'delay p50':>12}{'p99':>10}")
    for case in cases:
        delays = sorted(run(case, pieces=100, interval=0.02).delays)
        delay = (
            f"{median(delays) * 1000:9.2f} ms{delays[-2] * 1000:7.2f} ms"
            if delays
            else f"{'(whole)':>12}"
        )
        print(
            f"{case.name:52}{median([s.first_byte for s in starts[case]]) * 1000:11.0f} ms"
            f"{median([s.memory for s in starts[case]]) / 1e6:7.0f} MB{median(costs[case]):11.1f} µs{delay}"
        )
    print(
        "\nfirst byte: from the start of the process. CPU a piece: from Bedrock's frame to the caller's chunk.\n"
        "delay: from Bedrock's sending a piece to the caller's having it, at 50 pieces a second."
    )


if __name__ == "__main__":
    main()
