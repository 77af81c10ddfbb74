// The reference: how long @rocicorp/zero's own handler takes for one request.
//
//   ZERO_NODE_MODULES=…/node_modules node handle_queries.mjs
//
// Reads {"schema", "queries", "seconds"} from stdin. Prints {"cpu": milliseconds of processor time for one request}.

import {join} from 'node:path';
import {cpuUsage, env, stdin} from 'node:process';
import {pathToFileURL} from 'node:url';

const zero = name => import(pathToFileURL(join(env.ZERO_NODE_MODULES, '@rocicorp', 'zero', 'out', 'zero', 'src', name)).href);
const {createBuilder, defineQueries, defineQuery, mustGetQuery} = await zero('zero.js');
const {handleQueryRequest} = await zero('server.js');

let text = '';
for await (const chunk of stdin.setEncoding('utf8')) {
  text += chunk;
}
const {schema, queries, seconds} = JSON.parse(text);
const zql = createBuilder(schema);
const named = defineQueries({
  issues: {
    byNumber: defineQuery(({args}) =>
      zql.issue.where('number', args.number).related('members').related('labels').orderBy('text', 'asc').limit(100)),
  },
});
const body = JSON.stringify(['transform', queries]);

async function once() {
  const answer = await handleQueryRequest({
    handler: (name, args) => mustGetQuery(named, name).fn({args, ctx: {}}),
    schema,
    body: JSON.parse(body),
    userID: 'ada',
    logLevel: 'error',
  });
  const sent = JSON.stringify(answer);
  if (answer.kind !== 'QueryResponse' || !answer.queries.every(query => query.ast)) {
    throw new Error(sent);
  }
}

await measure(seconds / 3);
console.log(JSON.stringify(await measure(seconds)));

async function measure(duration) {
  const before = cpuUsage();
  const started = performance.now();
  let count = 0;
  while (performance.now() - started < duration * 1000) {
    await once();
    count += 1;
  }
  const {user, system} = cpuUsage(before);
  return {cpu: (user + system) / 1000 / count};
}
