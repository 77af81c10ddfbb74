"""Operators on dates.

MongoDB: src/mongo/db/exec/expression/evaluate_date.cpp. In place of a date, an ObjectId or a timestamp stands for the time
in it. Null or missing in any argument makes the result null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bson import DatetimeMS, Int64

from changesource.mql.bson_types import is_nullish, type_name
from changesource.mql.budget import FREE_CHARACTERS
from changesource.mql.errors import MqlError
from changesource.mql.expressions.coercions import date_milliseconds, whole_number
from changesource.mql.expressions.compiler import (
    BUDGET,
    Document,
    Node,
    Scope,
    Variables,
    compile_within,
    constant,
    folded,
    named_arguments,
    special,
)
from changesource.mql.expressions.date_formats import FormatDate, compile_format, default_format
from changesource.mql.expressions.date_units import (
    DAYS_OF_WEEK,
    UNITS,
    Unit,
    add,
    difference,
    truncate,
    within_dates,
)
from changesource.mql.expressions.gregorian import MILLISECONDS_PER_DAY, Moment, days_of, iso_day_of_week, moment_of
from changesource.mql.expressions.time_zones import UTC_ZONE, TimeZone, time_zone

STEPS: Final = 24
"""The cost of an operator that uses the calendar and a time zone."""

# Arguments: constants are read once, others for each document


def _named_nodes(
    name: str, specification: Any, scope: Scope, required: Sequence[str], optional: Sequence[str]
) -> dict[str, Node]:
    arguments = named_arguments(name, specification, required, optional)
    return {argument: compile_within(argument, value, scope) for argument, value in arguments.items()}


def _read(node: Node, read: Callable[[Any], Any]) -> Node:
    """The argument with `read` applied to its value; None for null and missing. The result is not a BSON value."""

    def read_value(value: Any) -> Any:
        return None if is_nullish(value) else read(value)

    if node.is_constant:
        return _fixed(read_value(node.value))
    evaluate = node.evaluate
    return Node(lambda document, variables: read_value(evaluate(document, variables)))


def _fixed(value: Any) -> Node:
    return Node(lambda _, __: value, is_constant=True)


def _apply_unless_null(function: Callable[..., Any], arguments: Sequence[Node], gives: set[str], scope: Scope) -> Node:
    """`function` over the arguments, which are evaluated in order. The first null among them is the result."""
    evaluates = [argument.evaluate for argument in arguments]

    def evaluate(document: Document, variables: Variables) -> Any:
        values = []
        for argument in evaluates:
            value = argument(document, variables)
            if value is None:
                return None
            values.append(value)
        return function(*values)

    return folded(evaluate, arguments, frozenset(gives | {"null"}), scope)


def _same(value: Any) -> Any:
    return value


def _zone_node(name: str, nodes: Mapping[str, Node]) -> Node:
    if "timezone" not in nodes:
        return _fixed(UTC_ZONE)
    return _read(nodes["timezone"], lambda value: time_zone(_text(name, "timezone", value)))


def _unit_node(name: str, nodes: Mapping[str, Node]) -> Node:
    """A `Unit`, made of `unit` and, if that is a week, `startOfWeek`."""
    unit = _read(nodes["unit"], lambda value: _unit_name(name, value))
    if "startOfWeek" not in nodes or (unit.is_constant and unit.value != "week"):
        return _read(unit, Unit)
    week_start = _read(nodes["startOfWeek"], lambda value: _day_of_week(name, value))

    def evaluate(document: Document, variables: Variables) -> Unit | None:
        unit_name = unit.evaluate(document, variables)
        if unit_name != "week":
            return None if unit_name is None else Unit(unit_name)
        day = week_start.evaluate(document, variables)
        return None if day is None else Unit(unit_name, day)

    is_constant = unit.is_constant and week_start.is_constant
    return _fixed(evaluate({}, {})) if is_constant else Node(evaluate)


def _text(name: str, argument: str, value: Any) -> str:
    if type_name(value) == "string":
        return str(value)
    raise MqlError(f"{name} takes a string as {argument}, not {type_name(value)}.")


def _unit_name(name: str, value: Any) -> str:
    unit = _text(name, "unit", value)
    if unit not in UNITS:
        raise MqlError(f"{name} has no such unit. Take one of {', '.join(sorted(UNITS))}.")
    return unit


def _day_of_week(name: str, value: Any) -> int:
    day = DAYS_OF_WEEK.get(_text(name, "startOfWeek", value).lower())
    if day is None:
        raise MqlError(f"{name} has no such startOfWeek. Take one of {', '.join(DAYS_OF_WEEK)}.")
    return day


def _integer(name: str, argument: str, value: Any) -> int:
    number = whole_number(value)
    if number is None:
        raise MqlError(f"{name} takes a whole number of 64 bits as {argument}, not {type_name(value)}.")
    return number


# Text


@special("$dateToString", steps=STEPS)
def _date_to_string(specification: Any, scope: Scope) -> Node:
    name = "$dateToString"
    nodes = _named_nodes(name, specification, scope, ("date",), ("format", "timezone", "onNull"))
    date, on_null = nodes["date"], nodes.get("onNull") or constant(None)
    zone = _zone_node(name, nodes)
    format_node = _fixed(default_format)
    if "format" in nodes:
        format_node = _read(nodes["format"], lambda value: compile_format(_format_text(name, value)))

    def evaluate(document: Document, variables: Variables) -> Any:
        format_date: FormatDate | None = format_node.evaluate(document, variables)
        at: TimeZone | None = zone.evaluate(document, variables)
        value = date.evaluate(document, variables)
        if is_nullish(value):
            return on_null.evaluate(document, variables)
        if at is None or format_date is None:
            return None
        text = format_date(date_milliseconds(name, value), at)
        if len(text) > FREE_CHARACTERS:
            variables[BUDGET].make_text(len(text))
            variables[BUDGET].spend_steps(len(text))  # each part of the format may be a single character
        return text

    gives = None if on_null.gives is None else on_null.gives | {"string", "null"}
    return folded(evaluate, nodes.values(), gives, scope)


MAX_FORMAT_LENGTH: Final = 1024
"""The usual format has about twenty characters. Each of its parts costs a call."""


def _format_text(name: str, value: Any) -> str:
    text = _text(name, "format", value)
    if len(text) > MAX_FORMAT_LENGTH:
        raise MqlError(f"{name} takes at most {MAX_FORMAT_LENGTH} characters as its format.")
    return text


# Counting with units


@special("$dateTrunc", steps=STEPS)
def _date_trunc(specification: Any, scope: Scope) -> Node:
    name = "$dateTrunc"
    nodes = _named_nodes(name, specification, scope, ("date", "unit"), ("binSize", "timezone", "startOfWeek"))
    bin_size = _read(nodes["binSize"], _bin_size) if "binSize" in nodes else _fixed(1)

    def date_trunc(date: Any, bin_size: int, unit: Unit, zone: TimeZone) -> DatetimeMS:
        return DatetimeMS(truncate(date_milliseconds(name, date), unit, bin_size, zone))

    arguments = [_read(nodes["date"], _same), bin_size, _unit_node(name, nodes), _zone_node(name, nodes)]
    return _apply_unless_null(date_trunc, arguments, {"date"}, scope)


def _bin_size(value: Any) -> int:
    size = _integer("$dateTrunc", "binSize", value)
    if size < 1:
        raise MqlError("$dateTrunc takes a binSize of 1 or more.")
    return size


@special("$dateDiff", steps=STEPS)
def _date_diff(specification: Any, scope: Scope) -> Node:
    name = "$dateDiff"
    nodes = _named_nodes(name, specification, scope, ("startDate", "endDate", "unit"), ("timezone", "startOfWeek"))

    def date_diff(start: Any, end: Any, unit: Unit, zone: TimeZone) -> Int64:
        return Int64(difference(date_milliseconds(name, start), date_milliseconds(name, end), unit, zone))

    dates = [_read(nodes["startDate"], _same), _read(nodes["endDate"], _same)]
    return _apply_unless_null(date_diff, [*dates, _unit_node(name, nodes), _zone_node(name, nodes)], {"long"}, scope)


def _register_date_arithmetic(name: str, sign: int) -> None:
    def date_arithmetic(start: Any, unit: Unit, amount: Any, zone: TimeZone) -> DatetimeMS:
        date, count = date_milliseconds(name, start), _integer(name, "amount", amount)
        return DatetimeMS(add(date, unit.name, sign * count, zone))

    @special(name, steps=STEPS)
    def _date_arithmetic(specification: Any, scope: Scope) -> Node:
        nodes = _named_nodes(name, specification, scope, ("startDate", "unit", "amount"), ("timezone",))
        start, amount = _read(nodes["startDate"], _same), _read(nodes["amount"], _same)
        arguments = [start, _unit_node(name, nodes), amount, _zone_node(name, nodes)]
        return _apply_unless_null(date_arithmetic, arguments, {"date"}, scope)


_register_date_arithmetic("$dateAdd", 1)
_register_date_arithmetic("$dateSubtract", -1)


# Parts of dates

Part = Callable[[Moment], int]


def _register_part(name: str, part: Part, gives: str = "int") -> None:
    """Registers an operator whose argument is a date, or an object with `date` and `timezone`, or an array of either."""

    def part_of_date(date: Any, zone: TimeZone) -> int:
        return part(moment_of(zone.local(date_milliseconds(name, date))))

    @special(name, steps=STEPS)
    def _part_of_date(specification: Any, scope: Scope) -> Node:
        if isinstance(specification, list | tuple):
            if len(specification) != 1:
                raise MqlError(f"{name} takes 1 argument, not {len(specification)}.")
            specification = specification[0]
        if isinstance(specification, Mapping) and not any(key.startswith("$") for key in specification):
            nodes = _named_nodes(name, specification, scope, ("date",), ("timezone",))
        else:
            nodes = {"date": compile_within("[0]", specification, scope)}
        return _apply_unless_null(part_of_date, [_read(nodes["date"], _same), _zone_node(name, nodes)], {gives}, scope)


for _name, _part in {
    "$year": lambda moment: moment.year,
    "$month": lambda moment: moment.month,
    "$dayOfMonth": lambda moment: moment.day,
    "$hour": lambda moment: moment.hour,
    "$minute": lambda moment: moment.minute,
    "$second": lambda moment: moment.second,
    "$millisecond": lambda moment: moment.millisecond,
    "$dayOfWeek": lambda moment: moment.day_of_week,
    "$dayOfYear": lambda moment: moment.day_of_year,
    "$week": lambda moment: moment.week,
    "$isoDayOfWeek": lambda moment: moment.iso_day_of_week,
    "$isoWeek": lambda moment: moment.iso_week,
}.items():
    _register_part(_name, _part)
_register_part("$isoWeekYear", lambda moment: Int64(moment.iso_week_year), "long")


# Dates from their parts

MIN_PART, MAX_PART = -(2**15), 2**15 - 1
"""MongoDB's bounds for all parts except years, seconds and milliseconds."""

