"""What must hold for any bytes. Each module has a `check`, which raises if it does not hold."""

from collections.abc import Callable, Mapping

from tests.fuzzing.targets import fields, mapping_text, mappings, markers, requests, rows, transforms, upstream

CHECKS: Mapping[str, Callable[[bytes], None]] = {
    "mapping_text": mapping_text.check,
    "mappings": mappings.check,
    "requests": requests.check,
    "rows": rows.check,
    "transforms": transforms.check,
    "upstream": upstream.check,
    "fields": fields.check,
    "markers": markers.check,
}
"""By the name of a target, which is also that of its folder of seeds, its folder of findings and its dictionary."""
