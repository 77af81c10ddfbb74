"""Operators on dates."""

from datetime import UTC, datetime, timedelta

import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from changesource.mql.bson_types import MAX_LONG, MIN_LONG, type_name
from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions import Scope, compile_expression
from changesource.mql.expressions.compiler import variables_with

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEW_YORK = "America/New_York"


def at(text):
    """The BSON date of ISO text."""
    return DatetimeMS((datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1))


def value_of(expression, **document):
    """What the expression gives for a document, once its type is one that was announced."""
    node = compile_expression(expression, Scope())
    value = node.evaluate(document, variables_with(Budget()))
    assert node.gives is None or type_name(value) in node.gives
    return value


FORMATS = [
    ("%Y-%m-%d", "2024-05-05"),
    ("%H:%M:%S.%L", "02:03:04.005"),
    ("%j", "126"),
    ("%u %w", "7 1"),
    ("%U %V %G", "18 18 2024"),
    ("%b|%B", "May|May"),
    ("%z %Z", "+0000 0"),
    ("100%% é\n%%Y", "100% é\n%Y"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), FORMATS)
def test_each_specifier_writes_what_the_manual_says(text, expected):
    """Other text is copied, line breaks too."""
    date = at("2024-05-05T02:03:04.005")
    assert value_of({"$dateToString": {"date": "$d", "format": text}}, d=date) == expected
    assert value_of({"$dateToString": {"date": "$d", "format": "$f"}}, d=date, f=text) == expected


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "2024-07-01T12:00:00.000Z"),
        ("+00:00", "2024-07-01T12:00:00.000Z"),
        ("GMT", "2024-07-01T12:00:00.000"),
        (NEW_YORK, "2024-07-01T08:00:00.000"),
        ("Asia/Kolkata", "2024-07-01T17:30:00.000"),
        ("+02", "2024-07-01T14:00:00.000"),
        ("-0930", "2024-07-01T02:30:00.000"),
        ("+14:00", "2024-07-02T02:00:00.000"),
    ],
)
def test_the_default_format_is_iso_8601(zone, expected):
    """With a Z in UTC only."""
    assert value_of({"$dateToString": {"date": "$d", "timezone": zone}}, d=at("2024-07-01T12:00")) == expected


@pytest.mark.parametrize(
    ("zone", "date", "expected"),
    [
        (NEW_YORK, "2024-07-01", "-0400 -240"),
        (NEW_YORK, "2024-01-01", "-0500 -300"),
        ("+0530", "2024-01-01", "+0530 330"),
        ("-03:30", "2024-01-01", "-0330 -210"),
        (NEW_YORK, "1800-01-01", "-0456 -296"),
    ],
)
def test_offsets_are_written_as_hours_and_minutes_or_as_minutes(zone, date, expected):
    """The seconds of local mean time are cut off."""
    expression = {"$dateToString": {"date": "$d", "timezone": zone, "format": "%z %Z"}}
    assert value_of(expression, d=at(date)) == expected


@pytest.mark.parametrize(
    ("arguments", "document", "expected"),
    [
        ({}, {}, None),
        ({"onNull": "none"}, {}, "none"),
        ({"onNull": "$x", "timezone": "$nothing"}, {"x": 5}, 5),
        ({"timezone": "$nothing", "onNull": "none"}, {"d": DatetimeMS(0)}, None),
        ({"format": "$nothing"}, {"d": DatetimeMS(0)}, None),
        ({"format": "%Y"}, {"d": datetime(2024, 1, 1)}, "2024"),
        ({"format": "%Y"}, {"d": ObjectId("507f1f77bcf86cd799439011")}, "2012"),
        ({"format": "%Y"}, {"d": Timestamp(0, 5)}, "1970"),
    ],
)
def test_date_to_string_of_no_date_is_null(arguments, document, expected):
    """Or onNull. ObjectIds and timestamps count as dates."""
    assert value_of({"$dateToString": {"date": "$d", **arguments}}, **document) == expected


