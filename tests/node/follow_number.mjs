// Prints, each time that the column n of a table's only row changes in a zero-cache replica, the number and when it was seen
// (milliseconds since 1970). Until its standard input ends.
//
//   ZERO_NODE_MODULES=…/node_modules node follow_number.mjs REPLICA_FILE TABLE

import {createRequire} from 'node:module';
import {writeSync} from 'node:fs';
import {join} from 'node:path';
import {argv, env, exit, stdin} from 'node:process';

const POLL_MS = 10;
const BUSY_MS = 5000;

const [replicaFile, table] = argv.slice(2);
const require = createRequire(join(env.ZERO_NODE_MODULES, 'resolved-from-here.js'));
const Database = require('@rocicorp/zero-sqlite3');

const db = new Database(replicaFile, {readonly: true, fileMustExist: true, timeout: BUSY_MS});
const number = db.prepare(`SELECT n FROM "${table.replaceAll('"', '""')}"`).pluck();
let last;

setInterval(() => {
  const found = number.get();
  if (found !== last && found !== undefined) {
    last = found;
    writeSync(1, `${found} ${Date.now()}\n`);
  }
}, POLL_MS);

// What started it may be killed, and nobody would end it then.
stdin.on('end', () => exit());
stdin.resume();
