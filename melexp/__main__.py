"""The command ``melexp``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from melexp.commands.invert_options import add_arguments as add_invert_arguments
from melexp.runs.interrupts import Stopped, ignore_signals, stop_if_wanted, stop_on_signals


def main() -> None:
    """Entry point of the command."""
    stop_on_signals()
    try:
        try:
            _main()
        except Exception:
            stop_if_wanted()
            raise
    except Stopped as signal:
        ignore_signals()
        print("melexp: stopped", file=sys.stderr)
        sys.exit(signal.status)
    finally:
        ignore_signals()  # what follows is the end


def _main() -> None:
    # `run` is Hydra's: its arguments are overrides and flags that argparse must not touch.
    if sys.argv[1:2] == ["run"]:
        from melexp.runs.hydra_app import main as run

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
    search = commands.add_parser("search", help="look for a method's best parameters (Optuna)")
    search.add_argument("overrides", nargs="*", help="as of run: method=admm dataset=ljspeech")
    search.add_argument("--metric", default="scm", help="its mean is made best (default: scm)")
    search.add_argument("--range", action="append", default=[], metavar="NAME=LOW:HIGH[:log]")
    search.add_argument("--trials", type=int, default=60, help="in all; the same call resumes")
    search.add_argument("--study", default="search", help="its name, and its experiment's")
    search.add_argument("--seed", type=int, default=0, help="of the sampler")

    compare = commands.add_parser("compare", help="two folders of results, or two commits'")
    compare.add_argument("a", metavar="A", help="a folder, a commit, or COMMIT:FOLDER")
    compare.add_argument("b", metavar="B", help="is it worse than A? Then the exit code is 1")
    compare.add_argument("--experiment", action="append", help="only this one (repeatable)")
    compare.add_argument("--tolerance", action="append", default=[], metavar="METRIC=VALUE")

    merge = commands.add_parser("merge", help="join results of several machines")
    merge.add_argument("into", type=Path, help="folder of results, which may be new")
    merge.add_argument("sources", type=Path, nargs="+", help="folders of results")
    merge.add_argument("--rtol", type=float, default=0.0, help="of values that both have")

    export = commands.add_parser("export", help="a table as CSV, Parquet or LaTeX")
    export.add_argument("results", type=Path, help="folder of results, such as results/core")
    export.add_argument("experiment", help="such as fig3")
    export.add_argument("output", type=Path, help="ends in .csv, .parquet or .tex")

    doctor = commands.add_parser(
        "doctor", help="verify results and the cache of recordings; move aside what is damaged"
    )
    doctor.add_argument("results", type=Path, nargs="*", help="folders of results")
    doctor.add_argument("--cache", action="store_true", help="the cache of recordings too")

    bench = commands.add_parser("bench", help="time the methods against their floor and peers")
    bench.add_argument("--dataset", default="demo_speech", help="speech for the time to quality")
    bench.add_argument("--quick", action="store_true", help="fewer rounds and clips")

    commands.add_parser("compile", help="compile the fast engine now, and not at the first call")

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
        from melexp.results.store import DamagedFile

        if isinstance(error, DamagedFile):
            print("melexp doctor moves aside what is damaged", file=sys.stderr)
        sys.exit(2)


def _dispatch(arguments: argparse.Namespace) -> int:
    """Run a subcommand; modules are imported here, so that the help is quick."""
    if arguments.command == "reproduce":
        from melexp.commands.reproduce import figures, reproduce

        failed = 0
        if not arguments.figures_only:
            failed = reproduce(arguments.profile, arguments.experiments)
        figures(arguments.profile, arguments.experiments)
        return failed
    elif arguments.command == "regress":
        from melexp.commands.regress import regress

        return regress(Path("results") / arguments.profile)
    elif arguments.command == "report":
        from melexp.report import report

        report(arguments.results, arguments.output, clips=arguments.clips)
    elif arguments.command == "search":
        from melexp.runs.search import Range
        from melexp.runs.search import search as look

        study = look(
            arguments.overrides,
            [Range.parse(text) for text in arguments.range],
            metric=arguments.metric,
            trials=arguments.trials,
            study=arguments.study,
            seed=arguments.seed,
        )
        best = " ".join(f"{name}={value:.6g}" for name, value in study.best_params.items())
        print(f"best of {len(study.trials)} trials: {best}: {study.best_value:.4f}")
    elif arguments.command == "compare":
        return _compare(arguments)
    elif arguments.command == "merge":
        from melexp.results.merge import merge

        print("\n".join(merge(arguments.into, arguments.sources, rtol=arguments.rtol)))
    elif arguments.command == "doctor":
        from melexp.commands.doctor import doctor

        return doctor(arguments.results, cache=arguments.cache)
    elif arguments.command == "export":
        from melexp.results.export import export
        from melexp.results.tables import read_table

        export(read_table(arguments.results, arguments.experiment), arguments.output)
    elif arguments.command == "bench":
        from melexp.bench import bench

        bench(Path("results/bench"), dataset=arguments.dataset, quick=arguments.quick)
    elif arguments.command == "compile":
        from melexp.commands.compile import precompile

        precompile()
    elif arguments.command == "invert":
        from melexp.commands.invert import run

        return run(arguments)
    elif arguments.command == "data" and arguments.action == "unpack":
        from melexp.files.archives import unpack

        count = unpack(arguments.archive.expanduser(), arguments.folder.expanduser())
        print(f"{arguments.folder}: {count} files")
    elif arguments.command == "data":
        from melexp.datasets import catalogue

        catalogue().to_csv(sys.stdout, index=False)
    else:
        from melexp.methods import available_methods

        print("\n".join(available_methods()))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from melexp.results.compare import TOLERANCE, compare_all, tables_of

    tolerance = dict(TOLERANCE)
    for text in arguments.tolerance:
        metric, _, value = text.partition("=")
        try:
            tolerance[metric] = float(value)
        except ValueError:
            raise ValueError(f"--tolerance {text} must look like scm=0.5") from None
    a, b = tables_of(arguments.a), tables_of(arguments.b)
    for name in arguments.experiment or []:
        if name not in a or name not in b:
            raise ValueError(f"{name} is not in both; there are {', '.join(a.keys() & b.keys())}")
    if arguments.experiment:
        a = {name: a[name] for name in arguments.experiment}
        b = {name: b[name] for name in arguments.experiment}
    return compare_all(a, b, tolerance=tolerance)


if __name__ == "__main__":
    main()
