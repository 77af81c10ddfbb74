"""Pure: what documents become. No Django, no I/O.

Scripts may rely on what is exported here: `compile_filter`, `compile_mapping`, `MappingError`.
"""

from changesource.mapping.compiled_mapping import compile_mapping
from changesource.mapping.filters import compile_filter
from changesource.mapping.mapping_error import MappingError

__all__ = ["MappingError", "compile_filter", "compile_mapping"]
