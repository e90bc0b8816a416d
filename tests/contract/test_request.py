"""The request: every field's range, its defaults, and errors that name the field."""

from __future__ import annotations

import datetime
import json
import math
import operator
import zoneinfo
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.bundle import Bundle
from contract.errors import EventError, TokensError
from contract.request import (
    DRAWN,
    TEMPO_RANGE,
    UNPLANNED,
    WITHOUT_EFFECT,
    Request,
    nearest_tempo,
    parse_request,
    seed_of,
    seed_of_piece,
)

STARTED = "2026-11-22T06:00:00Z"
EVENTS = Path(__file__).parents[2] / "generate_tokens" / "events"
NAMES = ["prompt", "style", "seed", "duration_s", "temperature", "top_p", "top_k", "min_p"]
NAMES += ["form", "metre", "tempo", "date", "pieces", "piece", "trial"]

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20)
)
any_json = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
legal_events = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.sampled_from(["previous", "fresh", "s3://a-bucket/prompts/tune é.mid"]),
        "style": st.none() | st.sampled_from(["chorale", "folk"]),
        "seed": st.integers(0, 2**32 - 1),
        "duration_s": st.integers(5, 3600) | st.floats(5, 3600),
        "temperature": st.integers(0, 2) | st.floats(0, 2),
        "top_p": st.floats(0, 1, exclude_min=True),
        "top_k": st.integers(0, 1000),
        "min_p": st.floats(0, 1, exclude_max=True),
        "form": st.sampled_from([DRAWN, UNPLANNED])
        | st.text(ascii_uppercase, min_size=1, max_size=32),
        "metre": st.sampled_from(["2/4", "3/4", "4/4", "6/8"]),
        "tempo": st.integers(*TEMPO_RANGE) | st.floats(*TEMPO_RANGE),
        "date": st.dates(min_value=datetime.date(1970, 1, 1)).map(str),
        "trial": st.booleans(),
    },
)
batches = st.integers(1, 1000).flatmap(
    lambda pieces: st.fixed_dictionaries(
        {"pieces": st.just(pieces)}, optional={"piece": st.integers(1, pieces)}
    )
)


def parsed(bundle: Bundle, **event: Any) -> Request:
    return parse_request(event, bundle, STARTED)


def test_an_empty_event_takes_the_bundles_defaults(bundle: Bundle) -> None:
    assert parsed(bundle) == Request(
        prompt="previous",
        style=None,
        seed=seed_of("2026-11-22"),
        duration_s=90.0,
        temperature=1.0,
        top_p=0.95,
        top_k=0,
        min_p=0.0,
        form=DRAWN,
        metre=None,
        tempo=None,
        candidates=1,
        budget_end="continue",
        date="2026-11-22",
    )


def test_the_seed_of_a_day_never_changes() -> None:
    # sha256("midi-archive/2026-11-22") begins with these four bytes.
    assert seed_of("2026-11-22") == 0x1D67A2F6


def test_null_means_not_given(bundle: Bundle) -> None:
    assert parsed(bundle, **dict.fromkeys(NAMES)) == parsed(bundle)


def test_the_date_may_be_the_schedulers_timestamp(bundle: Bundle) -> None:
    assert parsed(bundle, date="2026-11-21T23:59:00Z").date == "2026-11-21"


@pytest.mark.parametrize(
    ("local", "zone"),
    [
        # Their UTC day is another, in winter, in summer or always.
        ("01:30", "Europe/Berlin"),
        ("00:30", "Europe/London"),
        ("19:30", "America/New_York"),
        ("23:30", "America/New_York"),
        ("10:15", "Australia/Lord_Howe"),  # whose clocks go by half an hour
        ("12:30", "Pacific/Auckland"),
        ("05:45", "Asia/Kathmandu"),
    ],
)
def test_of_a_daily_schedule_in_a_zone_each_day_has_one_piece(
    local: str, zone: str, bundle: Bundle
) -> None:
    first, clock = datetime.date(2026, 12, 1), datetime.time.fromisoformat(local)
    days = [first + datetime.timedelta(days) for days in range(500)]
    for day in days:
        due = datetime.datetime.combine(day, clock, zoneinfo.ZoneInfo(zone))
        sent = f"{due.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}[{zone}]"
        assert parsed(bundle, date=sent).date == str(day), sent


