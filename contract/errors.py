"""One exception class per cause that a caller can act on.

Step Functions sees the class name as the name of the error, and fails the execution
under it. Only `StorageError` and `ConflictError` are retried. Depends on none of the code that
raises them.
"""


class EventError(ValueError):
    """The request is not acceptable; the message names the field and the form that it must have."""


class BundleError(RuntimeError):
    """The model bundle is missing, truncated, corrupted or of another format.

    The message names the file.
    """


class ModelMismatchError(RuntimeError):
    """The tokens were made with another bundle than the one that is to read them."""


class PromptError(ValueError):
    """The prompt is not MIDI, is empty, is too large or holds no usable notes."""


class TokensError(ValueError):
    """A token file or a message of the state machine is not in the form we write it in."""


class BudgetError(RuntimeError):
    """The time left does not suffice for a single step."""


class PieceError(RuntimeError):
    """The finished MIDI failed its checks; the message names the check."""


class SoundError(RuntimeError):
    """The sound bank is missing, damaged or no SoundFont, or makes no sound of a piece.

    The message names the file and the way out.
    """


class SiteError(RuntimeError):
    """A template of the site has a mistake; the message names its file and line."""


class StorageError(RuntimeError):
    """S3 refused a read or a write after its retries: transient, so the state machine retries."""


class ConflictError(RuntimeError):
    """Another execution changed the same object meanwhile: the state machine tries again."""


class AccessError(RuntimeError):
    """S3 refuses these credentials. No retry helps; the role's policy has to be changed."""
