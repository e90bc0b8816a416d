"""Two executions save at once: every order of their S3 calls is tried, on the real class.

An order is a list of whose call is next. Orders that lead to the same bucket, after each save has
seen the same answers, have the same future, which is looked at once; how many orders there are is
still counted. In each state on the way a save may also die, and be started again later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError
from greenlet import greenlet

from contract.objects import Bucket
from contract.records import archive_keys, find_record, read_named
from midi_save.storage import LATEST_MIDI, LATEST_TOKENS, PieceStore
from tests.versioned_s3 import VersionedS3

TODAY, YESTERDAY = "2026-11-22", "2026-11-21"


class TakingTurns:
    """The S3 of one save, which waits for its turn before each call and remembers the answers."""

    def __init__(self, s3: VersionedS3, seen: list[str]) -> None:
        self._s3, self._seen, self._looks = s3, seen, 0

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            # What is read at a version never changes: when it is read makes no difference.
            if "VersionId" not in request:
                parent = greenlet.getcurrent().parent
                assert parent is not None
                parent.switch()
            try:
                answer = getattr(self._s3, name)(**request)
            except ClientError as error:
                self._seen.append(str(error))
                raise
            if request["Key"] == LATEST_TOKENS and name == "get_object":
                # The save looks at the latest keys anew: what it saw before no longer matters.
                self._looks += 1
                self._seen[:] = [f"look {self._looks}"]
            self._seen.append(str(answer))
            return answer

        return call


@dataclass(frozen=True)
class Save:
    date: str
    seed: int

    def run(self, client: Any) -> None:
        origin = {"model_id": "ab" * 32, "date": self.date, "style": "folk", "seed": self.seed}
        record = {**origin, "duration_s": 61.5, "notes": 400}
        tokens = {**origin, "ids": [1, 2]}
        midi = f"MThd {self.date} {self.seed}".encode()
        PieceStore("music", client).save(midi, tokens, record, TODAY)


class World:
    """The bucket and the two saves after the calls of an order."""

    def __init__(self, saves: tuple[Save, Save], order: tuple[int, ...]) -> None:
        self.s3 = VersionedS3()
        Save("2026-11-20", 1).run(self.s3)
        self.seen: list[list[str]] = [[], []]
        self.running = [
            greenlet(lambda save=save, seen=seen: save.run(TakingTurns(self.s3, seen)))
            for save, seen in zip(saves, self.seen, strict=True)
        ]
        for turn in (0, 1, *order):  # each first comes to its first call
            self.running[turn].switch()

    @property
    def state(self) -> str:
        return repr((self.s3.objects, self.seen))

    @property
    def open(self) -> list[int]:
        return [turn for turn in (0, 1) if not self.running[turn].dead]

    def finish(self, turn: int) -> None:
        while not self.running[turn].dead:
            self.running[turn].switch()


def pieces(s3: VersionedS3) -> dict[str, tuple[int, bytes, bytes]]:
    """Seed, MIDI and tokens of each committed day; fails if a record names what is not so."""
    bucket, found = Bucket("music", s3), {}
    for date in ("2026-11-20", YESTERDAY, TODAY):
        record = find_record(bucket, archive_keys(date)["record"]).content
        if record is not None:
            midi, tokens = (read_named(bucket, record, name) for name in ("archive", "tokens"))
            assert midi == f"MThd {date} {record['seed']}".encode()
            assert json.loads(tokens)["seed"] == record["seed"]
            found[date] = (record["seed"], midi, tokens)
    return found


def assert_latest(s3: VersionedS3) -> None:
    committed = pieces(s3)
    _, midi, tokens = committed[max(committed)]
    assert (s3.objects[LATEST_MIDI][-1], s3.objects[LATEST_TOKENS][-1]) == (midi, tokens)


@pytest.mark.parametrize(
    "saves",
    [(Save(TODAY, 7), Save(TODAY, 8)), (Save(YESTERDAY, 7), Save(TODAY, 8))],
    ids=["two seeds of a day", "yesterday beside today"],
)
def test_no_order_of_two_saves_mixes_a_day_or_lets_the_latest_go_back(
    saves: tuple[Save, Save],
) -> None:
    orders: dict[str, int] = {}  # by state: how many ways lead on from there to an end

    def explore(order: tuple[int, ...], world: World) -> int:
        state, turns = world.state, world.open
        if state not in orders:
            pieces(world.s3)
            dates = [json.loads(body)["date"] for body in world.s3.objects[LATEST_TOKENS]]
            assert dates == sorted(dates), order
            if not turns:
                assert_latest(world.s3)
                assert set(pieces(world.s3)) == {"2026-11-20", *(save.date for save in saves)}
            ways = 0
            for turn in turns:
                # The last one goes on in this very world, the others in one that comes here again.
                then = world if turn == turns[-1] else World(saves, order)
                then.running[turn].switch()
                ways += explore((*order, turn), then)
            orders[state] = ways or 1
        return orders[state]

    count = explore((), World(saves, ()))
    print(f"{count} orders of the calls, {len(orders)} different states")
    assert count > 100_000


@pytest.mark.parametrize("calls", range(40))
def test_a_day_made_again_while_another_seed_is_saved_leaves_no_mixed_latest(calls: int) -> None:
    """The same bytes have the same ETag: a condition cannot tell that they were written again."""
    first, second = Save(TODAY, 7), Save(TODAY, 8)
    world = World((second, second), ())
    first.run(world.s3)
    for _ in range(calls):
        if not world.running[0].dead:
            world.running[0].switch()
    first.run(world.s3)
    world.finish(0)
    assert_latest(world.s3)


@pytest.mark.parametrize("dies", [0, 1])
def test_a_save_that_dies_leaves_no_mixed_day_and_starting_it_again_heals(dies: int) -> None:
    saves = (Save(TODAY, 7), Save(TODAY, 8))
    calls = len(World(saves, ()).seen[dies]) + 20
    for before in range(calls):
        for after in range(0, calls, 3):
            world = World(saves, ())
            for turn, count in ((dies, before), (1 - dies, after), (dies, 1)):
                for _ in range(count):
                    if not world.running[turn].dead:
                        world.running[turn].switch()
            world.finish(1 - dies)  # the other goes on; this one is dead
            assert set(pieces(world.s3)) == {"2026-11-20", TODAY}
            saves[dies].run(world.s3)
            assert pieces(world.s3)[TODAY][0] == saves[dies].seed
            assert_latest(world.s3)
