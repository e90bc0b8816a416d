"""Writes the model card from the facts of the training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(training: Mapping[str, Any]) -> str:
    """The text of MODEL_CARD.md."""
    parity = training.get("parity_int8") or training["parity_float32"]
    return f"""# Model card

A decoder-only transformer of {training["parameters"]:,} parameters that continues scores as MIDI
tokens (miditok REMI, program changes, twelve positions a beat, no velocities).

## Use
Composing short pieces in the styles that it was trained on. It is not meant to imitate a living
composer, and what it writes is not a transcription of anything.

## Data and rights
{training["pieces"]} pieces ({training["dataset_tokens"]:,} tokens with validation), as scores in MIDI:
the Bach chorales of music21's corpus; medieval, Renaissance, classical and oratorio sequences of
the repository reubenson/midi-archive; and scores of the Mutopia Project converted from LilyPond.
The compositions are in the public domain. Mutopia's files are Public Domain, CC BY or CC BY-SA
by their typesetters; the archive's sequences carry no licence. Only weights are shipped, no MIDI.

## Figures
| what | value |
|---|---|
| nats per note, first minute of {training["validation_pieces"]} held-out pieces | {training["validation_nats_per_note"]} |
| tokens seen | {training["tokens_seen"]:,} |
| training time (wall, two CPU cores shared with other work) | {training["wall_minutes"]} min |
| released graph against PyTorch, one held-out window: mean KL, nats | {parity["kl"]:.1e} |
| float32 graph against PyTorch: greatest logit difference | {training["parity_float32"]["max_logit_difference"]:.1e} |

Printed by `python training-notebook/export.py`. Held-out pieces share no near-duplicate with the
training set.

## Limits
A first model after a short run. Long-range form is weak: it keeps metre, key and texture for a
few bars and rarely comes back to an idea. No dynamics of its own: `midi_save` adds metrical
accents. Western notated music only, pitches 24 to 103, twelve instrument families.

## Reproduce
`python training-notebook/dataset.py --data FOLDER`, then `trainer.py`, then `export.py`
(commit {training["commit"]}, {training["date"]}).
"""
