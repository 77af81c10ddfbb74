"""MongoDB's query and expression language over documents, without Django and without I/O.

Scripts may rely on what is exported here: `compile_filter`, `compile_mapping`, `MappingError`.
"""

from changesource.mql.errors import MappingError
from changesource.mql.filters import compile_filter
from changesource.mql.pipeline import compile_mapping

__all__ = ["MappingError", "compile_filter", "compile_mapping"]
