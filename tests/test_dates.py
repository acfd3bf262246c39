"""Dates as people write them: what is one, and which period is the right way round."""

import pytest
from pydantic import BaseModel

from skyweave.config import parse_config
from skyweave.dates import Moment, Period, check_date, check_period
from skyweave.errors import SkyweaveError


class Settings(BaseModel):
    period: Period


@pytest.mark.parametrize(
    "text",
    ["2015", "2015-06", "2015-06-01", "2015-06-01T03", "2015-06-01 03:30", "2001-02-30", "2015-06-01T03:00Z"],
)
def test_dates_and_their_beginnings_stay_as_they_are(text):
    assert check_date(text) == text


@pytest.mark.parametrize(
    "text", ["June", "1.6.2015", "2015-13", "2015-06-32", "2015-6-1", "", "20150601", "2015-06-01T24"]
)
def test_what_is_no_date_is_refused_by_name(text):
    with pytest.raises(SkyweaveError, match=f"^start '{text}' is not a date"):
        check_date(text, "start")


@pytest.mark.parametrize(
    ("first", "last", "fits"),
    [
        ("2015", "2015", True),
        ("2015-06", "2015", True),
        ("2015", "2015-06-01T03", True),
        ("2015-06-01 03", "2015-06-01T06", True),
        ("2015-06-02", "2015-06-01", False),
        ("2015-06-01T06", "2015-06-01 03:00", False),
        ("2016", "2015-12-31", False),
    ],
)
def test_a_period_ends_after_it_begins(first, last, fits):
    if fits:
        assert check_period((first, last)) == (first, last)
        return
    with pytest.raises(SkyweaveError, match=r"^overlap: the first date, .*, is after the last"):
        check_period((first, last), "overlap")
    with pytest.raises(SkyweaveError, match=r"period: the first date, .*, is after the last"):
        parse_config({"period": [first, last]}, Settings)


class Moments(BaseModel):
    times: list[Moment]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (2001, "2001-01-01T00:00:00"),
        ("2001", "2001-01-01T00:00:00"),
        ("2001-02-03", "2001-02-03T00:00:00"),
        ("2001-02-03 3:00:00", "2001-02-03T03:00:00"),
        ("2001-02-03T03:00:00+02:00", "2001-02-03T01:00:00"),
        ("2001-02-03T03:00Z", "2001-02-03T03:00:00"),
    ],
)
def test_times_of_a_configuration_are_read_in_utc(given, found):
    (time,) = parse_config({"times": [given]}, Moments).times
    assert time.isoformat() == found


@pytest.mark.parametrize("given", ["June", "2001-02-30", "20010203T25", "3.2.2001"])
def test_times_that_are_none_are_refused(given):
    with pytest.raises(SkyweaveError, match=r"times\.0: .* is not a date; write 2015-06-01"):
        parse_config({"times": [given]}, Moments)
