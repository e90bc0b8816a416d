"""Completes the days that an execution left half-made: files, but no record.

An execution that fails between its writes leaves a day without its record, which nobody then sees
but a site that reads the MIDI files themselves. An execution with that date makes the piece and its
record again, as the schedule would.
"""

from __future__ import annotations

from collections.abc import Callable

from contract.records import PREFIX, half_made
from deploy.aws import Aws
from deploy.errors import DeployError
from deploy.execution import StillRunningError, failure, run
from deploy.place import Place

DAY = len("YYYY-MM-DD")
LONGEST_S = 3 * 3600.0  # of one day: its retries can take more than an hour


def complete_days(aws: Aws, place: Place, ask: Callable[[str], str], *, dry: bool) -> None:
    """List the days and, if the answer of `ask` is yes, make each of them again.

    Raises DeployError if one of them fails; the days after it are made all the same.
    """
    bucket = place.bucket("music")
    listed = aws.items("s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=PREFIX)
    found = half_made(entry["Key"] for entry in listed)
    for name in found:
        of_batch = ", a piece of a batch: see 'A batch' in docs/operate.md" if name[DAY:] else ""
        aws.say(f"{name} has files in s3://{bucket}/{PREFIX} but no record{of_batch}")
    days = [name for name in found if not name[DAY:]]
    if not days:
        aws.say("no day is half-made")
        return
    if dry:
        aws.say(f"a dry run, nothing was made; half-made days: {len(days)}")
        return
    question = (
        f"Compose the daily pieces of {days[0]} to {days[-1]} that are listed here again? Earlier "
        "versions of their files stay in the bucket. Type yes: "
        if len(days) > 1
        else f"Compose the daily piece of {days[0]} again? Earlier versions of its files stay in "
        "the bucket. Type yes: "
    )
    if ask(question) != "yes":
        raise DeployError("nothing was made: the answer was not yes")
    failed = []
    for day in days:
        what = f"the piece of {day}"
        try:
            arn, ended = run(aws, place, f"complete-{day}", {"date": day}, what, LONGEST_S)
        except StillRunningError as late:  # it goes on, and holds nothing up
            failed.append(day)
            aws.say(str(late))
            continue
        if ended["status"] == "SUCCEEDED":
            aws.say(f"{day}: made")
        else:
            failed.append(day)
            aws.say(f"{day}: failed with {failure(ended)}; see the execution {arn}")
    if failed:
        raise DeployError(
            f"{len(failed)} of {len(days)} days could not be made: see the lines above; "
            "'./deploy.sh --complete-days' tries again"
        )
