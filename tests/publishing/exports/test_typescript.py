"""The schema as TypeScript, compiled by the real `tsc --strict` and run by Node."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from changesource.publishing.exports.typescript import typescript_schema
from changesource.publishing.exports.zero_json import zero_schema
from changesource.tables.definition import AppDefinition
from tests.publishing.exports.definitions import EVERYTHING, publishable_definitions, table
from zerosources.embedded.node import ensure_packages, node_executable

pytestmark = pytest.mark.not_fast

COMPILER_OPTIONS: dict[str, Any] = {
    "strict": True,
    "declaration": True,
    "exactOptionalPropertyTypes": True,
    "noEmit": True,
    "noUnusedLocals": True,
    "noUncheckedIndexedAccess": True,
    "verbatimModuleSyntax": True,
    "allowImportingTsExtensions": True,
    "module": "nodenext",
    "target": "esnext",
    "skipLibCheck": True,
    "types": [],
}

PRINT_SCHEMAS = """
for (const file of process.argv.slice(1)) {
  const {schema, zql} = await import(file);
  if (Object.keys(schema.tables).some(name => zql[name] === undefined)) throw new Error(`${file}: no builder`);
  console.log(JSON.stringify(schema));
}
"""

USE_OF_EVERYTHING = """
import type {ReadonlyJSONValue} from "@rocicorp/zero";
import {schema, zql, type CustomerRow, type OrderItemsRow, type OrderItemsRow2, type Schema} from "./schema-0.ts";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(answer: Same<A, B>): boolean => answer;

same<OrderItemsRow, {
  readonly _id: string;
  readonly class: string;
  readonly price: number | null;
  readonly is_paid: boolean;
  readonly tags: ReadonlyJSONValue;
  readonly "meta-data": ReadonlyJSONValue | null;
  readonly customer: string | null;
}>(true);
same<OrderItemsRow2, {readonly _id: string; readonly n: number}>(true);
same<CustomerRow, {readonly _id: string; readonly referrer: string | null}>(true);
same<typeof schema, Schema>(true);

export const queries = [
  zql["order-items"].where("price", ">", 1).related("buyer"),
  zql.customer.related("labels", labels => labels.where("_id", "x").limit(1)).related("orders"),
  zql.customer.whereExists("referred-by").orderBy("_id", "desc").one(),
];
// @ts-expect-error There is no such column.
zql.customer.where("nope", "x");
// @ts-expect-error The column holds numbers.
zql["order-items"].where("price", "much");
// @ts-expect-error There is no such relationship.
zql.customer.related("nope");
"""


class Folder:
    """A folder with exported schemas, `schema-0.ts` and so on, that sees the packages."""

    def __init__(self, path: Path, definitions: Sequence[AppDefinition]) -> None:
        self.path = path
        self.files = [path / f"schema-{index}.ts" for index in range(len(definitions))]
        for file, definition in zip(self.files, definitions, strict=True):
            file.write_text(typescript_schema(definition))
        (path / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER_OPTIONS, "include": ["*.ts"]}))
        (path / "package.json").write_text('{"type": "module"}')
        (path / "node_modules").symlink_to(ensure_packages())

    def compile(self) -> str:
        """What `tsc --strict` says to the files of the folder."""
        return self._node(str(ensure_packages() / "typescript" / "bin" / "tsc"), "--project", str(self.path))

    def schemas(self) -> list[dict[str, Any]]:
        """What createSchema makes of them, as JSON."""
        output = self._node("--input-type=module", "--eval", PRINT_SCHEMAS, *map(str, self.files))
        return [json.loads(line) for line in output.split("\n") if line]

    def _node(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(node_executable()), "--disable-warning=ExperimentalWarning", *arguments],
            cwd=self.path,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == 0 or done.stdout, done.stderr
        return done.stdout + done.stderr


@contextmanager
def folder(*definitions: AppDefinition) -> Iterator[Folder]:
    with TemporaryDirectory() as path:
        yield Folder(Path(path), definitions)


def test_the_typescript_has_the_expected_text() -> None:
    definition = AppDefinition(
        "shop", "default", EVERYTHING.tables[:1] + EVERYTHING.tables[2:5], EVERYTHING.relationships
    )
    assert typescript_schema(definition) == Path(__file__).with_name("expected_schema.ts").read_text()


def test_everything_compiles() -> None:
    """Each thing that a schema can say passes `tsc --strict`, with the types of rows and queries that it promises."""
    with folder(EVERYTHING, AppDefinition("shop", "default", (table("city"),))) as exported:
        (exported.path / "use.ts").write_text(USE_OF_EVERYTHING)
        assert exported.compile() == ""


def test_a_wrong_type_does_not_compile(tmp_path: Path) -> None:
    """So the test above can fail."""
    exported = Folder(tmp_path, [EVERYTHING])
    (tmp_path / "use.ts").write_text(USE_OF_EVERYTHING.replace("price: number | null", "price: number"))
    assert "use.ts" in exported.compile()


def test_everything_equals_the_json_export() -> None:
    """Down to the order of the keys of createSchema's result."""
    with folder(EVERYTHING) as exported:
        (schema,) = exported.schemas()
    assert json.dumps(schema) == json.dumps(zero_schema(EVERYTHING))


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(definitions=st.lists(publishable_definitions, min_size=15, max_size=30))
def test_schemas_with_odd_names_compile_and_equal_the_json_export(definitions: list[AppDefinition]) -> None:
    with folder(*definitions) as exported:
        assert exported.compile() == ""
        assert exported.schemas() == [zero_schema(definition) for definition in definitions]


def test_strings_are_escaped() -> None:
    """Also what could not be published cannot leave its string."""
    names = ['"', "\\", "`${process.exit()}`", "*/", "\u2028", "é", "\ud800", "</script>", "\n", "1"]
    definitions = [AppDefinition("shop", "default", (table(name),)) for name in names]
    with folder(*definitions) as exported:
        assert exported.compile() == ""
        assert exported.schemas() == [zero_schema(definition) for definition in definitions]
