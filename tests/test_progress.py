"""Progress of a sweep: events, their tally, the display and the report of missing values."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from melexp.runs.display import shown
from melexp.runs.events import VARIABLE, Events, Tally, tell
from melexp.runs.sweep import without_value


def test_events_arrive_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    events = Events(tmp_path)
    tell("job", label="A", tasks=3, stored=1)
    assert [e["event"] for e in events.new()] == ["job"]
    (tmp_path / "other.jsonl").write_text('{"event": "end"}\n{"event": "jo')
    assert events.new() == [{"event": "end"}]
    assert events.new() == []
    with (tmp_path / "other.jsonl").open("a") as file:
        file.write('b"}\n')
    assert events.new() == [{"event": "job"}]


def test_events_are_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    tell("task", label="Ä", name="n", seconds=0.5, reason="")
    (path,) = tmp_path.glob("*.jsonl")
    assert json.loads(path.read_text())["label"] == "Ä"


def test_tally_by_hand() -> None:
    """Two of three jobs have begun; a task of A takes 2 s, and two tasks run at a time."""
    tally = Tally(jobs=3)
    tally.take({"event": "job", "label": "A", "tasks": 4, "stored": 1})
    tally.take({"event": "job", "label": "B", "tasks": 4, "stored": 0})
    assert tally.remaining(1.0) is None
    for reason in ("", "broken"):
        tally.take({"event": "task", "label": "A", "name": "a", "seconds": 2.0, "reason": reason})
    assert (tally.tasks, tally.done.total(), tally.is_exact) == (12, 3, False)
    assert tally.failures == ["a: broken"]
    assert tally.remaining(2.0) == pytest.approx((1 + 4 + 4) * 2 / 2)


def test_plain_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("melexp.runs.display.LINE", 0.0)
    with shown(tmp_path, jobs=2):
        tell("job", label="A", tasks=2, stored=0)
        tell("task", label="A", name="d/x A", seconds=1.0, reason="broken")
    said = capsys.readouterr().err
    assert "failed: d/x A: broken" in said
    assert "tasks 1/about 4, jobs 0/2, 1 failed" in said


def test_live_display_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pty = pytest.importorskip("pty")
    code = (
        "import sys, time; from pathlib import Path; from melexp.runs.display import shown\n"
        "from melexp.runs.events import tell\n"
        "with shown(Path(sys.argv[1]), jobs=1):\n"
        "    tell('job', label='A', tasks=2, stored=0)\n"
        "    tell('task', label='A', name='d/x A', seconds=1.0, reason='broken')\n"
        "    time.sleep(0.6)\n"
    )
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    done = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stderr=theirs, env=environment
    )
    assert done.wait(timeout=60) == 0
    text = os.read(ours, 100_000).decode()
    assert "tasks 1/2" in text
    assert "d/x A: broken" in text
    assert "\x1b[" in text


def test_summary_names_what_has_no_value() -> None:
    row = {"dataset": "d", "clip": "x", "category": "", "method": "m", "label": "M", "p": 1.5}
    row |= {"seed": 0, "dtype": "float32", "value": None, "reason": "silent", "seconds": 1}
    rows = [row | {"iteration": n, "metric": m} for n in (1, 2) for m in ("scm", "sc")]
    assert without_value(pd.DataFrame(rows)) == [
        "no value: d/x, M (p=1.5), seed 0: scm, sc after 1, 2 iterations: silent"
    ]
