"""A small decoder-only transformer over music tokens, in one file.

Besides each token, the model sees the musical state that the sampler tracks anyway: the position in
the bar, the program, the pitches that sound now, and how far away the piece's beginning and end
are. Half of each head's rotary pairs turn with the token's index and half with musical time, so
that attention can look for what was played a bar ago. The other design choices:

- RMSNorm before attention and before the MLP, which is a SwiGLU;
- queries, keys and values normalized per head: they are bounded, so the int8 cache has no outliers;
- token embeddings that share rows by meaning (pitch class, octave, duration, beat);
- an output head that is tied to the token embeddings.

Shapes: B batch, T tokens, C channels, H heads, D head size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from music.inputs import MULTI_HOT, TICK
from music.tracker import BAR_CLASSES, FORMS, MAX_POSITIONS

EPSILON = 1e-6


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the model. ``pitches`` and ``programs`` come from the vocabulary."""

    vocabulary: int
    pitches: int
    programs: int
    positions: int = MAX_POSITIONS
    channels: int = 192
    layers: int = 4
    heads: int = 3
    kv_heads: int = 3
    hidden: int = 512
    context: int = 512

    @property
    def head_size(self) -> int:
        return self.channels // self.heads

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def rotary_frequencies(head_size: int) -> tuple[list[float], list[float]]:
    """Radians per token index and radians per tick, head_size // 4 of each.

    The first are RoPE's (arXiv:2104.09864); the second have periods from half a beat to about
    90 beats of 12 ticks.
    """
    n = head_size // 4
    # The periods in ticks are in geometric progression, from 6 to 6 * 2**7.5 = 1086.
    by_index = [10_000 ** (-k / n) for k in range(n)]
    by_tick = [2 * math.pi / (6 * 2 ** (7.5 * k / (n - 1))) for k in range(n)]
    return by_index, by_tick


