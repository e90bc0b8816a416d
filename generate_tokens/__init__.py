"""The first Lambda: composes token ids. errors, request and bundle are shared with `midi_save`."""
