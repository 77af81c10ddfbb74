"""MongoDB's query language, aggregation expressions and pipelines over documents, in Python and without a server.

This module is the whole face of the package: others import from here and from no module inside, and nothing inside imports
another room of the project. README.md shows how it is used. It offers

- pipelines: `compile_pipeline` gives a `CompiledPipeline`, which turns a document into documents and knows what it reads;
- filters: `compile_filter` gives a predicate at once; `parse_filter` gives a tree (`And`, `Compare`, …) of which other rooms
  make something else, and `compile_predicate` a predicate of that tree;
- budgets: a `Budget` bounds what one document may cost;
- text: pipelines and filters as MongoDB's Extended JSON, and a strict reader of JSON;
- values: BSON's types as PyMongo decodes them, and which of them MongoDB holds to be equal.

What is wrong with any of these raises `MqlError`, with its place.
"""

from changesource.mql.bson_types import (
    MAX_LONG,
    MIN_LONG,
    MISSING,
    NUMBERS,
    TYPE_NUMBERS,
    Undecodable,
    fields_of_reference,
    long_or_int,
    milliseconds_of,
    without_references,
)
from changesource.mql.budget import Budget, BudgetExceeded
from changesource.mql.equality_keys import equality_key
from changesource.mql.errors import MqlError
from changesource.mql.expressions import WHOLE_DOCUMENT
from changesource.mql.filters import compile_filter
from changesource.mql.filters.predicate import compile_predicate, compile_value_test
from changesource.mql.filters.syntax import parse_filter, parse_value_filter
from changesource.mql.filters.tree import (
    And,
    Compare,
    ElemMatchValue,
    Exists,
    Filter,
    HasRemainder,
    HasSize,
    HasType,
    In,
    MatchesPattern,
    Nor,
    Not,
    Or,
    Related,
    Variable,
    VariableCondition,
    filter_fields,
    walk,
)
from changesource.mql.nesting import check_nesting
from changesource.mql.ordering import regex_parts
from changesource.mql.pipeline import CompiledPipeline, compile_pipeline
from changesource.mql.stages import Shape
from changesource.mql.strict_json import StrictJSONDecoder
from changesource.mql.text import normal_mapping_text, read_mapping_text

__all__ = [
    "MAX_LONG",
    "MIN_LONG",
    "MISSING",
    "NUMBERS",
    "TYPE_NUMBERS",
    "WHOLE_DOCUMENT",
    "And",
    "Budget",
    "BudgetExceeded",
    "Compare",
    "CompiledPipeline",
    "ElemMatchValue",
    "Exists",
    "Filter",
    "HasRemainder",
    "HasSize",
    "HasType",
    "In",
    "MatchesPattern",
    "MqlError",
    "Nor",
    "Not",
    "Or",
    "Related",
    "Shape",
    "StrictJSONDecoder",
    "Undecodable",
    "Variable",
    "VariableCondition",
    "check_nesting",
    "compile_filter",
    "compile_pipeline",
    "compile_predicate",
    "compile_value_test",
    "equality_key",
    "fields_of_reference",
    "filter_fields",
    "long_or_int",
    "milliseconds_of",
    "normal_mapping_text",
    "parse_filter",
    "parse_value_filter",
    "read_mapping_text",
    "regex_parts",
    "walk",
    "without_references",
]
