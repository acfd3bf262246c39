"""Odd times in tables of reports; see `odd_cases`."""

from __future__ import annotations

from pathlib import Path

from odd_cases import Refused, odd
from skyweave.io import read_stations
from table_cases import (
    dated,
    time_case,
)

TWO = ["2020-06-01T06:00", "2020-06-01T18:00"]
for words, heading, cells in (
    ("date and hour in two columns", "date,hour", ("2020-06-01,6", "2020-06-01,18")),
    ("date and HH", "date,HH", ("20200601,06", "20200601,18")),
    ("date and hhmm", "date,hhmm", ("20200601,600", "20200601,1800")),
    ("date and time as HHMM", "date,time", ("2020-06-01,0600", "2020-06-01,1800")),
    ("date and time of day", "Date,Time", ("2020-06-01,06:00", "2020-06-01,18:00")),
    ("date and time of day in halves", "Date,Time", ("2020-06-01,06:00 AM", "2020-06-01,06:00 PM")),
    ("date and a column utc", "date,utc", ("20200601,06", "20200601,18")),
    ("date, hour and minute", "date,hour,minute", ("2020-06-01,6,0", "2020-06-01,18,0")),
    ("year, month, day and hour", "year,month,day,hour", ("2020,6,1,6", "2020,6,1,18")),
    ("midnights beside hours", "time,hour", ("2020-06-01 00:00:00,6", "2020-06-01 00:00:00,18")),
    ("spellings that change from row to row", "time", ("20200601T0600Z", "2020/06/01 18:00:00.0")),
    ("the month by its name", "time", ("1-Jun-2020 06:00", "01 June 2020 18:00")),
    ("blanks in dates, and UTC", "time", ("2020 06 01 06:00 UTC", "2020 06 01 18:00 UTC")),
    ("offsets in some rows", "time", ("2020-06-01T08:00+02:00", "2020-06-01T18:00")),
    ("a zone in the heading", "time [CEST]", ("2020-06-01 08:00", "2020-06-01 20:00")),
    ("a column of zones", "time,time_zone", ("2020-06-01 08:00,CEST", "2020-06-01 13:00,EST")),
    ("a column of offsets", "time,utc_offset", ("2020-06-01T01:00,-5", "2020-06-01T20:30,2.5")),
    ("UTC in the heading beside offsets", "time_utc,utc_offset", ("2020-06-01T06:00,-5", "2020-06-01T18:00,-5")),
    ("seconds since 1970 by the heading", "unix_time", ("1590991200", "1591034400")),
    ("hours since 1900 by the heading", "time [hours since 1900-01-01]", ("1055550", "1055562")),
):  # fmt: skip
    # 1055550 h are 43981.25 days; 2020-06-01 is day 43981 from 1900-01-01, as 120 * 365 + 29 + 152.
    time_case(words, dated(heading, *cells), TWO)
for words, heading, cells, asked in (
    ("seconds since 1970, said so", "time", ("1590991200", "1591034400"), {"time_format": "epoch_s"}),
    ("milliseconds since 1970, said so", "time", ("1590991200000", "1591034400000"), {"time_format": "epoch_ms"}),
    ("numbers of a spreadsheet, said so", "time", ("43983.25", "43983.75"), {"time_format": "excel"}),
    ("day before month, said so", "time", ("01/06/2020 06:00", "01/06/2020 18:00"), {"time_format": "%d/%m/%Y %H:%M"}),
    ("two columns, said so", "day0,h", ("2020-06-01,6", "2020-06-01,18"), {"columns": {"time": ["day0", "h"]}}),
    ("local times, zone said", "time (local)", ("2020-06-01 08:00", "2020-06-01 20:00"), {"time_zone": "+02:00"}),
    ("local times, city said", "time", ("2020-06-01 08:00", "2020-06-01 20:00"), {"time_zone": "Europe/Berlin"}),
):  # fmt: skip
    time_case(words, dated(heading, *cells), TWO, **asked)
time_case("24:00 is the next midnight", dated("time", "2020-06-01T24:00"), ["2020-06-02T00:00"])
time_case("local times in summer and winter", dated("time", "2020-01-01 12:00", "2020-07-01 12:00"),
          ["2020-01-01T11:00", "2020-07-01T10:00"], time_zone="Europe/Paris")  # fmt: skip
for words, heading, cell, hints in (
    ("local times without a zone", "time (local)", "2020-06-01 06:00", ("local", "time_zone")),
    ("an abbreviation of several zones", "time [CST]", "2020-06-01 06:00", ("CST", "several", "time_zone")),
    ("day and month that may be either", "time", "03/04/2019", ("time_format", "%d/%m/%Y", "%m/%d/%Y")),
    ("seconds since 1970 without a word", "time", "1590969600", ("time_format: epoch_s",)),
    ("seconds that look like a date", "time", "1512010100", ("time_format: epoch_s",)),
    ("milliseconds without a word", "time", "1590969600000", ("time_format: epoch_ms",)),
    ("numbers of a spreadsheet without a word", "time", "43983.25", ("time_format: excel",)),
    ("a time of day without a date", "time", "06:00", ("date", "columns: {time: [date, hour]}")),
    ("a year alone", "time", "1800", ("not a date", "time_format: '%Y'")),
    (
        "two times of day that differ",
        "time,hour",
        "2020-06-01T06:00,8",
        ("which is the time", "columns: {time: time}"),
    ),
    ("a day that no month has", "time", "2020-06-31", ("row 1", "not a date")),
    ("an hour that no day has", "date,hour", "2020-06-01,25", ("row 1", "no time of day")),
):
    time_case(words, dated(heading, cell), Refused(*hints))
time_case("hours with decimals", dated("date,hour", "2020-06-01,6.5"), ["2020-06-01T06:30"])
time_case("hours with a letter", dated("date,hour", "2020-06-01,06h"),
          Refused("column 'hour'", "'06h'", "dates alone"))  # fmt: skip


@odd("table", "a year that no clock of nanoseconds holds, 3020", Refused("3020", "which is not a date"))
def _(folder: Path):
    path = folder / "a.csv"
    path.write_text("time,lat,lon,t2m\n3020-01-05T11:00,48,2,280\n")
    return read_stations(path)
