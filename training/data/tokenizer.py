"""The project's tokenizer, and the styles that it has a token for.

The released bundle holds what `make_tokenizer` makes. A change here makes another vocabulary, so
that a model trained before it can neither be exported nor trained further. Depends on neither files
nor the model.
"""

from __future__ import annotations

from miditok import REMI, TokenizerConfig

from midi_save.clean import FAMILIES, HIGHEST_PITCH, LOWEST_PITCH, METRES

STYLES = (
    "baroque",
    "chorale",
    "classical",
    "folk",
    "hymn",
    "medieval",
    "oratorio",
    "other",
    "renaissance",
    "romantic",
)


def make_tokenizer() -> REMI:
    """The project's tokenizer: REMI, program changes, twelve positions a beat, no velocities."""
    return REMI(
        TokenizerConfig(
            pitch_range=(LOWEST_PITCH, HIGHEST_PITCH),
            beat_res={(0, 4): 12, (4, 16): 4},
            special_tokens=["PAD", "BOS", "EOS", *(f"Style_{style}" for style in STYLES)],
            use_velocities=False,
            use_time_signatures=True,
            time_signature_range={beat: list(numerators) for beat, numerators in METRES.items()},
            use_tempos=True,
            num_tempos=32,
            log_tempos=True,
            tempo_range=(40, 250),
            use_programs=True,
            use_pitchdrum_tokens=False,
            one_token_stream_for_programs=True,
            programs=list(FAMILIES),
            program_changes=True,
        )
    )


def vocabulary_entries(tokenizer: REMI) -> list[tuple[str, str]]:
    """``(type, value)`` per id."""
    entries = [("", "")] * len(tokenizer)
    for token, token_id in tokenizer.vocab.items():
        kind, _, value = token.partition("_")
        entries[token_id] = (kind, value)
    return entries
