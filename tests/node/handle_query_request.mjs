// Answers requests for named queries with @rocicorp/zero's own `handleQueryRequest`: {"schema", "queries", "requests"}. A query,
// under its dotted name, is {"program": … as in build_query.mjs, "arguments": null or {name: {"type", "default"?}, …}}. In a
// program, {"$arg": name} stands for an argument. A request is {"body": text, "userID": text or null}. "answers" are answers of
// ours, which are read as zero-cache does.
//
// Gives each of our answers, and then the answer to each request, with normalized ASTs.

import {query} from './build_query.mjs';
import {load} from './zero.mjs';

const {parse} = await load('shared/src/valita.js');
const {normalizeAST} = await load('zero-protocol/src/ast.js');
const {queryResponseSchema} = await load('zero-protocol/src/query-server.js');
const {handleQueryRequest} = await load('zero-server/src/queries/process-queries.js');
const {defineQueries, defineQuery, mustGetQuery} = await load('zql/src/query/query-registry.js');

export default async function* handleQueryRequests({schema, queries, requests, answers}) {
  for (const answer of answers ?? []) {
    yield normalized(parse(answer, queryResponseSchema));
  }
  const registry = defineQueries(definitions(schema, queries));
  const handler = (name, args) => mustGetQuery(registry, name).fn({args, ctx: undefined});
  for (const {body, userID} of requests ?? []) {
    const request = new Request('http://localhost/', {method: 'POST', body});
    const {error} = console;
    console.error = () => {};  // It reports each request that it cannot read.
    try {
      yield normalized(await handleQueryRequest({handler, schema, request, userID}));
    } finally {
      console.error = error;
    }
  }
}

function definitions(schema, queries) {
  const root = {};
  for (const [name, {program, arguments: declared}] of Object.entries(queries ?? {})) {
    const path = name.split('.');
    const last = path.pop();
    const parent = path.reduce((each, word) => (each[word] ??= {}), root);
    const make = ({args}) => query(schema, filled(program, args));
    parent[last] = declared ? defineQuery({'~standard': {version: 1, vendor: 'tests', validate: validator(declared)}}, make) : defineQuery(make);
  }
  return root;
}

// As Pydantic checks a strict model.
function validator(declared) {
  return (value = {}) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return {issues: [{message: 'not an object', path: []}]};
    }
    const issues = [];
    const found = {};
    for (const [name, {type, default: standard}] of Object.entries(declared)) {
      if (!Object.hasOwn(value, name)) {
        if (standard === undefined) {
          issues.push({message: 'missing', path: [name]});
        }
        found[name] = standard;
      } else if (typeof value[name] !== type) {
        issues.push({message: 'of another type', path: [name]});
      } else {
        found[name] = value[name];
      }
    }
    return issues.length > 0 ? {issues} : {value: found};
  };
}

function filled(value, args) {
  if (Array.isArray(value)) {
    return value.map(member => filled(member, args));
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  if (Object.hasOwn(value, '$arg')) {
    return args[value.$arg];
  }
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, filled(member, args)]));
}

function normalized(answer) {
  return answer.queries
    ? {...answer, queries: answer.queries.map(each => (each.ast ? {...each, ast: normalizeAST(each.ast)} : each))}
    : answer;
}
