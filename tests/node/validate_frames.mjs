// Validates the frames of a change stream as zero-cache does.
//
//   ZERO_NODE_MODULES=…/node_modules node validate_frames.mjs < FRAMES
//
// Reads one WebSocket text frame a line. Prints {"line": n, "error": "…"} for each bad one, counted from 1, and at the end
// {"frames": N, "bad": M}. Exits with 1 if there is a bad one.

import {join} from 'node:path';
import {env, stdin} from 'node:process';
import {pathToFileURL} from 'node:url';

const zero = join(env.ZERO_NODE_MODULES, '@rocicorp', 'zero', 'out');
const load = path => import(pathToFileURL(join(zero, path)).href);
const {v0} = await load('zero/src/change-protocol/v0.js');
// The functions that zero-cache's types/streams.js reads a frame with.
const {BigIntJSON} = await load('shared/src/bigint-json.js');
const {parse} = await load('shared/src/valita.js');

let frames = 0;
let bad = 0;
for await (const line of lines(stdin)) {
  frames++;
  try {
    parse(BigIntJSON.parse(line), v0.changeStreamMessageSchema, 'passthrough');
  } catch (error) {
    bad++;
    console.log(JSON.stringify({line: frames, error: String(error?.message ?? error)}));
  }
}
console.log(JSON.stringify({frames, bad}));
process.exitCode = bad ? 1 : 0;

// Not node:readline, which also splits at U+2028 and U+2029, and these may stand in JSON.
async function* lines(input) {
  let rest = '';
  for await (const chunk of input.setEncoding('utf8')) {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop();
    yield* parts;
  }
  if (rest) {
    yield rest;
  }
}
