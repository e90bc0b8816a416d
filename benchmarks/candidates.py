"""What composing costs on one core, alone and with candidates, and how much music a second makes.

All of composing is measured (decoder, grammar, sampling, choice), in this process, without S3 and
Lambda. The pieces have every style of the bundle in turn. The numbers of candidates take turns too,
so that a busy machine slows all of them alike.

    python -m benchmarks.candidates [--bundle layers/model] [--pieces 24] [--seconds 90]
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tqdm import tqdm

from contract.bundle import Bundle
from contract.request import parse_request
from generate_tokens.compose import Composer
from training import options
from training.options import Parser

BUNDLE = Path(__file__).resolve().parent.parent / "layers" / "model"
CANDIDATES = (1, 2, 4, 8)
VCPU_GB = 1769 / 1024  # memory at which Lambda gives one vCPU


def main() -> None:
    parser = Parser("benchmarks.candidates", (__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=options.folder, default=BUNDLE)
    parser.add_argument("--pieces", type=options.whole(1), default=24)
    parser.add_argument(
        "--seconds", type=options.positive, default=90.0, help="length of each piece"
    )
    a = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    bundle = parser.read("--bundle", a.bundle, Bundle.load, "a bundle")
    composer = Composer(bundle)
    styles = list(bundle.styles)
    spent_s, music_s, sampled = (dict.fromkeys(CANDIDATES, 0.0) for _ in range(3))
    for piece in tqdm(range(a.pieces), desc="pieces", unit="piece", disable=None):
        event = {"style": styles[piece % len(styles)], "seed": piece, "duration_s": a.seconds}
        for n in CANDIDATES:
            request = parse_request({**event, "candidates": n}, bundle, "2000-01-01")
            began = time.process_time()
            made = composer.compose(request, [], [], 1e9)
            spent_s[n] += time.process_time() - began
            music_s[n] += made.music_s
            sampled[n] += made.sampled
    facts = {
        str(n): {
            "cost_vs_one": round(spent_s[n] / spent_s[1], 2),
            "tokens_per_s": round(sampled[n] / spent_s[n]),
            "music_s_per_vcpu_s": round(music_s[n] / spent_s[n], 1),
            "gb_s_per_three_minutes": round(180 * spent_s[n] / music_s[n] * VCPU_GB, 2),
        }
        for n in CANDIDATES
    }
    print("candidates", *facts["1"], sep="  ")
    for number, row in facts.items():
        print(f"{number:>10}", *(f"{value:>{len(name)}}" for name, value in row.items()), sep="  ")
    print(json.dumps({"model_id": bundle.model_id, "pieces": a.pieces, "candidates": facts}))


if __name__ == "__main__":
    main()
