// One zero-cache whose client groups ask at once, with the fetch that zero-cache has.
//
//   node ask_together.mjs
//
// Reads {"url", "headers", "bodies", "connections"} from a line of stdin, and prints a line. After another line of stdin, it
// posts the bodies over so many connections, and prints {"slowest": seconds of one request}. Fails if one is not answered with
// an AST for each query.

import {stdin} from 'node:process';
import {createInterface} from 'node:readline';

const lines = createInterface({input: stdin})[Symbol.asyncIterator]();
const {url, headers, bodies, connections} = JSON.parse((await lines.next()).value);
console.log('ready');
await lines.next();
let slowest = 0;

async function ask() {
  for (let body = bodies.pop(); body !== undefined; body = bodies.pop()) {
    const asked = performance.now();
    const answer = await fetch(url, {method: 'POST', headers, body});
    const {queries} = await answer.json();
    if (!queries?.every(query => query.ast)) {
      throw new Error(`${answer.status}: ${JSON.stringify(queries)}`);
    }
    slowest = Math.max(slowest, performance.now() - asked);
  }
}

await Promise.all(Array.from({length: connections}, ask));
console.log(JSON.stringify({slowest: slowest / 1000}));
process.exit();