_TIME_PARTS = ("hour", "minute", "second", "millisecond")
_DAY_PARTS = {"year": ("month", "day"), "isoWeekYear": ("isoWeek", "isoDayOfWeek")}


@special("$dateFromParts", steps=STEPS)
def _date_from_parts(specification: Any, scope: Scope) -> Node:
    """Parts beyond their range carry over: month 13 is the next January."""
    name = "$dateFromParts"
    is_iso = isinstance(specification, Mapping) and "isoWeekYear" in specification
    year = "isoWeekYear" if is_iso else "year"
    day_parts = _DAY_PARTS[year]
    nodes = _named_nodes(name, specification, scope, (year,), (*day_parts, *_TIME_PARTS, "timezone"))

    def part_node(part: str, default: int) -> Node:
        return _read(nodes[part], lambda value: _part_value(part, value)) if part in nodes else _fixed(default)

    days = _days_of_iso_week if is_iso else _days_of_month
    zone_node = _zone_node(name, nodes)

    def date_from_parts(hour: int, minute: int, second: int, millisecond: int, zone: TimeZone, *day: int) -> DatetimeMS:
        time_of_day = ((hour * 60 + minute) * 60 + second) * 1000 + millisecond
        return DatetimeMS(within_dates(zone.instant(days(*day) * MILLISECONDS_PER_DAY + time_of_day)))

    time_nodes = [part_node(part, 0) for part in _TIME_PARTS]
    day_nodes = [part_node(part, 1) for part in (year, *day_parts)]
    return _apply_unless_null(date_from_parts, [*time_nodes, zone_node, *day_nodes], {"date"}, scope)


def _part_value(part: str, value: Any) -> int:
    number = _integer("$dateFromParts", part, value)
    if part in ("year", "isoWeekYear"):
        least, most = 1, 9999
    elif part in ("second", "millisecond"):
        return number
    else:
        least, most = MIN_PART, MAX_PART
    if not least <= number <= most:
        raise MqlError(f"$dateFromParts takes a {part} from {least} to {most}.")
    return number


def _days_of_month(year: int, month: int, day: int) -> int:
    years, month_index = divmod(month - 1, 12)
    return days_of(year + years, month_index + 1, day)


def _days_of_iso_week(year: int, week: int, day_of_week: int) -> int:
    """The first week of a year is the one with January 4."""
    january_4 = days_of(year, 1, 4)
    return january_4 - iso_day_of_week(january_4) + (week - 1) * 7 + day_of_week
