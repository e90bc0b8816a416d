"""The second Lambda: turns token ids into MIDI in S3, and a prompt MIDI into token ids."""
