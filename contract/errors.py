"""One exception class per cause that a caller can act on.

Step Functions sees the class name as the name of the error, so the names here are the ones
that statemachine.asl.json retries and catches. Knows nothing of how they are raised.
"""


class EventError(ValueError):
    """The request is not acceptable; the message names the field and the accepted form."""


class BundleError(RuntimeError):
    """The model bundle is missing, truncated, corrupted or of another format; names the file."""


class ModelMismatchError(RuntimeError):
    """Tokens were made with another bundle than the one that should read them."""


class PromptError(ValueError):
    """The prompt is not MIDI, is empty, is too large or holds no usable notes."""


class TokensError(ValueError):
    """A token file or a message of the state machine is not in the form we write it in."""


class BudgetError(RuntimeError):
    """The time left does not suffice for a single step."""


class PieceError(RuntimeError):
    """The finished MIDI failed its checks; the message names the check."""


class StorageError(RuntimeError):
    """S3 refused a read or a write after its retries: transient, so the state machine retries."""


class AccessError(RuntimeError):
    """S3 refuses these credentials: no retry helps, a change of the role's policy does."""