def meaning_matrix(entries: Sequence[tuple[str, str]]) -> Tensor:
    """[vocabulary, meanings] of zeros and ones: which shared rows each token's embedding adds up.

    Example: Pitch 60 has the meanings (type, Pitch), (pitch class, 0) and (octave, 5).
    """
    columns: dict[tuple[str, int | str], int] = {}
    cells = []
    for token, (kind, value) in enumerate(entries):
        meanings: list[tuple[str, int | str]] = [("type", kind)]
        if kind == "Pitch":
            meanings += [("pitch class", int(value) % 12), ("octave", int(value) // 12)]
        elif kind == "Duration":
            beats, parts, resolution = map(int, value.split("."))
            ticks = (beats * resolution + parts) * 12 // resolution
            # 2 log2: durations within half an octave of each other share a row
            meanings += [("log duration", round(2 * math.log2(ticks))), ("duration", ticks % 12)]
        elif kind == "Position":
            meanings += [("subdivision", int(value) % 12), ("beat", int(value) // 12)]
        cells += [(token, columns.setdefault(meaning, len(columns))) for meaning in meanings]
    matrix = torch.zeros(len(entries), len(columns))
    for token, column in cells:
        matrix[token, column] = 1
    return matrix


def rms_norm(x: Tensor, weight: Tensor | None) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight, EPSILON)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, T, H, D] with cos, sin [B, T, 1, D/2]: pairs are (i, i + D/2)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Block(nn.Module):
    """Attention, then a SwiGLU MLP, each with a norm before it and a residual connection."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        c, d = config.channels, config.head_size
        self.qkv = nn.Linear(c, (config.heads + 2 * config.kv_heads) * d, bias=False)
        self.out = nn.Linear(c, c, bias=False)
        self.gate_up = nn.Linear(c, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, c, bias=False)
        self.norm_1 = nn.Parameter(torch.ones(c))
        self.norm_2 = nn.Parameter(torch.ones(c))

    def queries_keys_values(
        self, x: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, H, D] each (keys and values: kv_heads), normalized per head.

        Queries and keys are rotated.
        """
        config = self.config
        # one packed matrix: first the heads of the queries, then those of keys and values
        qkv = self.qkv(rms_norm(x, self.norm_1)).unflatten(-1, (-1, config.head_size))
        q, k, v = rms_norm(qkv, None).split((config.heads, config.kv_heads, config.kv_heads), 2)
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        config = self.config
        q, k, v = self.queries_keys_values(x, cos, sin)
        attended = functional.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            is_causal=True,
            enable_gqa=config.heads != config.kv_heads,
        )  # [B, H, T, D]
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        gate, up = self.gate_up(rms_norm(x, self.norm_2)).chunk(2, -1)
        added: Tensor = self.down(functional.silu(gate) * up)
        return x + added


class MusicModel(nn.Module):
    """Next-token logits from ids and musical state.

    Args:
        config: sizes.
        entries: ``(type, value)`` per id, for the shared rows of the embedding.
    """

    meanings: Tensor
    by_index: Tensor
    by_tick: Tensor

    def __init__(self, config: ModelConfig, entries: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.register_buffer("meanings", meaning_matrix(entries), persistent=False)
        self.token = nn.Embedding(config.vocabulary, c)
        self.meaning = nn.Parameter(torch.randn(self.meanings.shape[1], c) * 0.02)
        self.position = nn.Embedding(config.positions, c)
        self.program = nn.Embedding(config.programs + 1, c)
        self.sounding = nn.Parameter(torch.randn(config.pitches, c) * 0.02)
        self.begun = nn.Embedding(BAR_CLASSES, c)
        self.left = nn.Embedding(BAR_CLASSES, c)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.ones(c))
        by_index, by_tick = rotary_frequencies(config.head_size)
        self.register_buffer("by_index", torch.tensor(by_index), persistent=False)
        self.register_buffer("by_tick", torch.tensor(by_tick), persistent=False)
        for embedding in (self.token, self.position, self.program, self.begun, self.left):
            nn.init.normal_(embedding.weight, std=0.02)
        for name, parameter in self.blocks.named_parameters():
            # Std is 1 / sqrt(fan-in). The matrices that add to the residual stream start smaller,
            # since the outputs of 2 * layers of them are added up (as in GPT-2).
            if parameter.ndim == 2:
                std = parameter.shape[1] ** -0.5
                if name.endswith(("out.weight", "down.weight")):
                    std *= 0.5 / (2 * config.layers) ** 0.5
                nn.init.normal_(parameter, std=std)

    def forms(self) -> Tensor:
        """[FORMS, C]: a row for each number that `form_of` returns."""
        form = torch.arange(FORMS, device=self.norm.device)
        rows: Tensor = self.begun(form // BAR_CLASSES) + self.left(form % BAR_CLASSES)
        return rows

    def angles(self, tick: Tensor) -> Tensor:
        """tick [B, T], relative to the window's first -> [B, T, 1, D/2] radians.

        The first D/4 pairs turn with the token's index, the others with the tick.
        """
        index = torch.arange(tick.shape[1], device=tick.device, dtype=torch.float32)
        by_index = (index[:, None] * self.by_index).expand(tick.shape[0], -1, -1)
        return torch.cat((by_index, tick[..., None] * self.by_tick), -1)[:, :, None]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, T, vocabulary] from `Inputs` by name, each [B, T, ...]."""
        angles = self.angles(inputs[TICK])
        cos, sin = angles.cos(), angles.sin()
        tables = self.tables()
        x = self.embedded(tables, inputs)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits: Tensor = rms_norm(x, self.norm) @ tables["ids"].T
        return logits

    def tables(self) -> dict[str, Tensor]:
        """The embedding table [values, C] of each input that is looked up, by the input's name."""
        return {
            "ids": self.token.weight + self.meanings @ self.meaning,  # also the output head
            "position_in_bar": self.position.weight,
            "current_program": self.program.weight,
            "place_in_form": self.forms(),
        }

    def embedded(self, tables: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        """The first block's input [B, T, C]: the embeddings of token and state, added up."""
        x = inputs[MULTI_HOT] @ self.sounding
        for name, table in tables.items():
            x = x + functional.embedding(inputs[name], table)
        return x