def parts(date, **arguments):
    """What the operators for a part of a date give, in the order of their names here."""
    names = ["$year", "$month", "$dayOfMonth", "$hour", "$minute", "$second", "$millisecond", "$dayOfWeek",
             "$dayOfYear", "$week", "$isoDayOfWeek", "$isoWeek", "$isoWeekYear"]  # fmt: skip
    return [value_of({name: {"date": "$d", **arguments}}, d=date) for name in names]


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2024-05-01T12:30:45.123", [2024, 5, 1, 12, 30, 45, 123, 4, 122, 17, 3, 18, 2024]),
        ("2024-12-31T00:00", [2024, 12, 31, 0, 0, 0, 0, 3, 366, 52, 2, 1, 2025]),
        ("2017-01-01T00:00", [2017, 1, 1, 0, 0, 0, 0, 1, 1, 1, 7, 52, 2016]),
        ("2016-01-01T23:59:59.999", [2016, 1, 1, 23, 59, 59, 999, 6, 1, 0, 5, 53, 2015]),
        ("1969-12-31T23:59:59.999", [1969, 12, 31, 23, 59, 59, 999, 4, 365, 52, 3, 1, 1970]),
    ],
)
def test_a_date_has_parts_by_sundays_and_by_iso_weeks(date, expected):
    """Parts of dates, by Sundays and by ISO weeks."""
    assert parts(at(date)) == expected


def test_parts_are_those_of_the_local_clock_and_calendar():
    """The argument may also be the date alone, or in an array."""
    date = at("2024-01-01T03:00")
    assert parts(date, timezone=NEW_YORK)[:4] == [2023, 12, 31, 22]
    assert parts(date, timezone="$nothing") == [None] * 13
    for argument in ("$d", ["$d"], [{"date": "$d"}], {"$toDate": "$d"}):
        assert value_of({"$year": argument}, d=date) == 2024
    assert value_of({"$hour": "$nothing"}) is None
    assert type_name(value_of({"$isoWeekYear": "$d"}, d=date)) == "long"


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK, "Europe/London", "+05:30"])
@pytest.mark.parametrize(
    "milliseconds", [MIN_LONG, -62_135_596_800_001, -(10**15), 253_402_300_800_000, 10**17, MAX_LONG]
)
def test_dates_beyond_those_of_python_have_parts(zone, milliseconds):
    """Those before the year 0 or after 9999 have no text."""
    date = DatetimeMS(milliseconds)
    assert all(isinstance(part, int) for part in parts(date, timezone=zone))
    year = value_of({"$year": {"date": "$d", "timezone": zone}}, d=date)
    expression = {"$dateToString": {"date": "$d", "format": "%Y", "timezone": zone}}
    if 0 <= year <= 9999:
        assert value_of(expression, d=date) == f"{year:04d}"
    else:
        with pytest.raises(MqlError):
            value_of(expression, d=date)


