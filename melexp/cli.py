"""The command ``melexp``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from melexp.invert_command import add_arguments as add_invert_arguments


def main() -> None:
    """Entry point of the command."""
    # `run` is Hydra's: its arguments are overrides and flags that argparse must not touch.
    if sys.argv[1:2] == ["run"]:
        from melexp.app import main as run

        sys.argv = ["melexp run", *sys.argv[2:]]
        run()
        return

    parser = argparse.ArgumentParser(prog="melexp", description="Mel-spectrogram inversion.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "run",
        help="run a configuration, or with -m a sweep (Hydra: melexp run --help)",
        add_help=False,
    )

    reproduce = commands.add_parser("reproduce", help="run the experiments and draw their figures")
    reproduce.add_argument("experiments", nargs="*", help="such as fig2 (default: all)")
    reproduce.add_argument("--profile", default="demo", help="demo (embedded clips) or core (real)")
    reproduce.add_argument("--figures-only", action="store_true", help="draw from stored tables")

    regress = commands.add_parser(
        "regress", help="recompute a subset of committed results and compare"
    )
    regress.add_argument("--profile", default="demo")

    report = commands.add_parser("report", help="pages to look at and listen to, from results")
    report.add_argument("results", type=Path, help="a folder of results, such as results/core")
    report.add_argument("--output", type=Path, help="the pages' folder (default: RESULTS/report)")
    report.add_argument(
        "--clips",
        type=int,
        metavar="N",
        help="clips of each data set to listen to (default: 6, or one of each category)",
    )

    bench = commands.add_parser("bench", help="time the methods against their floor and peers")
    bench.add_argument("--dataset", default="demo_speech", help="speech for the time to quality")
    bench.add_argument("--quick", action="store_true", help="fewer rounds and clips")

    commands.add_parser("compile", help="compile the fast engine now, and not at the first call")

    invert = commands.add_parser("invert", help="turn mel-spectrograms into sound")
    add_invert_arguments(invert)

    data = commands.add_parser("data", help="the data sets")
    data.add_argument("action", choices=["list"], help="clips with licences and authors")

    commands.add_parser("methods", help="the names of the methods")

    arguments = parser.parse_args()
    try:
        sys.exit(_dispatch(arguments))
    except (ValueError, OSError) as error:
        print(f"melexp: {error}", file=sys.stderr)
        sys.exit(2)


def _dispatch(arguments: argparse.Namespace) -> int:
    """Run a subcommand; modules are imported here, so that the help is quick."""
    if arguments.command == "reproduce":
        from melexp.reproduce import figures, reproduce

        if not arguments.figures_only:
            reproduce(arguments.profile, arguments.experiments)
        figures(arguments.profile, arguments.experiments)
    elif arguments.command == "regress":
        from melexp.regress import regress

        return regress(Path("results") / arguments.profile)
    elif arguments.command == "report":
        from melexp.report import report

        report(arguments.results, arguments.output, clips=arguments.clips)
    elif arguments.command == "bench":
        from melexp.bench import bench

        bench(Path("results/bench"), dataset=arguments.dataset, quick=arguments.quick)
    elif arguments.command == "compile":
        from melexp.precompile import precompile

        precompile()
    elif arguments.command == "invert":
        from melexp.invert_command import run

        return run(arguments)
    elif arguments.command == "data":
        from melexp.datasets import catalogue

        catalogue().to_csv(sys.stdout, index=False)
    else:
        from melexp.methods import available_methods

        print("\n".join(available_methods()))
    return 0


if __name__ == "__main__":
    main()
