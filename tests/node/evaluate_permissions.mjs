// Answers queries under row-level permissions with zero-cache's own code: {"cases": [case, …]}.
//
// In a case all names are server names, and every table has the primary key `key`:
//   {"tables": {name: {"columns": {name: {"type", "optional"?}}, "rows": [{…}]}},    (JSON in rows is text)
//    "permissions": …, "queries": [{"table", "claims"}]}
// Gives for each case the keys of the rows that each query shows, {"sqlite": [[key, …], …], "memory": …}: as zero-cache has the
// rows, in SQLite, and as its incremental views look at changes. Permissions that zero-cache would not read give {"invalid": "…"}.

import {join} from 'node:path';
import {env} from 'node:process';
import {pathToFileURL} from 'node:url';

const zero = join(env.ZERO_NODE_MODULES, '@rocicorp', 'zero', 'out');
const load = path => import(pathToFileURL(join(zero, path)).href);
const {createSilentLogContext} = await load('shared/src/logging-test-utils.js');
const {parse} = await load('shared/src/valita.js');
const {permissionsConfigSchema} = await load('zero-schema/src/compiled-permissions.js');
const {transformAndHashQuery} = await load('zero-cache/src/auth/read-authorizer.js');
const {buildPipeline} = await load('zql/src/builder/builder.js');
const {MemorySource} = await load('zql/src/ivm/memory-source.js');
const {MemoryStorage} = await load('zql/src/ivm/memory-storage.js');
const {skipYields} = await load('zql/src/ivm/skip-yields.js');
const {Database} = await load('zqlite/src/db.js');
const {TableSource} = await load('zqlite/src/table-source.js');

const lc = createSilentLogContext();
const logConfig = {format: 'text', level: 'error', ivmSampling: 0, slowHydrateThreshold: 0, slowRowThreshold: 0};
const sqliteTypes = {string: 'text', number: 'float8', boolean: 'bool', json: 'json'};
const key = ['key'];

export default function* evaluatePermissions({cases}) {
  for (const each of cases) {
    yield evaluate(each);
  }
}

function evaluate({tables, permissions, queries}) {
  let parsed;
  try {
    parsed = parse(permissions, permissionsConfigSchema);
  } catch (error) {
    return {invalid: String(error?.message ?? error)};
  }
  const answer = makeSource => queries.map(query => visible(makeSource, parsed, query));
  return {sqlite: answer(sqliteSources(tables)), memory: answer(memorySources(tables))};
}

function visible(sources, permissions, {table, claims}) {
  const query = {table};
  const {transformedAst} = transformAndHashQuery(lc, 'q', query, permissions, {decoded: claims}, false);
  const input = buildPipeline(
    transformedAst,
    {
      getSource: name => sources[name],
      createStorage: () => new MemoryStorage(),
      decorateInput: input => input,
      decorateSourceInput: input => input,
      decorateFilterInput: input => input,
      addEdge() {},
      enableNotExists: true,
    },
    'q',
  );
  const found = [];
  input.setOutput({push() {}});
  for (const node of skipYields(input.fetch({}))) {
    found.push(node.row.key);
    // Related rows are looked for as the views of zero-cache do it, by reading them.
    for (const related of Object.values(node.relationships)) {
      for (const _ of skipYields(related())) {
      }
    }
  }
  return found;
}

export function sqliteSources(tables) {
  const database = new Database(lc, ':memory:');
  return eachTable(tables, (name, columns, rows) => {
    const declared = Object.entries(columns).map(([column, {type}]) => `"${column}" "${sqliteTypes[type]}"`);
    database.exec(`CREATE TABLE "${name}" (${declared.join(', ')})`);
    database.exec(`CREATE UNIQUE INDEX "${name}:key" ON "${name}" ("key")`);
    const names = Object.keys(columns);
    const insert = database.prepare(`INSERT INTO "${name}" VALUES (${names.map(() => '?').join(', ')})`);
    for (const row of rows) {
      // As the replicator of zero-cache has them: JSON is text, booleans are numbers (types/lite.ts).
      insert.run(...names.map(column => (typeof row[column] === 'boolean' ? Number(row[column]) : row[column])));
    }
    return new TableSource(lc, logConfig, database, name, columns, key);
  });
}

export function memorySources(tables) {
  return eachTable(tables, (name, columns, rows) => {
    const source = new MemorySource(name, columns, key);
    for (const row of rows) {
      const values = Object.entries(row).map(([column, value]) => [
        column,
        columns[column].type === 'json' && value !== null ? JSON.parse(value) : value,
      ]);
      for (const _ of source.push([0, Object.fromEntries(values)])) {
      }
    }
    return source;
  });
}

function eachTable(tables, make) {
  return Object.fromEntries(
    Object.entries(tables).map(([name, {columns, rows}]) => [name, make(name, columns, rows)]),
  );
}
