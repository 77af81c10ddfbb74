// Answers queries under row-level permissions with zero-cache's own code: {"cases": [case, …]}.
//
// In a case all names are server names, and every table has the primary key `key`:
//   {"tables": {name: {"columns": {name: {"type", "optional"?}}, "rows": [{…}]}},    (JSON in rows is text)
//    "permissions": …, "queries": [{"table", "claims"}]}
// Gives for each case the keys of the rows that each query shows, {"sqlite": [[key, …], …], "memory": …}: as zero-cache has the
// rows, in SQLite, and as its incremental views look at changes. Permissions that zero-cache would not read give {"invalid": "…"}.

import {lc, memorySources, nodesOf, pipelineOf, sqliteSources} from './pipelines.mjs';
import {load} from './zero.mjs';

const {parse} = await load('shared/src/valita.js');
const {permissionsConfigSchema} = await load('zero-schema/src/compiled-permissions.js');
const {transformAndHashQuery} = await load('zero-cache/src/auth/read-authorizer.js');
const {skipYields} = await load('zql/src/ivm/skip-yields.js');

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
  const found = [];
  for (const node of nodesOf(pipelineOf(transformedAst, sources))) {
    found.push(node.row.key);
    // Related rows are looked for as the views of zero-cache do it, by reading them.
    for (const related of Object.values(node.relationships)) {
      for (const _ of skipYields(related())) {
      }
    }
  }
  return found;
}
