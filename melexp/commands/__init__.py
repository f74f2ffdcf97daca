"""The subcommands of `melexp`: their options here, their work in the module of the name.

Modules are imported when their command runs, so that ``melexp --help`` is quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import melexp
from melexp.commands.invert_options import InvertOptions, invert

Argument, Option = typer.Argument, typer.Option

app = typer.Typer(
    help="Invert mel-spectrograms and run experiments on inversion methods.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="List or unpack the data sets.", no_args_is_help=True)
app.add_typer(data, name="data")


def example(*lines: str) -> dict[str, Any]:
    """Return the help settings of a command that ends with examples."""
    return {"epilog": "\b\n" + "\n".join(["Example:", *(f"  {line}" for line in lines)])}


def _version(wanted: bool) -> None:
    if wanted:
        print(f"melexp {melexp.__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command(
    **example(
        "melexp invert mel.npy out.wav --preset hifigan",
        "melexp invert speech.wav round-trip.wav --preset librosa_power --speech",
    )
)(invert)


@app.command(**example("melexp inspect mel.npy"))
def inspect(
    source: Annotated[str, Argument(metavar="FILE", help="A mel (.npy, .npz, .pt) or '-'.")],
    orientation: Annotated[str, Option(help="auto, mels-first or frames-first.")] = "auto",
    key: Annotated[str | None, Option(help="Name of the array in a file with several.")] = None,
) -> None:
    """Examine a mel of unknown origin: which front end explains it."""
    from melexp.commands.inspect import inspect

    print(inspect(source, orientation=orientation, key=key))


@app.command(
    add_help_option=False,
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
    **example("melexp run dataset=demo_speech method=admm checkpoints=[50,500]"),
)
def run(context: typer.Context) -> None:
    """Run a configuration, or a sweep with -m (Hydra)."""
    from melexp.runs.hydra_app import main as run

    sys.argv = ["melexp run", *context.args]
    run()


@app.command(**example("melexp reproduce --profile core fig2 fig3"))
def reproduce(
    experiments: Annotated[
        list[str] | None, Argument(help="Experiments such as fig2 [all].")
    ] = None,
    profile: Annotated[str, Option(help="demo (embedded clips) or core (real ones).")] = "demo",
    figures_only: Annotated[
        bool, Option("--figures-only", help="Draw from stored tables only.")
    ] = False,
) -> int:
    """Run the experiments and draw their figures."""
    from melexp.commands.reproduce import figures, reproduce

    failed = 0 if figures_only else reproduce(profile, experiments or [])
    figures(profile, experiments or [])
    return failed


@app.command(**example("melexp regress --profile core"))
def regress(
    profile: Annotated[str, Option(help="Profile of the committed results.")] = "demo",
) -> int:
    """Recompute a subset of committed results and compare."""
    from melexp.commands.regress import regress
    from melexp.commands.reproduce import results_of

    return regress(results_of(profile))


@app.command(**example("melexp report results/core --clips 3"))
def report(
    results: Annotated[Path, Argument(help="Folder of results, such as results/core.")],
    output: Annotated[Path | None, Option(help="Folder of the pages [RESULTS/report].")] = None,
    clips: Annotated[
        int | None, Option(help="Clips of each data set to listen to [6, or one per category].")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        Option(metavar="NAME[=PATH]", help="Render the clips of this data set too (repeatable)."),
    ] = None,
    where: Annotated[
        list[str] | None,
        Option(metavar="COLUMN=VALUE", help="Show these rows only: rho=0.1 (repeatable)."),
    ] = None,
) -> None:
    """Write pages to look at and listen to, from results."""
    from melexp.report import report

    report(results, output, clips=clips, datasets=dataset or [], where=where or [])


@app.command(
    **example("melexp search method=admm --metric pesq --range rho=0.01:1:log --trials 60")
)
def search(
    overrides: Annotated[
        list[str] | None, Argument(help="Overrides as of run: method=admm dataset=ljspeech.")
    ] = None,
    metric: Annotated[str, Option(help="Metric whose mean is optimised.")] = "scm",
    range_: Annotated[
        list[str] | None,
        Option("--range", metavar="NAME=LOW:HIGH[:log]", help="Range (repeatable)."),
    ] = None,
    trials: Annotated[int, Option(help="Total number of trials; re-run to resume.")] = 60,
    study: Annotated[str, Option(help="Name of the study and of its experiment.")] = "search",
    seed: Annotated[int, Option(help="Seed of the sampler.")] = 0,
) -> None:
    """Search the best parameters of a method (Optuna)."""
    from melexp.runs.search import Range, search

    found = search(
        overrides or [],
        [Range.parse(text) for text in range_ or []],
        metric=metric,
        trials=trials,
        study=study,
        seed=seed,
    )
    best = " ".join(f"{name}={value:.6g}" for name, value in found.best_params.items())
    print(f"best of {len(found.trials)} trials: {best}: {found.best_value:.4f}")


@app.command(**example("melexp compare main results/core"))
def compare(
    a: Annotated[str, Argument(metavar="A", help="A folder, a commit, or COMMIT:FOLDER.")],
    b: Annotated[str, Argument(metavar="B", help="Candidate; the exit code is 1 if it is worse.")],
    experiment: Annotated[
        list[str] | None, Option(help="Compare only this experiment (repeatable).")
    ] = None,
    tolerance: Annotated[
        list[str] | None, Option(metavar="METRIC=VALUE", help="Allowed change (repeatable).")
    ] = None,
    every: Annotated[
        bool, Option("--all", help="Print every mean, not only changed ones.")
    ] = False,
) -> int:
    """Compare two folders of results, or the results of two commits."""
    from melexp.results.compare import compare_sources

    return compare_sources(
        a, b, experiments=experiment or [], tolerance=tolerance or [], every=every
    )


@app.command(**example("melexp merge results/all results/here results/there"))
def merge(
    into: Annotated[Path, Argument(help="Folder of results, which may be new.")],
    sources: Annotated[list[Path], Argument(help="Folders of results.")],
    rtol: Annotated[float, Option(help="Allowed relative difference of common values.")] = 0.0,
) -> None:
    """Join the results of several machines."""
    from melexp.results.merge import merge

    print("\n".join(merge(into, sources, rtol=rtol)))


@app.command(**example("melexp export results/core fig3 fig3.tex"))
def export(
    results: Annotated[Path, Argument(help="Folder of results, such as results/core.")],
    experiment: Annotated[str, Argument(help="Such as fig3.")],
    output: Annotated[Path, Argument(help="Ends in .csv, .parquet or .tex.")],
) -> None:
    """Write a table as CSV, Parquet or LaTeX."""
    from melexp.results.export import UNUSED, export
    from melexp.results.tables import read_table

    without = UNUSED if output.suffix == ".tex" else ()
    export(read_table(results, experiment, without=without), output)


@app.command(**example("melexp doctor results/mine --cache"))
def doctor(
    results: Annotated[list[Path] | None, Argument(help="Folders of results.")] = None,
    cache: Annotated[bool, Option("--cache", help="Verify the cache of recordings too.")] = False,
    adopt: Annotated[
        bool, Option("--adopt", help="Accept folders that an older version of melexp wrote.")
    ] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print what would be done; change nothing.")
    ] = False,
) -> int:
    """Verify results and recordings; move corrupt files aside."""
    from melexp.commands.doctor import doctor

    return doctor(results or [], cache=cache, adopt=adopt, dry_run=dry_run)


@app.command(**example("melexp bench --quick"))
def bench(
    dataset: Annotated[str, Option(help="Speech for the time to quality.")] = "demo_speech",
    quick: Annotated[bool, Option("--quick", help="Fewer rounds and clips.")] = False,
    output: Annotated[Path, Option(help="Folder of the table.")] = Path("results/bench"),
) -> None:
    """Time the methods against their floor and their peers."""
    from melexp.bench import bench

    bench(output, dataset=dataset, quick=quick)


@app.command(
    **example(
        "melexp picture speech.wav picture.png --preset riffusion",
        "melexp picture mel.npy picture.png --preset audio_diffusion",
    )
)
def picture(
    source: Annotated[str, Argument(metavar="INPUT", help="A mel, sound, or '-'.")],
    output: Annotated[Path, Argument(help="A .png file.")],
    preset: Annotated[str, Option(help="A front end that has pictures.")],
    bits: Annotated[int, Option(help="Bits of a pixel: 8, or 16 for one channel.")] = 8,
    key: Annotated[str | None, Option(help="Name of the array in a file with several.")] = None,
    orientation: Annotated[str, Option(help="auto, mels-first or frames-first.")] = "auto",
) -> None:
    """Write a mel-spectrogram, or that of sound, as a picture (PNG)."""
    from melexp.commands.picture import write

    options = InvertOptions(transform={"preset": preset}, key=key, orientation=orientation)
    print(write(source, output, options, bits=bits))


@app.command(
    **example(
        "my_model | melexp stream --preset hifigan | aplay -t raw -f S16_LE -r 22050",
        "melexp stream frames.npy sound.raw --preset hifigan --lookahead 2 --n-iter 30",
    )
)
def stream(
    source: Annotated[
        str, Argument(metavar="INPUT", help="'-' for raw float32 frames, or a .npy that may grow.")
    ] = "-",
    output: Annotated[str, Argument(help="A file for raw samples, or '-'.")] = "-",
    preset: Annotated[
        str, Option(help="The front end: hifigan, whisper, librosa, ...")
    ] = "hifigan",
    change: Annotated[
        list[str] | None,
        Option(metavar="NAME=VALUE", help="Another argument of the front end (repeatable)."),
    ] = None,
    lookahead: Annotated[int, Option(help="Frames to wait for.")] = 6,
    n_iter: Annotated[int, Option(help="Iterations for each new frame.")] = 50,
    method: Annotated[str, Option(help="A method of: melexp methods.")] = "admm_ramp",
    seed: Annotated[int, Option(help="Seed of the random phases.")] = 0,
    conceal: Annotated[
        bool, Option("--conceal", help="Replace bad frames instead of ending.")
    ] = False,
    subtype: Annotated[str, Option(help="Sample format: PCM_16 or FLOAT.")] = "PCM_16",
    wait: Annotated[float, Option(help="Seconds without new frames that end a .npy file.")] = 1.0,
    buffer: Annotated[
        float, Option(help="Seconds of sound that the player keeps, for the report of underruns.")
    ] = 0.05,
    quiet: Annotated[bool, Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Invert a mel while it arrives: frames in, samples out."""
    from melexp.commands.invert_options import parameter
    from melexp.commands.stream import stream

    transform = melexp.MelTransform.preset(
        preset, **dict(parameter(text, "--change") for text in change or [])
    )
    report = stream(
        source,
        output,
        transform,
        subtype=subtype,
        wait=wait,
        buffer=buffer,
        lookahead=lookahead,
        n_iter=n_iter,
        method=method,
        seed=seed,
        conceal=conceal,
    )
    if not quiet:
        print(report, file=sys.stderr if output == "-" else sys.stdout)


@app.command("compile", **example("melexp compile"))
def compile_() -> None:
    """Compile the fast engine now, not at the first call."""
    from melexp.commands.compile import precompile

    precompile()


@app.command(**example("melexp methods"))
def methods() -> None:
    """Print the names of the methods."""
    from melexp.methods import available_methods

    print("\n".join(available_methods()))


@data.command("list", **example("melexp data list"))
def list_() -> None:
    """Print the clips with licences and authors, as CSV."""
    from melexp.datasets import catalogue
    from melexp.results.columns import to_csv

    print(to_csv(catalogue()), end="")


@data.command(**example("melexp data unpack corpus.tar.bz2 corpus"))
def unpack(
    archive: Annotated[Path, Argument(help="A .tar, .tar.gz, .tar.bz2, .tar.xz or .zip file.")],
    folder: Annotated[Path, Argument(help="A new folder.")],
) -> None:
    """Unpack a downloaded corpus for dataset=folder."""
    from melexp.files.archives import unpack

    count = unpack(archive.expanduser(), folder.expanduser())
    print(f"{folder}: {count} files")
