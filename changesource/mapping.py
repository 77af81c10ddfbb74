"""Former names, kept for scripts that import them. New code imports from `changesource.mql`."""

from changesource.mql import MqlError as MappingError
from changesource.mql import compile_filter
from changesource.mql import compile_pipeline as compile_mapping

__all__ = ["MappingError", "compile_filter", "compile_mapping"]