def test_summer_time_continues_after_the_year_9999():
    """Summer time goes on after the year 9999 as before it."""
    for year, expected in ((400 * 26 + 24, -4), (2024, -4)):
        days = 365 * (year - 1970) + (year - 1) // 4 - 1969 // 4 - (year - 1) // 100 + 1969 // 100
        days += (year - 1) // 400 - 1969 // 400 + 182
        date = DatetimeMS(days * 86_400_000 + 43_200_000)
        assert value_of({"$hour": {"date": "$d", "timezone": NEW_YORK}}, d=date) == 12 + expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"unit": "year"}, "2024-01-01"),
        ({"unit": "year", "binSize": 10}, "2020-01-01"),
        ({"unit": "quarter"}, "2024-04-01"),
        ({"unit": "quarter", "binSize": 3}, "2024-01-01"),
        ({"unit": "month"}, "2024-05-01"),
        ({"unit": "month", "binSize": 5}, "2024-03-01"),
        ({"unit": "week"}, "2024-05-05"),
        ({"unit": "week", "startOfWeek": "Mon"}, "2024-05-06"),
        ({"unit": "week", "startOfWeek": "friday"}, "2024-05-03"),
        ({"unit": "week", "binSize": 2}, "2024-05-05"),
        ({"unit": "week", "binSize": 2, "startOfWeek": "monday"}, "2024-05-06"),
        ({"unit": "week", "binSize": 4}, "2024-04-21"),
        ({"unit": "day"}, "2024-05-07"),
        ({"unit": "day", "binSize": 2}, "2024-05-06"),
        ({"unit": "hour"}, "2024-05-07T13:00"),
        ({"unit": "hour", "binSize": 24}, "2024-05-07"),
        ({"unit": "minute", "binSize": 15}, "2024-05-07T13:45"),
        ({"unit": "second", "binSize": Decimal128("10")}, "2024-05-07T13:47:50"),
        ({"unit": "millisecond", "binSize": 100.0}, "2024-05-07T13:47:51.200"),
        ({"unit": "day", "timezone": NEW_YORK}, "2024-05-07T04:00"),
        ({"unit": "month", "timezone": "+05:30"}, "2024-04-30T18:30"),
        ({"unit": "hour", "timezone": "+05:30"}, "2024-05-07T13:30"),
        ({"unit": "day", "startOfWeek": "nonsense"}, "2024-05-07"),
    ],
)
def test_bins_are_counted_from_the_year_2000(arguments, expected):
    """Weeks from the first one of that year."""
    date = at("2024-05-07T13:47:51.234")
    assert value_of({"$dateTrunc": {"date": "$d", **arguments}}, d=date) == at(expected)


def test_bins_continue_before_the_year_2000():
    """Bins reach back beyond the first one."""
    expression = {"$dateTrunc": {"date": "$d", "unit": "$u", "binSize": "$b"}}
    assert value_of(expression, d=at("1999-12-31T12:00"), u="month", b=5) == at("1999-08-01")
    assert value_of(expression, d=at("1969-12-31T13:00"), u="hour", b=5) == at("1969-12-31T12:00")
    assert value_of(expression, d=at("1999-12-31T12:00"), u="week", b=1) == at("1999-12-26")


def test_a_day_that_begins_at_one_is_truncated_to_one():
    """A day that begins at one o'clock begins then."""
    expression = {"$dateTrunc": {"date": "$d", "unit": "day", "timezone": "America/Sao_Paulo"}}
    assert value_of(expression, d=at("2018-11-04T15:00")) == at("2018-11-04T03:00")


@pytest.mark.parametrize(
    ("start", "end", "arguments", "expected"),
    [
        ("2023-12-31T23:59", "2024-01-01T00:00", {"unit": "year"}, 1),
        ("2024-01-01", "2024-12-31", {"unit": "year"}, 0),
        ("2024-03-31", "2024-04-01", {"unit": "quarter"}, 1),
        ("2024-05-01", "2023-12-01", {"unit": "month"}, -5),
        ("2024-05-04", "2024-05-05", {"unit": "week"}, 1),
        ("2024-05-04", "2024-05-05", {"unit": "week", "startOfWeek": "monday"}, 0),
        ("2024-05-12", "2024-05-04", {"unit": "week"}, -2),
        ("2024-05-04T23:59:59.999", "2024-05-05", {"unit": "day"}, 1),
        ("2024-05-04T01:59", "2024-05-04T02:00", {"unit": "hour"}, 1),
        ("2024-05-04T02:00:59", "2024-05-04T02:01", {"unit": "minute"}, 1),
        ("2024-05-04T02:00:00.999", "2024-05-04T02:00:01", {"unit": "second"}, 1),
        ("1970-01-01", "1969-12-31T23:59:59.999", {"unit": "second"}, -1),
        ("2024-05-04", "2024-05-04T00:00:00.005", {"unit": "millisecond"}, 5),
        ("2024-05-04T03:00", "2024-05-04T05:00", {"unit": "day", "timezone": NEW_YORK}, 1),
        ("2024-03-10T04:00", "2024-03-11T04:00", {"unit": "hour", "timezone": NEW_YORK}, 24),
        ("2024-03-10T04:00", "2024-03-11T04:00", {"unit": "second", "timezone": NEW_YORK}, 86400),
        ("2024-01-01T00:20", "2024-01-01T00:40", {"unit": "hour", "timezone": "+05:30"}, 1),
    ],
)
def test_date_diff_counts_the_units_that_begin_in_between(start, end, arguments, expected):
    """By the clock and the calendar of the time zone."""
    expression = {"$dateDiff": {"startDate": "$s", "endDate": "$e", **arguments}}
    value = value_of(expression, s=at(start), e=at(end))
    assert (value, type_name(value)) == (expected, "long")


