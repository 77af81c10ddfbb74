"""What is known of the arguments of a query: the JSON values that clients send.

A function reads attributes of the model, and a client has the JSON that the model is made of. `steps` leads from one to the
other.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, get_args

from pydantic import BaseModel, RootModel, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from changesource.queries.registry import NamedQuery
from changesource.queries.written import ArgumentType, WrittenQuery

Schema = Mapping[str, Any]
"""A JSON schema."""

_TEXTS: Final = ("Aa ", "Aaaaaaaa", "a", "1", "2020-02-02", "2020-02-02T02:02:02Z", "a@example.com")
"""Texts for examples of arguments, most telling first: a validator that changes texts changes the first of them."""
_MAX_EXAMPLES: Final = 200


class UnclearArgument(Exception):
    """A function reads something that no client knows. The message says what, and why."""


@dataclass(frozen=True, slots=True)
class Step:
    """The member `key` of an object, with what stands in its place if the object does not have it. `schema` is that of its
    values."""

    key: str
    schema: Schema
    is_required: bool
    default: Any = None


class Arguments:
    """The arguments of one query: those of a function have a `model`, those of a written query a `schema`. Without either, it
    takes none."""

    def __init__(self, model: type[BaseModel] | None, schema: Schema | None = None) -> None:
        self._model = model
        self._schema = schema
        self.are_taken = model is not None or schema is not None

    @classmethod
    def of(cls, named: NamedQuery | WrittenQuery) -> Arguments:
        if isinstance(named, NamedQuery):
            return cls(named.arguments)
        return cls(None, _written_schema(named.arguments) if named.arguments else None)

    @cached_property
    def schema(self) -> Schema:
        """The JSON schema of what clients send. `{}` allows everything, which is all that is known of some models."""
        if self._model is None:
            return self._schema or {}
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # it warns of defaults that are no JSON, which then have no place in the schema
            try:
                return self._model.model_json_schema(mode="validation")
            except (PydanticUserError, PydanticSchemaGenerationError):
                return {}

    @property
    def may_be_left_out(self) -> bool:
        """A client may send no argument at all."""
        if not self.are_taken:
            return False
        resolved = self.resolved(self.schema)
        return resolved.get("type") == "object" and not resolved.get("required")

    def resolved(self, schema: Schema) -> Schema:
        """`schema`, or what it refers to."""
        while "$ref" in schema or len(schema.get("allOf", ())) == 1:
            if "$ref" not in schema:
                schema = schema["allOf"][0]
                continue
            schema = self.schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        return schema

    def alternatives(self, schema: Schema) -> Iterator[Schema]:
        """The schemas of which a value has to fit one, none of which has alternatives itself."""
        schema = self.resolved(schema)
        inner = schema.get("anyOf") or schema.get("oneOf")
        if inner:
            for each in inner:
                yield from self.alternatives(each)
        elif isinstance(schema.get("type"), list):
            yield from ({**schema, "type": name} for name in schema["type"])
        else:
            yield schema

    def may_be_null(self, schema: Schema) -> bool:
        return any(_is_null(each) or not each for each in self.alternatives(schema))

    def steps(self, path: tuple[str, ...]) -> tuple[Step, ...]:
        """How a client gets at what a function reads as the attributes `path`. Raises `UnclearArgument`."""
        found: list[Step] = []
        model: type[BaseModel] | None = self._model
        schema = self.schema
        for index, name in enumerate(path):
            place = ".".join(("args", *path[: index + 1]))
            key = name
            if model is not None:
                field = None if issubclass(model, RootModel) else model.model_fields.get(name)
                if field is None:
                    raise UnclearArgument(f"{place} is worked out by the server.")
                if field.validation_alias is not None and not isinstance(field.validation_alias, str):
                    raise UnclearArgument(f"{place} has an alias that is not one name.")
                key = field.validation_alias or name
                models = list(_models(field.annotation))
                model = models[0] if len(models) == 1 else None
            step = self._step(schema, key, place)
            schema = step.schema
            found.append(step)
        return tuple(found)

    def _step(self, schema: Schema, key: str, place: str) -> Step:
        objects = [each for each in self.alternatives(schema) if each.get("type") == "object" or not each]
        if len(objects) != 1:
            raise UnclearArgument(f"{place} is worked out by the server.")
        if key not in objects[0].get("properties", {}):
            return Step(key, {}, is_required=False)
        property_schema = objects[0]["properties"][key]
        if key in objects[0].get("required", ()):
            return Step(key, property_schema, is_required=True)
        if "default" not in property_schema:
            raise UnclearArgument(f"{place} has a default that is worked out by the server.")
        return Step(key, property_schema, is_required=False, default=property_schema["default"])

    def value(self, argument: Any, path: tuple[str, ...]) -> Any:
        """What a client finds there in `argument`, None if nothing is there. Raises `UnclearArgument`."""
        for step in self.steps(path):
            argument = argument.get(step.key, step.default) if isinstance(argument, dict) else None
        return argument

    def examples(self) -> Iterator[tuple[str, Any]]:
        """Arguments that the model takes, each with the name of the member in which it differs from the first one. The first
        one has all members. There are none if examples are hard to find, and the fields of the model have no `examples`."""
        if self._model is None:
            yield "", None
            return
        schema = self.resolved(self.schema)
        for text in _TEXTS:
            members = {
                key: [*_given_examples(each), *self._example_values(each, text, 0)]
                for key, each in schema.get("properties", {}).items()
            }
            if any(not values for values in members.values()):
                return
            first = {key: values[0] for key, values in members.items()}
            if self._takes(self._model, first):
                break
        else:
            return
        yield "", first
        others = [(key, {**first, key: value}) for key, values in members.items() for value in values[1:]]
        others += [(key, {name: first[name] for name in first if name != key}) for key in first]
        yield from [(key, each) for key, each in others if self._takes(self._model, each)][:_MAX_EXAMPLES]

    @staticmethod
    def _takes(model: type[BaseModel], argument: Any) -> bool:
        try:
            model.model_validate(argument)
        except ValidationError:
            return False
        return True

    def _example_values(self, schema: Schema, text: str, depth: int) -> Iterator[Any]:
        if depth > 5:
            return
        for each in self.alternatives(schema):
            match each:
                case {"enum": values}:
                    yield from values
                case {"const": value}:
                    yield value
                case {"type": "string"}:
                    yield text
                case {"type": "integer" | "number"}:
                    yield _number(each)
                case {"type": "boolean"}:
                    yield from (True, False)
                case {"type": "null"}:
                    yield None
                case {"type": "array", "items": items}:
                    inner = list(self._example_values(items, text, depth + 1))
                    yield from ([value] for value in inner)
                case {"type": "object", "properties": properties}:
                    found = {
                        key: list(self._example_values(member, text, depth + 1)) for key, member in properties.items()
                    }
                    if all(found.values()):
                        first = {key: values[0] for key, values in found.items()}
                        yield first
                        for key, values in found.items():
                            yield from ({**first, key: value} for value in values[1:])
                case {"type": "object"} | {"type": "array"}:
                    yield {} if each["type"] == "object" else []


def _written_schema(arguments: Mapping[str, ArgumentType]) -> Schema:
    properties: dict[str, Schema] = {}
    for name, kind in arguments.items():
        one: Schema = {"type": "array", "items": {"type": kind.kind}} if kind.is_list else {"type": kind.kind}
        properties[name] = {"anyOf": [one, {"type": "null"}], "default": None} if kind.is_optional else one
    required = [name for name, kind in arguments.items() if not kind.is_optional]
    return {"type": "object", "properties": properties, "required": required}


def _given_examples(schema: Schema) -> list[Any]:
    examples = schema.get("examples")
    return examples if isinstance(examples, list) else []


def _is_null(schema: Schema) -> bool:
    return (
        schema.get("type") == "null"
        or ("const" in schema and schema["const"] is None)
        or None in schema.get("enum", ())
    )


def _number(schema: Schema) -> Any:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + step)
    return -(-low // step) * step if "minimum" in schema or "exclusiveMinimum" in schema else schema.get("maximum", 3)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for each in get_args(annotation):
        yield from _models(each)
