"""Turns what AWS and the system say into what a person can do."""

from __future__ import annotations

import errno
import re

from botocore import exceptions
from botocore.exceptions import ClientError

from deploy.aws import said_by

AGAIN = "then run this again; it continues from here"
SIGN_IN = f"sign in again, or see 'Credentials' in docs/deploy.md, {AGAIN}"
# What AWS said, and the way out; the first that matches.
NOT_VALID = (
    r"^(Expired|InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId|InvalidToken"
    r"|RequestExpired|SignatureDoesNotMatch|InvalidSignature|RequestTimeTooSkewed)"
)
FORBIDDEN = r"^(AccessDenied|Unauthorized|AuthorizationError|403|Forbidden)|not authorized"
QUOTA = r"LimitExceeded|QuotaExceeded|StorageExceeded|TooMany"
ANSWERS = {
    NOT_VALID: (
        "the credentials are not valid, or no longer; or the clock is wrong, or the region is not "
        f"enabled in this account: {SIGN_IN}"
    ),
    r"^Throttl|Rate exceeded": f"AWS is asked too much at once: wait a minute, {AGAIN}",
    r"account must be verified": (
        "CloudFront is for verified accounts only: open a case with AWS Support in the console, "
        f"which costs nothing, {AGAIN}; until then deploy without --site"
    ),
    r"^OriginAccessControlInUse": (
        "a distribution that somebody else made uses the site's origin access control: give it "
        f"another in the console (CloudFront), {AGAIN}"
    ),
    r"^(DistributionNotDisabled|NoSuchDistribution|PreconditionFailed|InvalidIfMatchVersion)": (
        f"the site's distribution is being changed elsewhere, too: wait a few minutes, {AGAIN}"
    ),
    FORBIDDEN: (
        "these credentials are not allowed to call {action}: deploy/deployer-policy.json lists "
        "what they need, and with it --permissions-boundary must be given (docs/deploy.md); "
        f"{AGAIN}"
    ),
    r"^BucketAlreadyExists": "another account has a bucket of that name: choose another --name",
    QUOTA: (
        "a quota of the account is used up: see Service Quotas in the console, free what is not "
        f"needed or have it raised, {AGAIN}"
    ),
}
NO_CREDENTIALS = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)
SIGNED_OUT = (
    *(exceptions.SSOError, exceptions.LoginError),
    *(exceptions.TokenRetrievalError, exceptions.CredentialRetrievalError),
)
EXCEPTIONS: dict[tuple[type[Exception], ...], str] = {
    (exceptions.ProfileNotFound,): "there is no such profile in ~/.aws/config: see --profile",
    NO_CREDENTIALS: "no AWS credentials: docs/deploy.md, 'Credentials', says how to give them",
    SIGNED_OUT: f"the credentials are no longer valid: {SIGN_IN}",
    (exceptions.MissingDependencyException,): (
        "this profile signs in with 'aws login': '.venv/bin/python -m pip install botocore[crt]', "
        "or use 'aws sso login' or keys"
    ),
    (BrokenPipeError,): f"nobody reads the output any more; what is done stays: {AGAIN}",
    (exceptions.HTTPClientError, exceptions.ConnectionError): (
        f"AWS cannot be reached: check the network and --region, {AGAIN}"
    ),
}


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
    for kinds, words in EXCEPTIONS.items():
        if isinstance(error, kinds):
            return words
    return f"stopped; what is done stays: mend this, {AGAIN}"