@pytest.mark.parametrize(
    ("start", "arguments", "expected"),
    [
        ("2024-01-31", {"unit": "month", "amount": 1}, "2024-02-29"),
        ("2024-02-29", {"unit": "year", "amount": 1}, "2025-02-28"),
        ("2024-05-31T01:00", {"unit": "quarter", "amount": Int64(-1)}, "2024-02-29T01:00"),
        ("2024-05-31", {"unit": "month", "amount": -17}, "2022-12-31"),
        ("2024-05-31", {"unit": "week", "amount": 1.0}, "2024-06-07"),
        ("2024-05-31", {"unit": "millisecond", "amount": -1}, "2024-05-30T23:59:59.999"),
        ("2024-03-09T12:00", {"unit": "day", "amount": 1, "timezone": NEW_YORK}, "2024-03-10T11:00"),
        ("2024-03-09T12:00", {"unit": "hour", "amount": 24, "timezone": NEW_YORK}, "2024-03-10T12:00"),
        ("2024-03-09T07:30", {"unit": "day", "amount": 1, "timezone": NEW_YORK}, "2024-03-10T07:30"),
        ("2024-02-01T02:00", {"unit": "month", "amount": 1, "timezone": NEW_YORK}, "2024-03-01T02:00"),
    ],
)
def test_days_and_longer_units_keep_the_time_on_the_clock(start, arguments, expected):
    """The last day of a month stands in for days that it does not have."""
    assert value_of({"$dateAdd": {"startDate": "$d", **arguments}}, d=at(start)) == at(expected)
    backwards = {**arguments, "amount": -arguments["amount"]}
    assert value_of({"$dateSubtract": {"startDate": "$d", **backwards}}, d=at(start)) == at(expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"year": 2024}, "2024-01-01"),
        ({"year": 2024, "month": 14, "day": 0, "hour": -1}, "2025-01-30T23:00"),
        ({"year": 2024, "month": 5, "second": 100000, "millisecond": 1}, "2024-05-02T03:46:40.001"),
        ({"year": 2024, "month": 7, "timezone": NEW_YORK}, "2024-07-01T04:00"),
        ({"year": 2024, "month": 3, "day": 10, "hour": 2, "minute": 30, "timezone": NEW_YORK}, "2024-03-10T07:30"),
        ({"isoWeekYear": 2025, "isoWeek": 1, "isoDayOfWeek": 2}, "2024-12-31"),
        ({"isoWeekYear": 2016}, "2016-01-04"),
    ],
)
def test_parts_beyond_their_range_carry_over(arguments, expected):
    """Parts beyond their range count on."""
    assert value_of({"$dateFromParts": {**arguments, "minute": arguments.get("minute", "$m")}}, m=0) == at(expected)


