"""The command line: help with examples, version, completion, exit codes, one-line errors."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from crashing import melexp_text as melexp

from melexp.__main__ import main
from melexp.commands import app
from melexp.commands.reproduce import BY_NAME, _draw, experiment_configs, figures, reproduce
from melexp.errors import MissingExtra, one_line, require

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    *("invert", "run", "reproduce", "regress", "report", "search", "compare", "merge", "export"),
    *("doctor", "bench", "stream", "compile", "methods", "data list", "data unpack"),
]


def command_line(*arguments: str) -> int:
    """Run `melexp` in this process; return its exit code."""
    before = sys.argv
    sys.argv = ["melexp", *arguments]
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = before
    return int(end.value.code or 0)


def examples(name: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the example commands at the end of the help of a command."""
    # The help of run is that of Hydra; its example is that of `melexp --help`'s parser.
    command = typer.main.get_command(app)
    for part in name.split():
        command = command.commands[part]  # type: ignore[attr-defined]
    if name != "run":
        assert command_line(*name.split(), "--help") == 0
        assert "Example:" in capsys.readouterr().out
    epilog = command.epilog or ""
    return [line.strip() for line in epilog.splitlines() if line.strip().startswith("melexp ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_that_parses(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = examples(name, capsys)
    assert found
    for line in found:
        words = shlex.split(line)
        assert words[0] == "melexp"
        assert words[1 : 1 + len(name.split())] == name.split()
        context = typer.main.get_command(app).make_context("melexp", words[1:])
        for part in name.split():
            command = context.command.commands[part]  # type: ignore[attr-defined]
            rest = [*context._protected_args, *context.args][1:]
            context = command.make_context(part, rest, parent=context)


def test_commands_are_listed_with_their_whole_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line("--help") == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    for name in COMMANDS:
        assert f"\n  {name.split()[0]} " in listed
    assert "..." not in listed


def test_the_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['melexp', '--help']\n"
        "from melexp.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'numba', 'pandas', 'hydra', 'librosa', 'torch', 'matplotlib'}\n"
        "sys.exit(' '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import melexp

    assert command_line("--version") == 0
    assert capsys.readouterr().out == f"melexp {melexp.__version__}\n"


def test_completion() -> None:
    words = {"COMP_WORDS": "melexp com", "COMP_CWORD": "1"}
    done = melexp(_MELEXP_COMPLETE="complete_bash", **words)
    assert {"compare", "compile"} <= set(done.stdout.split())
    assert "methods" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'; see melexp --help"),
        (["export", "results/core"], "Missing argument"),
        (["invert", "a.npy", "b.wav", "--n-iter", "x"], "'--n-iter'"),
        (["compare", "a", "b", "--nonsense"], "--nonsense"),
        (["data", "nonsense"], "see melexp data --help"),
        (["doctor"], "there is no folder to verify; give a results folder or --cache"),
        (["reproduce", "fig99"], "there is no experiment fig99; the experiments are"),
        (["reproduce", "--profile", "mine"], "there is no profile 'mine'"),
    ],
)
def test_bad_usage_ends_with_2_and_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("melexp: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_closed_pipe_ends_it_silently() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "melexp", "methods"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


@pytest.mark.slow
def test_run_hands_its_arguments_to_hydra() -> None:
    done = melexp("run", "--cfg", "job", "method=gla", "checkpoints=[7]", "-p", "checkpoints")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "- 7"
    assert melexp("run", "--version").stdout.startswith("Hydra ")
    shown = melexp("run", "--help").stdout
    assert shown.startswith("Run a method on every clip")
    assert "\n  melexp run -m method=admm,gla" in shown


def test_figures_without_tables_name_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("melexp.commands.reproduce.results_of", lambda profile: tmp_path)
    with pytest.raises(
        ValueError, match=r"has no table of .*; run: melexp reproduce --profile demo$"
    ):
        figures("demo")
    for name in set(experiment_configs()) - {"fig2", *BY_NAME}:
        (tmp_path / f"{name}.csv").touch()
    with pytest.raises(ValueError, match=r"no table of fig2; .* reproduce --profile demo fig2$"):
        figures("demo")


def test_a_script_of_a_figure_imports_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("NAME = 'drawn'")
    (tmp_path / "figure.py").write_text(
        "import sys; from pathlib import Path; import beside_it\n"
        "(Path(sys.argv[1]) / beside_it.NAME).touch()"
    )
    before = list(sys.path)
    assert _draw(tmp_path / "figure.py", tmp_path) == 0
    assert (tmp_path / "drawn").exists()
    assert sys.path == before


def test_the_summary_is_drawn_only_with_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def draw(script: Path, results: Path) -> int:
        drawn.append(script.stem)
        return 0

    monkeypatch.setattr("melexp.commands.reproduce.results_of", lambda profile: tmp_path)
    monkeypatch.setattr("melexp.commands.reproduce._draw", draw)
    (tmp_path / "fig3.csv").touch()
    figures("demo", ["fig3"])
    (tmp_path / "fig4.csv").touch()
    figures("demo", ["fig4"])
    assert drawn == ["fig3", "fig4", "summary"]


def test_experiments_that_need_extras_run_only_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    smaller: list[bool] = []

    def run_here(overrides: list[str], *, elsewhere: Callable[[], int]) -> int:
        ran.append(overrides[0].removeprefix("experiment="))
        smaller.append("limit=4" in overrides)
        return 0

    monkeypatch.setattr("melexp.commands.reproduce.results_of", lambda profile: tmp_path)
    monkeypatch.setattr("melexp.commands.reproduce.run_here", run_here)
    reproduce("demo")
    configs = experiment_configs()
    assert ran == [c for name in configs if name not in BY_NAME for c in configs[name]]
    assert all(smaller)
    ran.clear()
    smaller.clear()
    reproduce("demo", ["peers"])
    reproduce("core", ["fig2"])
    assert ran == ["peers", "peers_libraries", "peers_vocoders", "fig2"]
    assert not any(smaller)


def test_one_line() -> None:
    assert one_line(ValueError("two\n  lines ")) == "two lines"
    assert one_line(MemoryError()) == "MemoryError"
    assert one_line("a\nb") == "a b"


def test_a_missing_extra_is_named() -> None:
    require("torch", "numpy", "melexp.errors", what="this test")
    with pytest.raises(MissingExtra) as error:
        require("torch", "numpy", "no_such_module", "melexp.nothing", "no.such", what="this test")
    assert str(error.value) == (
        "this test needs no_such_module, melexp.nothing, no.such, which is not installed; "
        "run: pip install 'melexp[torch]'"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OverflowError("int too large"), "a number is too large (int too large); use a smaller"),
        (MemoryError(), "there is too little memory (MemoryError); give less at once"),
    ],
)
def test_too_large_a_request_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    message: str,
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("melexp.commands.doctor.doctor", fail)
    assert command_line("doctor", "x") == 2
    said = capsys.readouterr().err
    assert f"melexp: {message}" in said
    assert said.count("\n") == 1
