"""What a listener notices: means with their intervals, lag curves, the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from music.features import Music
from music.repetition import LAGS
from training.evaluation.listener import LABELS, Heard, Listening, bootstrap, heard, mean_curve


def piece(seed: int, seconds: float = 60, level: float = 0.1) -> Heard:
    rng = np.random.default_rng(seed)
    values = {name: float(rng.uniform()) for name in LABELS if name != "too_long"}
    return Heard(values, np.full(LAGS, level) + rng.normal(0, 0.01, LAGS), seconds)


def music_of(pitches: list[int], qpm: float = 60) -> Music:
    """Quarter notes in 4/4, the last of them twice as long."""
    onset = 12 * np.arange(len(pitches))
    duration = np.full(len(pitches), 12)
    duration[-1] = 24
    program = np.zeros(len(pitches), np.int64)
    end = int(onset[-1]) + 24
    return Music(onset, duration, np.array(pitches), program, end, qpm, ((0, 4, 4),), 0.0)


def test_the_ending_is_that_of_the_whole_piece() -> None:
    whole = music_of([60, 64, 67, 65, 62, 59, 67, 64, 60])
    excerpt = music_of([60, 64, 67, 65, 62, 60, 67])
    found = heard(excerpt, whole, 9.0, 1.5)
    assert found.values.keys() == LABELS.keys() - {"too_long"}
    assert found.values["on_tonic"] == 1 and found.values["on_downbeat"] == 1
    assert found.values["last_chord_s"] == 1.5, "at the tempo of the end"
    assert heard(excerpt, excerpt, 9.0, 1.5).values["on_tonic"] == 0


def test_a_top_note_is_stuck_from_twelve_times_on() -> None:
    for times, stuck in ((11, 0), (12, 1)):
        music = music_of([60, 62, *[67] * times, 64])
        assert heard(music, music, 9.0, 1.5).values["same_top"] == stuck


def test_the_interval_of_a_mean_holds_it_and_narrows_with_more_pieces() -> None:
    rng = np.random.default_rng(0)
    few, many = bootstrap(rng.normal(size=30)), bootstrap(rng.normal(size=3000))
    assert few is not None and many is not None
    assert few.low < few.mean < few.high and few.pieces == 30
    # 1.96 standard errors on either side
    assert many.high - many.low == pytest.approx(2 * 1.96 / np.sqrt(3000), rel=0.15)
    known = bootstrap(np.array([1.0, np.nan, 1.0]))
    assert known is not None and (known.mean, known.low, known.pieces) == (1, 1, 2)
    assert bootstrap(np.array([np.nan])) is None and bootstrap(np.zeros(0)) is None


def test_mean_curves_leave_out_lags_beyond_a_piece() -> None:
    short = Heard({}, np.where(np.arange(LAGS) < 3, 0.5, np.nan), 9)
    long = Heard({}, np.where(np.arange(LAGS) < 8, 0.1, np.nan), 30)
    curve = mean_curve([short, long])
    assert curve[:8].tolist() == pytest.approx([0.3] * 3 + [0.1] * 5)
    assert np.isnan(curve[8:]).all()


def test_the_report_compares_both_sets() -> None:
    real = [piece(i) for i in range(20)]
    made = [piece(100 + i, seconds=60 + i, level=0.3) for i in range(20)]
    listening = Listening(real, made, asked_s=60)
    facts = listening.to_json()
    # 60 to 79 s, and 69 s is the most that passes
    assert facts["means"]["too_long"]["generated"]["mean"] == 0.5
    assert facts["means"]["too_long"]["real"] is None
    assert facts["means"]["frozen"]["real"]["pieces"] == 20
    assert facts["lag_curve"]["error"] == pytest.approx(0.2, abs=0.02)
    assert facts["lag_curve"]["error_of_real_halves"] < 0.02
    lines = listening.lines()
    assert max(map(len, lines)) <= 100
    assert [line[:45].strip() for line in lines[1 : 1 + len(LABELS)]] == list(LABELS.values())


def test_a_set_alone_is_reported_alone(tmp_path: Path) -> None:
    listening = Listening([piece(0)], [], asked_s=60)
    facts = listening.to_json()
    assert facts["lag_curve"]["error"] is None and facts["means"]["frozen"]["generated"] is None
    assert "generated" not in facts["lag_curve"]
    listening.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5_000