@pytest.mark.parametrize(
    "expression",
    [
        {"$dateTrunc": {"date": "$nothing", "unit": "$bad"}},
        {"$dateTrunc": {"date": "$d", "unit": "day", "binSize": "$nothing", "timezone": "$bad"}},
        {"$dateTrunc": {"date": "$d", "unit": "week", "startOfWeek": None}},
        {"$dateTrunc": {"date": "$bad", "unit": "day", "timezone": None}},
        {"$dateDiff": {"startDate": "$d", "endDate": None, "unit": "day"}},
        {"$dateAdd": {"startDate": "$d", "unit": "day", "amount": "$nothing"}},
        {"$dateFromParts": {"year": 2024, "month": "$nothing"}},
        {"$year": {"date": None, "timezone": "$bad"}},
    ],
)
def test_the_first_null_argument_decides(expression):
    """Whatever is wrong with those after it."""
    assert value_of(expression, d=DatetimeMS(0), bad="nonsense") is None


def test_start_of_week_matters_to_weeks_only():
    """With other units it may be null or wrong."""
    expression = {"$dateTrunc": {"date": "$d", "unit": "$u", "startOfWeek": "$w"}}
    assert value_of(expression, d=at("2024-05-07"), u="day") == at("2024-05-07")
    assert value_of(expression, d=at("2024-05-07"), u="day", w="nonsense") == at("2024-05-07")
    assert value_of(expression, d=at("2024-05-07"), u="week") is None
    assert value_of(expression, d=at("2024-05-07"), u="week", w="TUE") == at("2024-05-07")


@pytest.mark.parametrize(
    "expression",
    [
        {"$year": "$text"},
        {"$year": "$number"},
        {"$year": {"date": "$d", "timezone": "$text"}},
        {"$year": {"date": "$d", "timezone": "$number"}},
        {"$year": {"date": "$d", "timezone": "$path"}},
        {"$dateToString": {"date": "$text"}},
        {"$dateToString": {"date": "$nothing", "timezone": "$text"}},
        {"$dateToString": {"date": "$d", "format": "$number"}},
        {"$dateToString": {"date": "$d", "format": "$badFormat"}},
        {"$dateTrunc": {"date": "$d", "unit": "$text"}},
        {"$dateTrunc": {"date": "$d", "unit": "$number"}},
        {"$dateTrunc": {"date": "$d", "unit": "day", "binSize": "$half"}},
        {"$dateTrunc": {"date": "$d", "unit": "day", "binSize": "$zero"}},
        {"$dateTrunc": {"date": "$d", "unit": "day", "binSize": "$long"}},
        {"$dateTrunc": {"date": "$d", "unit": "hour", "binSize": "$long"}},
        {"$dateTrunc": {"date": "$first", "unit": "year"}},
        {"$dateTrunc": {"date": "$d", "unit": "week", "startOfWeek": "$text"}},
        {"$dateDiff": {"startDate": "$first", "endDate": "$last", "unit": "millisecond"}},
        {"$dateDiff": {"startDate": "$text", "endDate": "$d", "unit": "day"}},
        {"$dateAdd": {"startDate": "$d", "unit": "day", "amount": "$half"}},
        {"$dateAdd": {"startDate": "$last", "unit": "day", "amount": 1}},
        {"$dateAdd": {"startDate": "$d", "unit": "year", "amount": "$long"}},
        {"$dateFromParts": {"year": "$zero"}},
        {"$dateFromParts": {"year": 2024, "month": "$long"}},
        {"$dateFromParts": {"year": 2024, "hour": "$half"}},
        {"$dateFromParts": {"year": 2024, "second": "$long"}},
    ],
)
def test_a_value_that_mongodb_refuses_is_an_error_of_the_document(expression):
    """The expression compiles."""
    node = compile_expression(expression, Scope())
    document = {
        "d": DatetimeMS(0), "text": "secret", "number": 5, "half": 0.5, "zero": 0, "long": Int64(2**62),
        "first": DatetimeMS(MIN_LONG), "last": DatetimeMS(MAX_LONG), "badFormat": "%q", "path": "../etc/localtime",
    }  # fmt: skip
    with pytest.raises(MqlError) as caught:
        node.evaluate(document, variables_with(Budget()))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        {"$year": []},
        {"$year": ["$a", "$b"]},
        {"$year": {"date": "$d", "zone": "UTC"}},
        {"$year": {"timezone": "UTC"}},
        {"$year": {"date": "$d", "timezone": "Mars/Phobos"}},
        {"$year": {"date": "$d", "timezone": "america/new_york"}},
        {"$year": {"date": "$d", "timezone": "+1"}},
        {"$year": {"date": "$d", "timezone": "localtime"}},
        {"$dateToString": {"date": "$d", "format": "%q"}},
        {"$dateToString": {"date": "$d", "format": "%Y%"}},
        {"$dateToString": {"date": "$d", "format": 5}},
        {"$dateToString": {"format": "%Y"}},
        {"$dateTrunc": {"date": "$d", "unit": "decade"}},
        {"$dateTrunc": {"date": "$d", "unit": "day", "binSize": 0}},
        {"$dateTrunc": {"date": "$d", "unit": "week", "startOfWeek": "someday"}},
        {"$dateTrunc": {"date": "$d"}},
        {"$dateDiff": {"startDate": "$d", "endDate": "$d", "unit": "day", "binSize": 1}},
        {"$dateAdd": {"startDate": "$d", "unit": "day"}},
        {"$dateFromParts": {"month": 1}},
        {"$dateFromParts": {"year": 10000}},
        {"$dateFromParts": {"year": 2024, "isoWeek": 1}},
        {"$dateFromParts": {"year": 2024, "isoWeekYear": 2024}},
    ],
)
def test_what_no_document_could_make_right_does_not_compile(expression):
    """What no document makes right does not compile."""
    with pytest.raises(MqlError):
        compile_expression(expression, Scope())


