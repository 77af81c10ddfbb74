// Opens replicas. They are in SQLite's wal2 mode, which only zero-cache's own build of SQLite can read.

import {createRequire} from 'node:module';
import {join} from 'node:path';
import {env} from 'node:process';

const require = createRequire(join(env.ZERO_NODE_MODULES, 'resolved-from-here.js'));
const Database = require('@rocicorp/zero-sqlite3');

export function openReplica(file) {
  return new Database(file, {readonly: true, fileMustExist: true});
}
