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

    bench = commands.add_parser("bench", help="time the methods against their floor and peers")
    bench.add_argument("--dataset", default="demo_speech", help="speech for the time to quality")
    bench.add_argument("--quick", action="store_true", help="fewer rounds and clips")

    invert = commands.add_parser("invert", help="turn mel-spectrograms into sound")
    add_invert_arguments(invert)

    data = commands.add_parser("data", help="the data sets")
    actions = data.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="clips with licences and authors")
    unpack = actions.add_parser("unpack", help="a downloaded corpus, for dataset=folder")
    unpack.add_argument("archive", type=Path, help="a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip")
    unpack.add_argument("folder", type=Path, help="a new folder")

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
    elif arguments.command == "bench":
        from melexp.bench import bench

        bench(Path("results/bench"), dataset=arguments.dataset, quick=arguments.quick)
    elif arguments.command == "invert":
        from melexp.invert_command import run

        return run(arguments)
    elif arguments.command == "data" and arguments.action == "unpack":
        from melexp.archives import unpack

        count = unpack(arguments.archive.expanduser(), arguments.folder.expanduser())
        print(f"{arguments.folder}: {count} files")
    elif arguments.command == "data":
        from melexp.datasets import catalogue

        catalogue().to_csv(sys.stdout, index=False)
    else:
        from melexp.methods import available_methods

        print("\n".join(available_methods()))
    return 0


if __name__ == "__main__":
    main()