DATES = st.integers(-62_135_596_800_000, 253_402_300_799_999)
ZONES = st.sampled_from(["UTC", NEW_YORK, "Europe/London", "Asia/Kolkata", "+05:30", "Pacific/Apia"])


@given(DATES)
def test_calendar_agrees_with_python(milliseconds):
    """In the years that Python has, dates have the parts that they have there."""
    moment = EPOCH + timedelta(milliseconds=milliseconds)
    iso = moment.isocalendar()
    expected = [moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second,
                moment.microsecond // 1000, moment.isoweekday() % 7 + 1, moment.timetuple().tm_yday,
                int(moment.strftime("%U")), iso.weekday, iso.week, iso.year]  # fmt: skip
    assert parts(DatetimeMS(milliseconds)) == expected


@given(
    st.integers(MIN_LONG + 10**15, MAX_LONG - 10**15),
    st.sampled_from(["year", "quarter", "month", "week", "day", "hour"]),
)
def test_calendar_repeats_every_400_years(milliseconds, unit):
    """Everything about a date stays the same 146097 days later."""
    later = milliseconds + 146_097 * 86_400_000 * (1 if milliseconds < 0 else -1)
    one, other = parts(DatetimeMS(milliseconds)), parts(DatetimeMS(later))
    assert one[1:12] == other[1:12]
    assert abs(one[0] - other[0]) == 400
    expression = {"$dateTrunc": {"date": "$d", "unit": unit}}
    first, second = (int(value_of(expression, d=DatetimeMS(date))) for date in (milliseconds, later))
    assert first - second == milliseconds - later


@given(DATES, ZONES, st.sampled_from(["year", "quarter", "month", "week", "day", "hour", "minute", "second"]))
def test_a_date_is_in_the_bin_that_it_is_truncated_to(milliseconds, zone, unit):
    """From the start of a bin to a date in it no unit begins, and the start of a bin is its own start."""
    arguments = {"unit": unit, "timezone": zone}
    start = value_of({"$dateTrunc": {"date": "$d", **arguments}}, d=DatetimeMS(milliseconds))
    assert int(start) <= milliseconds
    if unit in ("year", "quarter", "month", "week", "day"):
        expression = {"$dateDiff": {"startDate": "$s", "endDate": "$d", **arguments}}
        assert value_of(expression, s=start, d=DatetimeMS(milliseconds)) == 0
    assert value_of({"$dateTrunc": {"date": "$d", **arguments}}, d=start) == start
