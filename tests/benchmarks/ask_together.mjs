// One zero-cache whose client groups ask at once, with the fetch that zero-cache has.
//
//   node ask_together.mjs
//
// Reads {"url", "headers", "bodies"} from a line of stdin, and prints a line. After another line of stdin, it posts all bodies,
// for which fetch opens a connection each, and prints {"slowest": seconds of one request}. Fails if one is not answered with an
// AST for each query.

import {stdin} from 'node:process';
import {createInterface} from 'node:readline';

const lines = createInterface({input: stdin})[Symbol.asyncIterator]();
const {url, headers, bodies} = JSON.parse((await lines.next()).value);
console.log('ready');
await lines.next();
let slowest = 0;

async function ask(body) {
  const asked = performance.now();
  const answer = await fetch(url, {method: 'POST', headers, body});
  const {queries} = await answer.json();
  if (!queries?.every(query => query.ast)) {
    throw new Error(`${answer.status}: ${JSON.stringify(queries)}`);
  }
  slowest = Math.max(slowest, performance.now() - asked);
}

await Promise.all(bodies.map(ask));
console.log(JSON.stringify({slowest: slowest / 1000}));
process.exit();
