"""The first Lambda: composes token ids. border, bundle, errors, request, storage serve both."""
