"""How everything that is made here says that a machine has made it."""

from __future__ import annotations

MADE_BY_A_MACHINE = "Composed by a machine: a model trained on an archive of MIDI files."
# What IPTC and schema.org call the work of a trained model.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