def test_a_negative_zero_is_written_as_zero(bundle: Bundle) -> None:
    assert str(parsed(bundle, temperature=-0.0).to_json()["temperature"]) == "0.0"


def test_a_given_date_decides_the_seed(bundle: Bundle) -> None:
    assert parsed(bundle, date="2026-01-02").seed == seed_of("2026-01-02")


def test_unknown_field_is_named_with_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(EventError, match=r"'durations'.*prompt, style, metre, tempo"):
        parsed(bundle, durations=60)


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
@pytest.mark.parametrize("value", [0, 2.5, -1, "much", None, {"x": []}])
def test_a_field_without_effect_is_accepted_whatever_it_holds_and_changes_nothing(
    name: str, value: object, bundle: Bundle
) -> None:
    assert parsed(bundle, **{name: value}) == parsed(bundle)


@given(tempo=st.floats(*TEMPO_RANGE))
def test_a_tempo_becomes_the_bundles_nearest_and_stays_it(tempo: float, bundle: Bundle) -> None:
    known = [float(value) for kind, value in bundle.vocabulary if kind == "Tempo"]
    assert all(TEMPO_RANGE[0] <= each <= TEMPO_RANGE[1] for each in known)
    found = parsed(bundle, tempo=tempo).tempo
    assert found in known
    assert abs(found - tempo) == min(abs(each - tempo) for each in known)
    assert nearest_tempo(found, bundle) == found


@pytest.mark.parametrize("event", [None, [], "fresh", 7, True])
def test_an_event_that_is_not_an_object_is_refused(event: object, bundle: Bundle) -> None:
    with pytest.raises(EventError, match="the event must be an object"):
        parse_request(event, bundle, STARTED)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", "yesterday"),
        ("prompt", 1),
        ("prompt", "s3://a-bucket/other/tune.mid"),
        ("prompt", "s3://a-bucket/prompts/tune.mp3"),
        ("prompt", "s3://a-bucket/prompts/.mid"),
        ("prompt", "s3://a-bucket/prompts/\ud800.mid"),
        ("prompt", "s3://a-bucket/prompts/a\nb.mid"),
        ("prompt", "s3://a-bucket/prompts/" + "n" * 1100 + ".mid"),
        ("style", "polka"),
        ("style", ["chorale"]),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 1.0),
        ("seed", True),
        ("duration_s", -1),
        ("duration_s", 4.9),
        ("duration_s", 3601),
        ("duration_s", 10**400),
        ("duration_s", "60"),
        ("duration_s", True),
        ("temperature", 2.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0),
        ("top_p", 2),
        ("top_k", 1001),
        ("top_k", 1.5),
        ("min_p", 1),
        ("min_p", -0.1),
        ("form", ""),
        ("form", "aaba"),
        ("form", "A B"),
        ("form", "ABA\n"),
        ("form", "A" * 33),
        ("form", ["A"]),
        ("metre", "5/17"),
        ("metre", 4),
        ("tempo", TEMPO_RANGE[0] - 1),
        ("tempo", TEMPO_RANGE[1] + 0.5),
        ("tempo", "120"),
        ("tempo", math.nan),
        ("tempo", True),
        ("date", "22.11.2026"),
        ("date", "2026-02-30"),
        ("date", "2026-W01-1"),
        ("date", "1969-12-31"),
        ("date", "2026-11-221"),
        ("date", 20261122),
        ("date", "2026-11-22[Europe/Berlin]"),  # a day is the same everywhere
        ("date", "2026-11-22T06:00:00[Europe/Berlin]"),  # of which clocks?
        ("date", "2026-11-22T06:00:00Z[Mars/Olympus]"),
        ("date", "2026-11-22T06:00:00Z[Europe]"),
        ("date", "2026-11-22T06:00:00Z[../../etc/passwd]"),
        ("date", "2026-11-22T06:00:00Z[]"),
        ("date", "2026-11-22T25:00:00Z"),
        ("date", "2026-11-22Tsix"),
        ("date", "2026-11-22T25:00:00Z[UTC]"),
        ("date", "9999-12-31T23:00:00Z[Pacific/Auckland]"),
        ("date", "1970-01-01T00:00:00Z[America/New_York]"),
        ("pieces", 0),
        ("pieces", 1001),
        ("pieces", 2.0),
        ("pieces", True),
        ("piece", 3),
        ("trial", 1),
        ("trial", "yes"),
    ],
)
def test_a_value_out_of_form_is_refused_by_the_fields_name(
    field: str, value: object, bundle: Bundle
) -> None:
    with pytest.raises(EventError) as caught:
        parsed(bundle, **{field: value})
    message = str(caught.value)
    assert message.startswith(f"{field} must be ")
    assert ", got " in message
    assert len(message) < 250
    assert message.isascii()


