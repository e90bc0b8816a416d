"""CloudFront's rules, where moto is more lenient.

moto forgets an origin's access control, takes any version for the present one, and deletes what is
enabled or in use. Nothing is served here: a distribution is a configuration and an address. Depends
on neither IAM nor S3.
https://docs.aws.amazon.com/cloudfront/latest/APIReference/Welcome.html
"""

from contextlib import ExitStack
from typing import Any

from moto.cloudfront.exceptions import CloudFrontException, NoSuchOriginAccessControl
from moto.cloudfront.models import CloudFrontBackend, Origin, random_id

from local_aws.replacing import replace

# Any: moto's own types leave out some of what is there.
_origin: Any = Origin.__init__
_create_control: Any = CloudFrontBackend.create_origin_access_control
_update: Any = CloudFrontBackend.update_distribution
_delete: Any = CloudFrontBackend.delete_distribution


def install(stack: ExitStack) -> None:
    """Replace moto's rules until `stack` closes."""
    replace(stack, Origin, "__init__", _remember_control)
    for name, rule in (
        ("create_origin_access_control", _create_control_once),
        ("delete_origin_access_control", _delete_unused_control),
        ("update_distribution", _update_version),
        ("delete_distribution", _delete_disabled),
    ):
        replace(stack, CloudFrontBackend, name, rule)


def _remember_control(origin: Any, given: dict[str, Any]) -> None:
    _origin(origin, given)
    origin.origin_access_control_id = given.get("OriginAccessControlId") or ""


def _create_control_once(backend: CloudFrontBackend, config: dict[str, str]) -> Any:
    if any(each.name == config["Name"] for each in backend.origin_access_controls.values()):
        raise CloudFrontException("OriginAccessControlAlreadyExists", "There is one of that name.")
    return _create_control(backend, config)


def _delete_unused_control(backend: CloudFrontBackend, control_id: str) -> None:
    if control_id not in backend.origin_access_controls:
        raise NoSuchOriginAccessControl
    distributions: Any = backend.distributions.values()
    for distribution in distributions:
        origins = distribution.distribution_config.Origins["Items"]
        if any(origin.origin_access_control_id == control_id for origin in origins):
            raise CloudFrontException("OriginAccessControlInUse", "A distribution uses it.")
    del backend.origin_access_controls[control_id]


def _update_version(
    backend: CloudFrontBackend, dist_config: dict[str, Any], _id: str, if_match: str
) -> Any:
    known = _present(backend, _id, if_match)
    if known and dist_config["CallerReference"] != known.distribution_config.caller_reference:
        raise CloudFrontException("IllegalUpdate", "CallerReference cannot be changed.")
    distribution, location, _ = _update(backend, dist_config, _id, if_match)
    # A change is everywhere only after a while: from the next time on that somebody asks.
    distribution._status, distribution._tick = "InProgress", 0
    distribution.etag = random_id()
    return distribution, location, distribution.etag


def _delete_disabled(backend: CloudFrontBackend, distribution_id: str, if_match: str) -> None:
    known = _present(backend, distribution_id, if_match)
    if known and (known.distribution_config.Enabled or known.status != "Deployed"):
        raise CloudFrontException("DistributionNotDisabled", "It is not disabled yet.")
    _delete(backend, distribution_id, if_match)


def _present(backend: CloudFrontBackend, distribution_id: str, if_match: str) -> Any:
    """The distribution, if it is there and the caller has seen its present version."""
    known = backend.distributions.get(distribution_id)
    if known and if_match and if_match != known.etag:
        raise CloudFrontException("PreconditionFailed", "The version is not the present one.")
    return known
