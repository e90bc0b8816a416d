"""An embedded AWS: with it a stranger who has neither an AWS account nor Docker runs the project's
real artefacts on one machine. These are deploy.sh, the definition of the state machine, and the
functions' zips, which AWS's own runtime client runs. moto's server alone is not enough: it answers
AWS's API, but it runs no function without Docker, does not enforce IAM in the way that the project
needs (see iam.py), and leaves out other things that the docstrings of these modules name. Nothing
that deploys to a real account imports this package, and it listens on 127.0.0.1 only, where it
serves those who know a key of the account: neither other users of the machine nor web pages.

server.py starts moto's server and connects the parts. front.py refuses requests that no client of
the project sends. functions.py, sandbox.py and isolate.py run the functions; iam.py, resources.py
and policy.py enforce IAM; statemachines.py and schedule.py complete Step Functions and EventBridge
Scheduler; faults.py lets tests make requests fail.
"""
