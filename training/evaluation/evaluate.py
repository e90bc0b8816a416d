r"""Compares a bundle's music with real pieces: nats per note, features, memorization.

    python -m training.evaluation.evaluate --bundle layers/model --real FOLDER --plot out/plot.png

It answers five questions. How well does the deployed decoder predict real pieces (nats per note)?
Do the features of composed pieces have the same distributions as those of real ones (overlapped
areas)? What would a listener notice (`listener`)? Can a classifier tell composed pieces from real
ones (`two_sample`)? Does the model recite pieces that it was trained on (longest shared run)?

Any folder of MIDI will do as the real pieces; those that the model was not trained on tell most.
Compose at least 70 s, so that the first 60 s, which the two-sample test looks at, have no ending.
Shared runs are looked for in the training set with --dataset, else in the real pieces.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from contract.bundle import Bundle
from contract.errors import BundleError, EventError
from contract.request import SEED_LIMIT, parse_request
from midi_save.detokenize import load_tokenizer
from music.features import SCALARS, VECTORS
from music.tracker import Vocabulary
from training import options
from training.data.archive import Source, find_sources, mark_copies
from training.data.dataset import Dataset
from training.data.manifest import STYLE_NAMES, style_word
from training.data.names import escape_output, shown
from training.data.reserved import Reserved
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.evaluation.listener import Listening
from training.evaluation.overlap import (
    Hashes,
    longest_shared,
    overlapped_area,
    overlapped_areas,
    training_steps,
)
from training.evaluation.report import Areas, Nats, Pieces, Report, last_line
from training.evaluation.scoring import (
    Measured,
    compose_midi,
    known_style,
    measure,
    measure_file,
    nats_of_file,
)
from training.evaluation.two_sample import TwoSample, two_sample_test
from training.evaluation.workers import Workers
from training.options import DATASET, Parser

SAMPLES = 48
SECONDS = 60.0
HALVINGS = 4  # of the real pieces, to know what OA two sets of real pieces reach
FEWEST_TO_HALVE = 8
STYLE_CHOICES = ("real", "even")


class EvaluationError(ValueError):
    """The request cannot be evaluated; the message names the file or option and what to do."""


def styles_like(styles: Sequence[str], samples: int) -> list[str]:
    """``samples`` styles in the proportions of ``styles``."""
    counts = Counter(styles)
    names = sorted(counts)
    # Rounded cumulative counts: their differences add up to ``samples``, unlike rounded shares.
    ends = [round(end * samples / len(styles)) for end in accumulate(counts[n] for n in names)]
    shares = np.diff([0, *ends]).tolist()
    return [name for name, share in zip(names, shares, strict=True) for _ in range(share)]


def styles_evenly(styles: Sequence[str], samples: int) -> list[str]:
    """``samples`` styles from ``styles`` in turn: each as often as the others, or once more."""
    return [styles[i % len(styles)] for i in range(samples)]


def style_in_name(source: Source) -> Source:
    """A composed piece's source; its style is that in its name (``folk-17.mid``), if any."""
    word = style_word(source.path.name.partition("-")[0])
    return replace(source, style=STYLE_NAMES.get(word, source.style))


def _pieces(measured: Sequence[Measured], runs: list[int]) -> Pieces:
    features = [m.features for m in measured if m.features is not None]
    columns = {name: np.stack([f[name] for f in features]) for name in (*SCALARS, *VECTORS)}
    return Pieces(columns, runs)


def _areas(real: Pieces, other: Pieces) -> Areas:
    return Areas(
        overlapped_areas(real.features, other.features),
        {name: overlapped_area(real.values(name), other.values(name)) for name in SCALARS},
    )