@pytest.mark.parametrize("piece", [0, 4, 1001, "2", True])
def test_a_piece_that_its_batch_does_not_have_is_refused(piece: object, bundle: Bundle) -> None:
    with pytest.raises(EventError, match=r"^piece must be an integer from 1 to "):
        parsed(bundle, pieces=3, piece=piece)


def test_a_piece_has_the_seed_of_no_other_piece_or_day(bundle: Bundle) -> None:
    pieces = [parsed(bundle, pieces=1000, piece=piece).piece_seed for piece in range(1, 1001)]
    assert len({*pieces, parsed(bundle).piece_seed}) == 1001
    given_seed = parsed(bundle, pieces=1000, piece=1, seed=7)
    assert (given_seed.seed, given_seed.piece_seed) == (7, seed_of_piece(7, 1))
    assert given_seed.piece_seed not in {7, *pieces}


def test_the_seed_of_a_piece_never_changes() -> None:
    # sha256("midi-archive/pieces/7") begins with the bytes of this number less 2.
    assert seed_of_piece(7, 2) == 0x9EF5E94A


def test_a_daily_request_says_nothing_of_batches_and_trials(bundle: Bundle) -> None:
    assert not parsed(bundle, trial=False).to_json().keys() & {"pieces", "piece", "trial"}
    piece = parsed(bundle, pieces=3, piece=2, trial=True).to_json()
    assert (piece["pieces"], piece["piece"], piece["trial"]) == (3, 2, True)


def test_who_started_the_execution_is_no_field_of_the_piece(bundle: Bundle) -> None:
    assert parsed(bundle, **{WITHOUT_EFFECT[0]: "arn:aws:states:..."}) == parsed(bundle)


def test_a_broken_start_time_is_the_state_machines_fault(bundle: Bundle) -> None:
    with pytest.raises(TokensError, match=r"execution\.started"):
        parse_request({}, bundle, "this morning")


@given(event=legal_events | st.builds(operator.or_, legal_events, batches))
def test_parsing_a_normalized_request_changes_nothing(
    event: dict[str, object], bundle: Bundle
) -> None:
    request = parse_request(event, bundle, STARTED)
    through_json = json.loads(json.dumps(request.to_json()))
    again = parse_request(through_json, bundle, "1999-01-01T00:00:00Z")
    assert again == request
    assert again.piece_seed == request.piece_seed
    assert json.dumps(again.to_json()) == json.dumps(request.to_json())


@given(event=any_json | st.dictionaries(st.sampled_from(NAMES), any_json))
def test_any_json_is_parsed_or_refused_as_an_event_error(event: object, bundle: Bundle) -> None:
    try:
        request = parse_request(event, bundle, STARTED)
    except EventError as error:
        assert str(error).isascii()  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(request, Request)


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_example_events_are_legal(path: Path, bundle: Bundle) -> None:
    job = json.loads(path.read_text())
    assert isinstance(parse_request(job["request"], bundle, job["execution"]["started"]), Request)


def test_there_are_example_events() -> None:
    assert len(list(EVENTS.glob("*.json"))) >= 3


@pytest.mark.parametrize("value", [False, None, "yes", 1, [True]])
def test_a_rebuild_that_is_not_true_is_refused_by_name(value: object, bundle: Bundle) -> None:
    with pytest.raises(EventError, match="rebuild_site must be true, or left out"):
        parse_request({"rebuild_site": value}, bundle, "2026-11-22T06:00:00Z")
