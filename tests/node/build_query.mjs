// Builds queries with ZQL's own builder, and normalizes ASTs: {"cases": [case, …]}. A case is
//
//   {"schema": {"tables", "relationships"}, "program": {"table", "steps": [step, …]}, "asts": [AST, …]}
//
// with steps ["where", COND], ["whereColumn", column, value], ["whereColumn", column, operator, value],
// ["whereExists", relationship, steps or null, flip or null], ["related", relationship, steps or null], ["orderBy", column, direction],
// ["limit", count], ["one"], ["start", row, inclusive], and conditions ["cmp", column, value], ["cmp", column, operator, value],
// ["cmpLit", left, operator, right], ["and", [COND or null, …]], ["or", […]], ["not", COND],
// ["exists", relationship, steps or null, flip or null].
//
// Gives for each case {"asts": [those of the case, normalized], "hashes": [those by which zero-cache recognizes them]} and, of the
// program if there is one, {"built": AST, "mapped": AST with server names, normalized} or {"thrown": "…"}.

import {load} from './zero.mjs';

const {parse} = await load('shared/src/valita.js');
const {astSchema, mapAST, normalizeAST} = await load('zero-protocol/src/ast.js');
const {hashOfAST} = await load('zero-protocol/src/query-hash.js');
const {clientToServer} = await load('zero-schema/src/name-mapper.js');
const {createBuilder} = await load('zql/src/query/create-builder.js');
const {asQueryInternals} = await load('zql/src/query/query-internals.js');

export default function* buildQueries({cases}) {
  for (const {schema, program, asts = []} of cases) {
    yield {
      asts: asts.map(ast => normalizeAST(parse(ast, astSchema))),
      hashes: asts.map(ast => hashOfAST(ast)),
      ...(program ? built(schema, program) : {}),
    };
  }
}

function built(schema, program) {
  try {
    const {ast} = asQueryInternals(query(schema, program));
    return {built: parse(ast, astSchema), mapped: normalizeAST(mapAST(ast, clientToServer(schema.tables)))};
  } catch (error) {
    return {thrown: String(error?.message ?? error)};
  }
}

export function query(schema, {table, steps}) {
  return follow(createBuilder(schema)[table], steps);
}

function follow(query, steps) {
  return steps.reduce((each, step) => take(each, step), query);
}

function take(query, [method, ...rest]) {
  switch (method) {
    case 'where':
      return query.where(builder => condition(builder, rest[0]));
    case 'whereColumn':
      return query.where(...rest);
    case 'whereExists': {
      const [relationship, steps, flip] = rest;
      return query.whereExists(relationship, ...subquery(steps, flip).filter(each => each !== undefined));
    }
    case 'related': {
      const [relationship, steps] = rest;
      return query.related(relationship, ...subquery(steps, null));
    }
    case 'start': {
      const [row, inclusive] = rest;
      return query.start(row, {inclusive});
    }
    default:
      return query[method](...rest);
  }
}

function condition(builder, written) {
  if (written === null) {
    return undefined;
  }
  const [kind, ...rest] = written;
  switch (kind) {
    case 'and':
    case 'or':
      return builder[kind](...rest[0].map(member => condition(builder, member)));
    case 'not':
      return builder.not(condition(builder, rest[0]));
    case 'exists': {
      const [relationship, steps, flip] = rest;
      return builder.exists(relationship, ...subquery(steps, flip));
    }
    default:
      return builder[kind](...rest);
  }
}

function subquery(steps, flip) {
  return [steps === null ? undefined : each => follow(each, steps), flip === null ? undefined : {flip}];
}
