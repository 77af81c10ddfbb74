// Reads the frames of a change stream as zero-cache does: {"frames": [text, …]}. Gives {"index": n, "error": "…"} for each bad one.

import {load} from './zero.mjs';

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
