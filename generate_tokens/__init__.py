"""The first Lambda function: composes a piece as token ids."""
