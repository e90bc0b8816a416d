"""Turns what AWS and the system say into what a person can do."""

from __future__ import annotations

import errno
import re

from botocore import exceptions
from botocore.exceptions import ClientError

from deploy.aws import said_by

AGAIN = "then run this again; it continues from here"
SIGN_IN = f"sign in again ('aws sso login' or 'aws configure'), {AGAIN}"
# What AWS said, and the way out; the first that matches.
NOT_VALID = (
    r"^(Expired|InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId|InvalidToken"
    r"|RequestExpired|SignatureDoesNotMatch|InvalidSignature|RequestTimeTooSkewed)"
)
FORBIDDEN = r"^(AccessDenied|Unauthorized|AuthorizationError|403|Forbidden)|not authorized"
QUOTA = r"LimitExceeded|QuotaExceeded|StorageExceeded|TooMany|^Throttl|Rate exceeded"
ANSWERS = {
    NOT_VALID: f"the credentials are not valid, or no longer, or the clock is wrong: {SIGN_IN}",
    FORBIDDEN: (
        "these credentials may not {action}: deploy/deployer-policy.json lists what they need, and "
        f"with it --permissions-boundary must be given (docs/deploy.md); {AGAIN}"
    ),
    r"^BucketAlreadyExists": ("another account has a bucket of that name: choose another --name"),
    QUOTA: (
        "a quota of the account is used up: see Service Quotas in the console, free what is not "
        f"needed or have it raised, {AGAIN}"
    ),
}
EXCEPTIONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (exceptions.ProfileNotFound,),
        "there is no such profile in ~/.aws/config: see --profile",
    ),
    (
        (exceptions.NoCredentialsError, exceptions.PartialCredentialsError),
        "there are no AWS credentials: run 'aws configure', or see --profile",
    ),
    (
        (
            exceptions.SSOError,
            exceptions.TokenRetrievalError,
            exceptions.CredentialRetrievalError,
        ),
        f"the credentials are no longer valid: {SIGN_IN}",
    ),
    (
        (exceptions.HTTPClientError, exceptions.ConnectionError),
        f"AWS cannot be reached: check the network and --region, {AGAIN}",
    ),
)


class DeployError(Exception):
    """Ends a deployment. The message says what is wrong and what to do."""


def way_out(error: Exception) -> str:
    """What to do about an error of AWS, of boto3 or of the system."""
    if isinstance(error, ClientError):
        said = said_by(error)
        # The permission that is missing, as IAM calls it, if AWS says so.
        named = re.search(r"to perform: (\w+:\w+)", said)
        for pattern, words in ANSWERS.items():
            if re.search(pattern, said):
                return words.replace("{action}", named[1] if named else error.operation_name)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full: free some, {AGAIN}"
    for kinds, words in EXCEPTIONS:
        if isinstance(error, kinds):
            return words
    return f"stopped; what is done stays: mend this, {AGAIN}"
