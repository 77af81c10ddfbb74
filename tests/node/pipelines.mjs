// Tables of rows as zero-cache has them, and the pipelines in which it looks for the rows of an AST.
//
// Tables: {name: {"columns": {name: {"type", "optional"?}}, "rows": [{…}]}}, each with the primary key `key`. JSON in rows is text.

import {load} from './zero.mjs';

const {createSilentLogContext} = await load('shared/src/logging-test-utils.js');
const {buildPipeline} = await load('zql/src/builder/builder.js');
const {MemorySource} = await load('zql/src/ivm/memory-source.js');
const {MemoryStorage} = await load('zql/src/ivm/memory-storage.js');
const {skipYields} = await load('zql/src/ivm/skip-yields.js');
const {Database} = await load('zqlite/src/db.js');
const {TableSource} = await load('zqlite/src/table-source.js');

export const lc = createSilentLogContext();
const logConfig = {format: 'text', level: 'error', ivmSampling: 0, slowHydrateThreshold: 0, slowRowThreshold: 0};
const sqliteTypes = {string: 'text', number: 'float8', boolean: 'bool', json: 'json'};
const key = ['key'];

// The input that has the rows of `ast`. Nothing is done with what changes later.
export function pipelineOf(ast, sources) {
  const input = buildPipeline(
    ast,
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
  input.setOutput({push() {}});
  return input;
}

// The rows that `input` has now, as nodes.
export function nodesOf(input) {
  return skipYields(input.fetch({}));
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