def _halves(real: Pieces, seed: int) -> list[Areas]:
    """The areas of random halves of the real pieces, compared with each other."""
    found = []
    rng = np.random.default_rng(seed)
    for _ in range(HALVINGS if len(real) >= FEWEST_TO_HALVE else 0):
        order = rng.permutation(len(real))
        parts = (order[: len(real) // 2], order[len(real) // 2 :])
        found.append(_areas(*(Pieces({k: v[p] for k, v in real.features.items()}) for p in parts)))
    return found


def _runs(
    real: Sequence[Hashes], made: Sequence[Hashes], dataset: Path | None
) -> tuple[list[int], list[int], str]:
    """The longest shared runs of real and generated pieces, and what they are shared with."""
    pieces = [*real, *made]
    if dataset is not None:
        vocabulary = Vocabulary(vocabulary_entries(make_tokenizer()))
        runs = longest_shared(pieces, list(training_steps(dataset, vocabulary)))
        against = "the training set"
    else:
        runs = [*longest_shared(real), *longest_shared(made, real)]
        against = "the real pieces (another one, for these), as no --dataset was given"
    return runs[: len(real)], runs[len(real) :], against


def _measured_folder(
    folder: Path, seconds: float, workers: Workers, *, composed: bool = False
) -> tuple[list[Measured], list[Source], list[tuple[str, str]]]:
    """The measured files of a folder, their sources, and the unusable files with the reason."""
    if not folder.is_dir():
        raise EvaluationError(f"{shown(folder)} is no folder: name one that holds .mid files")
    sources = find_sources(folder, Reserved())
    if not sources:
        raise EvaluationError(f"no .mid file under {shown(folder)}: name a folder that holds some")
    if composed:
        sources = [style_in_name(source) for source in sources]
    else:  # not of composed pieces: a system that composes one twice should be seen to do so
        mark_copies(sources)
    measured = workers.map(
        partial(measure_file, root=folder, seconds=seconds), sources, "reading MIDI", "file"
    )
    usable = [i for i, m in enumerate(measured) if not m.why]
    skipped = [(m.name, m.why) for m in measured if m.why]
    if not usable:
        raise EvaluationError(f"no usable MIDI file under {shown(folder)}: {': '.join(skipped[0])}")
    return [measured[i] for i in usable], [sources[i] for i in usable], skipped


def _nats(bundle: Bundle, sources: Sequence[Source], workers: Workers) -> dict[str, Nats]:
    task = partial(nats_of_file, directory=bundle.directory, model_id=bundle.model_id)
    nats = {"all": Nats()}
    found = workers.map(task, sources, "nats per note", "piece")
    for source, one in zip(sources, found, strict=True):
        for name in ("all", f"style {source.style}", f"source {source.collection}"):
            nats.setdefault(name, Nats())
            nats[name] += one
    return dict(sorted(nats.items()))


def _sampled(
    bundle: Bundle,
    styles: Sequence[str],
    seed: int,
    sampling: dict[str, Any],
    workers: Workers,
    save: Path | None,
) -> tuple[list[Measured], list[tuple[str, str]]]:
    """Composes a piece for each of ``styles``; returns the measured ones, and why others failed."""
    events = [
        {"style": style, "seed": (seed + i) % SEED_LIMIT, **sampling}
        for i, style in enumerate(styles)
    ]
    requests = [parse_request({**e, "prompt": "fresh"}, bundle, "2000-01-01") for e in events]
    task = partial(compose_midi, directory=bundle.directory, model_id=bundle.model_id)
    measured, failed = [], []
    for request, midi in zip(
        requests, workers.map(task, requests, "composing", "piece"), strict=True
    ):
        name = f"{request.style}-{request.seed}.mid"
        if isinstance(midi, str):
            failed.append((name, midi))
            continue
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            (save / name).write_bytes(midi)
        style = request.style or ""
        one = measure(midi, sampling["duration_s"], Measured(name, style))
        if one.why:
            failed.append((name, one.why))
        else:
            measured.append(one)
    return measured, failed


def evaluate(
    bundle_dir: Path | None,
    real_folder: Path,
    samples: int = SAMPLES,
    seconds: float = SECONDS,
    seed: int = 0,
    *,
    generated: Path | None = None,
    dataset: Path | None = None,
    sampling: dict[str, Any] | None = None,
    save: Path | None = None,
    workers: int | None = None,
    styles: str = STYLE_CHOICES[0],
    sets: int = 1,
    predict: bool = True,
) -> Report:
    """Evaluates a bundle, or with ``generated`` a folder of MIDI that some other system made.

    Args:
        samples: pieces to compose, with seeds from ``seed`` on; 0 for nats per note alone.
        seconds: length of the pieces, and how much of each piece, real ones too, is measured.
        dataset: where to look for shared runs; by default in the real pieces.
        sampling: temperature, top_p, top_k, min_p, candidates that replace the bundle's.
        save: a folder for the composed pieces.
        workers: processes; by default one a core.
        styles: of the composed pieces: "real", in the proportions of the real ones, or "even",
            all of the bundle's in turn.
        sets: how many sets of generated pieces the two-sample test compares with the real ones.
        predict: whether the bundle also predicts the real pieces (nats per note).

    Raises:
        EvaluationError: nothing to evaluate. BundleError: a bundle that cannot be used.
        EventError: sampling options out of range. ValueError: a dataset of another version.
    """
    if bundle_dir is None and generated is None:
        raise EvaluationError("nothing to evaluate: give --bundle or --generated")
    bundle = None if bundle_dir is None else Bundle.load(bundle_dir)
    if bundle is not None:
        load_tokenizer(bundle)  # refuses a vocabulary that is not the tokenizer's, before any work
    chosen = {**(sampling or {}), "duration_s": seconds}
    with Workers(workers or os.cpu_count() or 1) as pool:
        real, sources, skipped = _measured_folder(real_folder, seconds, pool)
        nats = _nats(bundle, sources, pool) if bundle is not None and predict else {}
        made: list[Measured] = []
        failed: list[tuple[str, str]] = []
        if generated is not None:
            made, _, failed = _measured_folder(generated, seconds, pool, composed=True)
        elif bundle is not None and samples > 0:
            if styles == "even":
                names = styles_evenly(list(bundle.styles), samples)
            else:
                names = styles_like([known_style(s.style, bundle) for s in sources], samples)
            made, failed = _sampled(bundle, names, seed, chosen, pool, save)
    steps = [[m.steps for m in group if m.steps is not None] for group in (real, made)]
    real_runs, made_runs, against = _runs(steps[0], steps[1], dataset)
    real_pieces = _pieces(real, real_runs)
    made_pieces = _pieces(made, made_runs) if made else None
    heard = [[m.heard for m in group if m.heard is not None] for group in (real, made)]
    samples_of = [[m.sample for m in group if m.sample is not None] for group in (real, made)]
    return Report(
        settings={
            "model_id": bundle.model_id if bundle is not None else None,
            "samples": len(made),
            "seed": seed,
            "seconds": seconds,
            "styles": styles,
            "sampling": None if bundle is None else {**bundle.sampling, **chosen},
        },
        nats=nats,
        real=real_pieces,
        generated=made_pieces,
        areas=_areas(real_pieces, made_pieces) if made_pieces is not None else None,
        halves=_halves(real_pieces, seed),
        runs_against=against,
        listener=Listening(heard[0], heard[1], seconds),
        two_sample=two_sample_test(
            samples_of[0], samples_of[1], sets, workers or os.cpu_count() or 1
        )
        if made
        else TwoSample(),
        skipped=[*skipped, *failed],
    )


def main() -> None:
    parser = Parser("training.evaluation.evaluate", "Evaluate a bundle's music on real pieces.")
    add = parser.add_argument
    add("--bundle", type=options.folder, help="folder of a bundle, such as layers/model")
    add("--real", type=options.folder, required=True, help="folder of real MIDI files")
    add("--samples", type=options.whole(0), default=SAMPLES, help="0: nats per note alone")
    add("--seconds", type=options.positive, default=SECONDS, help="of each piece")
    add("--seed", type=options.whole(0), default=0, help="of the first sample")
    add("--styles", choices=STYLE_CHOICES, default="real", help="like the real ones, or evenly")
    add("--sets", type=options.whole(1), default=1, help="of samples, told from real each")
    add("--generated", type=options.folder, help="folder of MIDI to judge, not composed now")
    add("--save", type=options.new_folder, help="folder to keep the composed pieces in")
    for name in ("temperature", "top-p", "min-p"):
        add(f"--{name}", type=float, help="instead of the bundle's")
    for name in ("top-k", "candidates"):
        add(f"--{name}", type=int, help="instead of the bundle's")
    made, picture = options.file("training.data.dataset"), options.new_file(".png")
    add("--dataset", type=made, help="data set in whose training pieces shared runs are sought")
    add("--plot", type=picture, help="PNG of the features; one of the lag curve beside")
    add("--json", action="store_true", help="one JSON object as the last line")
    add("--workers", type=options.whole(1), help="processes; by default one a core")
    a = parser.parse_args()
    escape_output()
    fields = ("temperature", "top_p", "min_p", "top_k", "candidates")
    chosen = {name: value for name in fields if (value := getattr(a, name)) is not None}
    if a.bundle:
        bundle = parser.read("--bundle", a.bundle, Bundle.load, "a bundle")
        if a.samples and not a.generated:
            _check_sampling(parser, {**chosen, "duration_s": a.seconds}, bundle)
    elif not a.generated:
        parser.error("--bundle is missing: name one, or a folder of MIDI with --generated")
    if a.dataset:
        parser.read("--dataset", a.dataset, Dataset.load, DATASET)
    try:
        report = evaluate(
            a.bundle,
            a.real,
            a.samples,
            a.seconds,
            a.seed,
            generated=a.generated,
            dataset=a.dataset,
            sampling=chosen,
            save=a.save,
            workers=a.workers,
            styles=a.styles,
            sets=a.sets,
        )
    except (ValueError, BundleError, OSError) as error:
        raise SystemExit(f"not evaluated: {error}") from error
    print(report.table())
    if a.plot is not None:
        report.plot(a.plot)
        curve = a.plot.with_stem(f"{a.plot.stem}_lag_curve")
        report.listener.plot(curve)
        print(f"\n{a.plot}\n{curve}")
    if a.json:
        print(last_line(report))


def _check_sampling(parser: Parser, chosen: dict[str, Any], bundle: Bundle) -> None:
    """Ends the command for a value that no event may have."""
    try:
        parse_request({**chosen, "prompt": "fresh"}, bundle, "2000-01-01")
    except EventError as error:
        field, _, rest = str(error).partition(" ")
        option = "--seconds" if field == "duration_s" else f"--{field.replace('_', '-')}"
        parser.error(f"{option} {rest}")


if __name__ == "__main__":
    main()
