"""Stands in for the Hugging Face Hub's client in the midi-save layer, which has no use for the Hub.

miditok's tokenizer class inherits from the client's ModelHubMixin so that tokenizers can be shared.
Reading a tokenizer from a file, encoding and decoding do not use it, but importing the real client
and the eight packages behind it took a third of midi_save's init phase. deploy/layers.py puts
this file into the layer; everywhere else miditok has the real client. Anything that would contact
the Hub raises NoHubError, which says why.
"""

from __future__ import annotations

from typing import Any, NoReturn


class NoHubError(NotImplementedError):
    """Something asked for the Hub in a layer that has no client for it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"huggingface_hub.{name}: this layer has only a stand-in for the Hub's client, "
            "midi_save/stand_ins/huggingface_hub.py. Read the tokenizer from the bundle's file, or "
            "delete the stand-in and list huggingface_hub and what it needs in "
            "midi_save/requirements.txt"
        )


def hf_hub_download(*_: Any, **__: Any) -> NoReturn:
    raise NoHubError("hf_hub_download")


class ModelHubMixin:
    """The base class of miditok's tokenizers."""

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> NoReturn:
        raise NoHubError("ModelHubMixin.from_pretrained")

    def push_to_hub(self, *_: Any, **__: Any) -> NoReturn:
        raise NoHubError("ModelHubMixin.push_to_hub")
