// Says which rows zero-cache syncs for ASTs: {"cases": [{"tables": … as in pipelines.mjs, "asts": [AST, …]}]}.
//
// Gives for each case {"hashes": [those by which zero-cache recognizes the ASTs], "found": [answer, …]}, and in an answer, for each
// of "sqlite" (as zero-cache has the rows), "memory" (as its incremental views look at changes), "cheap" and "dear" (with two plans,
// of which one begins at the related rows wherever that is allowed):
//   {"root": [key, …], "related": {table: [key, …]}, "exists": {table: [key, …]}, "flips": number}
// Rows behind an EXISTS are apart, since zero-cache looks for three of them at most. Rows of the system `permissions` are not synced.

import {memorySources, nodesOf, pipelineOf, sqliteSources} from './pipelines.mjs';
import {load} from './zero.mjs';

const {parse} = await load('shared/src/valita.js');
const {astSchema} = await load('zero-protocol/src/ast.js');
const {hashOfAST} = await load('zero-protocol/src/query-hash.js');
const {skipYields} = await load('zql/src/ivm/skip-yields.js');
const {completeOrdering} = await load('zql/src/query/complete-ordering.js');
const {planQuery} = await load('zql/src/planner/planner-builder.js');

export default function* hydrateAsts({cases}) {
  for (const {tables, asts} of cases) {
    const parsed = asts.map(ast => parse(ast, astSchema));
    const sqlite = sqliteSources(tables);
    const memory = memorySources(tables);
    yield {
      hashes: parsed.map(ast => hashOfAST(ast)),
      found: parsed.map(ast => ({
        sqlite: hydrated(sqlite, ast),
        memory: hydrated(memory, ast),
        cheap: hydrated(sqlite, planned(memory, ast, costs(Object.keys(tables).sort()))),
        dear: hydrated(memory, planned(memory, ast, costs(Object.keys(tables).sort().reverse()))),
      })),
    };
  }
}

function planned(sources, ast, costModel) {
  return planQuery(completeOrdering(ast, name => sources[name].tableSchema.primaryKey), costModel);
}

// Each table is a hundred times as large as the one before it.
function costs(names) {
  return (table, _sort, _filters, constraint) => ({
    startupCost: 0,
    rows: constraint ? 1 : 100 ** (1 + names.indexOf(table)),
    fanout: () => ({fanout: 1, confidence: 'high'}),
  });
}

function hydrated(sources, ast) {
  const input = pipelineOf(ast, sources);
  const found = {root: [], related: {}, exists: {}, flips: flips(ast)};
  for (const node of nodesOf(input)) {
    found.root.push(node.row.key);
    collect(node, input.getSchema(), found, 'related');
  }
  input.destroy();
  return found;
}

// As `#streamNodes` of zero-cache's pipeline-driver.js.
function collect(node, schema, found, place) {
  for (const [alias, nodes] of Object.entries(node.relationships)) {
    const below = schema.relationships[alias];
    const there = alias.startsWith('zsubq_') ? 'exists' : place;
    for (const child of skipYields(nodes())) {
      if (below.system !== 'permissions') {
        const keys = (found[there][below.tableName] ??= []);
        if (!keys.includes(child.row.key)) {
          keys.push(child.row.key);
        }
        collect(child, below, found, there);
      }
    }
  }
}

function flips(value) {
  if (typeof value !== 'object' || value === null) {
    return 0;
  }
  return Object.values(value).reduce((sum, each) => sum + flips(each), value.flip === true ? 1 : 0);
}
