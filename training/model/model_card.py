"""Writes the model card from the facts of the training run and of its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NO_NOTE = (
    "Not stated: name the pieces, where they come from and their rights, and export again with\n"
    "`--data-note FILE`.\n"
)
COMPARED = {
    "oa": "overlapped area of musical features (OA)",
    "duplicates": "duplicate notes",
    "consonance": "consonance",
    "scale_consistency": "scale consistency",
    "groove": "groove consistency",
    "bar_repetition": "repeated bars",
    "longest_shared_run": "longest run of notes shared with the training set",
}


def model_card(
    training: Mapping[str, Any],
    data_note: str = "",
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """The text of MODEL_CARD.md.

    Args:
        data_note: which pieces, from where, with which rights.
        evaluation: the JSON that `python -m training.evaluation.evaluate --json` printed for this
            model.
    """
    parity = training.get("parity_int8") or training["parity_float32"]
    nats = training["validation_nats_per_note"]
    return f"""# Model card

A decoder-only transformer of {training["parameters"]:,} parameters that continues scores as MIDI
tokens (miditok REMI, program changes, twelve positions a beat, no velocities).

## Use
Composing short pieces in the styles that it was trained on. It is not meant to imitate a living
composer, and what it writes is not a transcription of anything.

## Data and rights
{training["pieces"]} pieces for training, {training["validation_pieces"]} for validation and {training["test_pieces"]} for the test, {training["dataset_tokens"]:,} tokens in all.

Pieces by style: {", ".join(f"{style} {pieces}" for style, pieces in training["styles"].items())}.

{data_note.strip() or NO_NOTE}

bundle.json also holds what the training pieces are like: of each its plan of form (which bars return
to which, without a note), how many there are of each style, metre and tempo, and weights of copies
that were fitted on some of them.
{_before(training.get("trained_before", ()))}
## Figures
| what | value |
|---|---|
| nats per note, first minute of each validation piece (PyTorch, float32) | {"none held out" if nats is None else nats} |
| tokens seen in training | {training["tokens_seen"]:,} |
| training time, wall | {training["wall_minutes"]} min |
| released graph against PyTorch, the opening of the longest validation piece: mean KL, nats | {parity["kl"]:.1e} |
| float32 graph against PyTorch: greatest logit difference | {training["parity_float32"]["max_logit_difference"]:.1e} |

Printed by `python -m training.model.export`. Validation and test pieces share no
near-duplicate with the training pieces.
{_compared(evaluation) if evaluation else ""}
## Limits
Its window is {training["context"]} tokens: what is further away comes back by the plan of form and the
sampler's memory, not by the model. No dynamics of its own: `midi_save` adds metrical accents.
Western notated music only, pitches 24 to 103, twelve instrument families.

## Reproduce
`python -m training.data.dataset --data FOLDER`, `training.model.trainer`, `training.model.export`,
`training.evaluation.evaluate`
(commit {training["commit"]}, {training["date"]}).
"""


def _before(trainings: Sequence[Mapping[str, Any]]) -> str:
    """What the weights had learned before this training."""
    if not trainings:
        return ""
    parts = [
        f"{number}. {training['tokens']:,} tokens of {training['pieces']:,} pieces (data set "
        f"{training['dataset_sha256'][:12]}, {training['dataset_tokens']:,} tokens):\n\n"
        + _quoted(training["note"].strip() or NO_NOTE.strip())
        for number, training in enumerate(trainings, start=1)
    ]
    return "\n".join(["\n### What its weights had learned before", *parts]) + "\n"


def _quoted(text: str) -> str:
    return "\n".join(f"   > {line}".rstrip() for line in text.splitlines())


def _compared(evaluation: Mapping[str, Any]) -> str:
    pieces = evaluation["pieces"]
    rows = "\n".join(
        f"| {label} | {_shown(evaluation[key])} | {_shown(evaluation['real'][key])} |"
        for key, label in COMPARED.items()
    )
    return f"""
{pieces["generated"]} samples of {evaluation["seconds"]:g} s against {pieces["real"]} held-out pieces (for these, OA is that of one half
against the other), by `training.evaluation.evaluate`, which also gives {_shown(evaluation["nats_per_note"])} nats per note through the
released graph:

| mean over the pieces | model | real |
|---|---|---|
{rows}
"""


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
