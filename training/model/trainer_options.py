"""The trainer's options, and what they name, read and checked before any work."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from music.tracker import Vocabulary
from training import options
from training.data.dataset import Dataset
from training.data.provenance import History
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.checkpoints import (
    CHECKPOINT,
    AnotherRunError,
    facts_of_run,
    load_checkpoint,
    refuse_another_run,
)
from training.model.model import ModelConfig, MusicModel
from training.model.recipe import SCHEDULES, TrainConfig
from training.model.weights import load_weights
from training.model.windows import PREFIX
from training.options import DATASET, Parser

SIZES = ("context", "channels", "layers", "heads", "kv_heads", "hidden")


def parser_of() -> Parser:
    parser = Parser("training.model.trainer", "Train the model; resumes from its checkpoint.")
    add = parser.add_argument
    made = options.file("training.data.dataset")
    add("--dataset", type=made, default="build/dataset.npz", help="default: %(default)s")
    add(
        "--checkpoint",
        type=options.new_file(".pt"),
        default="build/model.pt",
        help="continued if it is there; default: %(default)s",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=options.whole(1), default=TrainConfig.steps)
    length.add_argument("--minutes", type=options.positive, help="as many steps as take so long")
    add("--start-from", type=Path, help="begin with this bundle's or .npz's weights")
    add(
        "--schedule",
        choices=SCHEDULES,
        help="of the learning rates; default: from-nothing, or with --start-from fine-tuning",
    )
    add("--peak", type=options.positive, help="of the learning rates; default: the schedule's")
    add("--tokens", type=options.whole(1), default=TrainConfig.tokens, help="of one step")
    add("--seed", type=options.whole(0), default=0)
    for name in SIZES:
        default = getattr(ModelConfig, name)
        add(f"--{name.replace('_', '-')}", type=options.whole(1), help=f"default {default}")
    add("--float32", action="store_true", help="no bfloat16, however fast")
    add("--no-compile", action="store_true", help="skip torch.compile")
    add("--threads", type=options.whole(1), help="of each process; default: all cores' share")
    return parser


def sizes_of(parser: Parser, a: argparse.Namespace, vocabulary: Vocabulary) -> ModelConfig:
    """The sizes that the options ask for; ends the command for those that no model has."""
    given = {name: value for name in SIZES if (value := getattr(a, name)) is not None}
    if given and a.start_from:
        parser.error(f"--{next(iter(given)).replace('_', '-')}: --start-from keeps its own sizes")
    config = ModelConfig(
        vocabulary=vocabulary.size,
        pitches=vocabulary.pitches,
        programs=vocabulary.programs,
        **given,
    )
    if config.context <= PREFIX:
        parser.error(f"--context must be above {PREFIX}: style and beginning take {PREFIX}")
    if config.channels % (8 * config.heads) or config.heads % config.kv_heads:
        parser.error(
            f"--channels {config.channels} must be a multiple of 8 times --heads {config.heads}, "
            f"and these one of --kv-heads {config.kv_heads}"
        )
    return config


@dataclass(frozen=True)
class Given:
    """What the options name. `history`: what `start_from` was trained on."""

    dataset: Dataset
    model_config: ModelConfig
    config: TrainConfig
    start_from: MusicModel | None
    history: History


def read(parser: Parser, a: argparse.Namespace) -> Given:
    """Ends the command for what cannot be used.

    With --minutes and a checkpoint, the run keeps the number of steps that it began with.
    """
    vocabulary = Vocabulary(vocabulary_entries(make_tokenizer()))
    model_config = sizes_of(parser, a, vocabulary)
    dataset = parser.read("--dataset", a.dataset, Dataset.load, DATASET)
    if not dataset.training.any():
        parser.error(f"--dataset: all pieces of {a.dataset} are held out: give it more MIDI files")
    start_from: MusicModel | None = None
    history: History = ()
    if a.start_from:
        what = "a bundle, or an .npz, with weights"
        start_from, history = parser.read("--start-from", a.start_from, load_weights, what)
        model_config = start_from.config
    schedule = dict(SCHEDULES[a.schedule or ("fine-tuning" if start_from else "from-nothing")])
    if a.peak:
        schedule["peak"] = a.peak
    own = {"steps": a.steps, "tokens": a.tokens, "seed": a.seed, "float32": a.float32}
    config = TrainConfig(**own, **schedule)
    if a.checkpoint.exists():
        saved = parser.read("--checkpoint", a.checkpoint, load_checkpoint, CHECKPOINT)[1]
        try:
            facts = facts_of_run(model_config, config, dataset.sha256())
            refuse_another_run(a.checkpoint, saved, facts)
        except AnotherRunError as error:
            parser.error(f"--checkpoint: {error}")
        if a.minutes:
            config = replace(config, steps=saved["steps"])
    return Given(dataset, model_config, config, start_from, history)
