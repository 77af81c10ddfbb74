"""The names of before for scripts that import them: `changesource.mql` has what compiles MongoDB's language."""

from changesource.mql.errors import MappingError
from changesource.mql.filters import compile_filter
from changesource.mql.pipeline import compile_mapping

__all__ = ["MappingError", "compile_filter", "compile_mapping"]
