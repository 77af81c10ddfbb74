// Answers questions about zero-cache with its own code. Starting Node takes longer than most of the answers.
//
//   ZERO_NODE_MODULES=…/node_modules node tools.mjs
//
// Reads requests, a JSON object a line: {"tool": …} and what the tool of that name (TOOL.mjs) asks for. Prints for each what the
// tool says, a JSON object a line, and then {"$end": null}, or {"$end": "what went wrong"}.

import {once} from 'node:events';
import {stdin, stdout} from 'node:process';

for await (const line of lines(stdin)) {
  const {tool, ...request} = JSON.parse(line);
  let error = null;
  try {
    const {default: answer} = await import(`./${tool}.mjs`);
    for await (const item of answer(request)) {
      await print(item);
    }
  } catch (thrown) {
    error = String(thrown?.message ?? thrown);
  }
  await print({$end: error});
}

async function print(item) {
  if (!stdout.write(JSON.stringify(item, marked) + '\n')) {
    await once(stdout, 'drain');
  }
}

// What JSON has no room for is marked: {"$int64": "…"} for integers beyond 2^53, {"$base64": "…"} for blobs.
function marked(key, value) {
  // JSON.stringify has called a Buffer's toJSON by now; the original is still in `this`.
  const original = this[key];
  if (Buffer.isBuffer(original)) {
    return {$base64: original.toString('base64')};
  }
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : {$int64: value.toString()};
  }
  return value;
}

// Not node:readline, which also splits at U+2028 and U+2029, and these may stand in JSON.
async function* lines(input) {
  let rest = '';
  for await (const chunk of input.setEncoding('utf8')) {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop();
    yield* parts;
  }
}
