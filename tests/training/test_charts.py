"""The notebook's curve while a run goes on, and its player."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from training.data.charts import LiveLoss, remaining
from training.evaluation import listening


def row(step: int, seconds: float) -> dict[str, float]:
    return {"step": step, "loss": 3.0, "seconds": seconds}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(50, 10.0)], "3 min"),
        ([row(50, 100.0), row(100, 110.0)], "3 min"),
        ([row(50, 0.0), row(100, 2000.0)], "10.0 h"),
        ([row(1000, 10.0)], "0 s"),
    ],
)
def test_what_remains_is_told_at_the_latest_speed(rows: list[dict[str, float]], said: str) -> None:
    assert remaining(rows, 1000) == said


def test_the_curve_is_drawn_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    shown: list[Figure] = []
    live = LiveLoss(200, tmp_path / "none.jsonl", shown.append, every_s=1000.0)
    for step in (50, 100, 150, 200):
        live(row(step, step / 10))
    assert len(shown) == 2, "the first and the last"
    assert "step 200 of 200, loss 3.000, 0 s to go" in shown[-1].axes[0].get_title(loc="left")


def test_a_resumed_run_shows_its_beginning_once(tmp_path: Path) -> None:
    log = tmp_path / "model.jsonl"
    log.write_text("".join(json.dumps(row(step, step)) + "\n" for step in (50, 100, 150)))
    live = LiveLoss(500, log, lambda _: None)
    live(row(100, 100.0))  # it had been saved at step 80
    assert [r["step"] for r in live.rows] == [50, 100]


def test_a_piece_is_rendered_by_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for FluidSynth, which writes its arguments to the file it should make."""
    program = tmp_path / "bin" / "fluidsynth"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nwhile [ "$1" != -F ]; do shift; done\necho "$@" > "$2"\n')
    program.chmod(0o755)
    bank, midi = tmp_path / "bank.sf2", tmp_path / "a.mid"
    bank.write_bytes(b"")
    monkeypatch.setenv("SOUNDFONT", str(bank))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert listening.render(midi) is None, "no synthesizer"
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    wav = listening.render(midi)
    assert wav == tmp_path / "a.wav" and str(bank) in wav.read_text()
    monkeypatch.setenv("SOUNDFONT", str(tmp_path / "absent.sf2"))
    assert listening.render(midi) is None, "no sounds"
