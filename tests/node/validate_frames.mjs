// Reads the frames of a change stream as zero-cache does: {"frames": [text, …]}. Gives {"index": n, "error": "…"} for each bad one.

import {join} from 'node:path';
import {env} from 'node:process';
import {pathToFileURL} from 'node:url';

const zero = join(env.ZERO_NODE_MODULES, '@rocicorp', 'zero', 'out');
const load = path => import(pathToFileURL(join(zero, path)).href);
const {v0} = await load('zero/src/change-protocol/v0.js');
// The functions that zero-cache's types/streams.js reads a frame with.
const {BigIntJSON} = await load('shared/src/bigint-json.js');
const {parse} = await load('shared/src/valita.js');

export default function* validateFrames({frames}) {
  for (const [index, frame] of frames.entries()) {
    try {
      parse(BigIntJSON.parse(frame), v0.changeStreamMessageSchema, 'passthrough');
    } catch (error) {
      yield {index, error: String(error?.message ?? error)};
    }
  }
}
