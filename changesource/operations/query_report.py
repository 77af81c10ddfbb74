"""What is known of the named queries of an app before anybody asks: their arguments, the tables that they read, and the rules
that are put in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from changesource.errors import UnknownVersion
from changesource.models import App, Version
from changesource.publishing.exports.typescript_types import argument_type
from changesource.publishing.release import Release
from changesource.queries.arguments import Arguments
from changesource.queries.bodies import Body, IfNull, NoBody, Unusable, body_of
from changesource.queries.builder import Tables
from changesource.queries.registry import NamedQuery, registry
from changesource.queries.restriction import Restriction
from changesource.queries.transform import names_in
from changesource.queries.written import WrittenQuery, written_queries
from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition


@dataclass(frozen=True, slots=True)
class QueryReport:
    """One named query.

    Attributes:
        place: where it is declared: the path of a function, or `the app's definition`.
        arguments: the type of its arguments in TypeScript, empty if it takes none.
        rules: table that it reads → number of select rules that are put in there. None if that is not known.
        problem: why it does not work with this definition, empty if it does as far as is known.
        unknown: why clients get no copy of it, empty if they do.
    """

    name: str
    place: str
    arguments: str
    rules: Mapping[str, int] | None = None
    problem: str = ""
    unknown: str = ""

    def lines(self) -> Iterator[str]:
        """It in words."""
        yield f"{self.name} ({self.place})"
        yield f"  arguments: {self.arguments or 'none'}"
        if self.problem:
            yield f"  does not work: {self.problem}"
        elif self.rules is None:
            yield "  reads: not known before it is asked for"
        for table, count in (self.rules or {}).items():
            rules = "no rules: shows nothing" if not count else f"{count} rule{'s' if count > 1 else ''}"
            yield f"  reads: {table} ({rules})"
        if self.unknown:
            yield f"  cannot be followed, so clients have to write its body: {self.unknown}"


def report_on_queries(app: App, *, draft: bool) -> list[QueryReport]:
    """The named queries of an app over its version in force, or over its draft. Those that are written with the app come
    last.

    Raises `UnknownVersion`.
    """
    definition = _definition(app, draft=draft)
    scope = RuleScope(definition)
    queries: dict[str, NamedQuery | WrittenQuery] = {**registry.of_app(app.app_id), **written_queries(definition)}
    return [_report(named, scope) for named in queries.values()]


def _definition(app: App, *, draft: bool) -> AppDefinition:
    if draft:
        return Release.of_draft(app).definition
    version = Version.objects.newest(app)
    if version is None:
        raise UnknownVersion(f"{app} has never been published. Publish it, or look at its draft.")
    return version.to_definition()


def _report(named: NamedQuery | WrittenQuery, scope: RuleScope) -> QueryReport:
    arguments = Arguments.of(named)
    type_ = argument_type(arguments, arguments.schema) if arguments.are_taken else ""
    place = "the app's definition"
    if isinstance(named, NamedQuery):
        place = f"{named.function.__module__}.{named.function.__qualname__}"
    match body_of(named, Tables(scope)):
        case Unusable(reason):
            return QueryReport(named.name, place, type_, problem=reason)
        case NoBody(reason):
            return QueryReport(named.name, place, type_, unknown=reason)
        case body:
            restriction = Restriction(scope)
            rules = {name: len(restriction.rules(scope.tables[name])) for name in sorted(_tables_of(body))}
            return QueryReport(named.name, place, type_, rules)


def _tables_of(body: Body) -> set[str]:
    if isinstance(body, IfNull):
        return _tables_of(body.null) | _tables_of(body.otherwise)
    return {name for name, _ in names_in(body.ast)}
