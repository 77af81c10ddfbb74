// Prints the rows of a zero-cache replica as NDJSON.
//
//   ZERO_NODE_MODULES=…/node_modules node read_replica.mjs REPLICA_FILE [TABLE…]
//
// One {"meta": {…, "tables": […]}}, then one {"table": …, "row": {…}} for each row of the named tables, or of all tables that zero-cache
// itself does not use. All of one moment. What JSON has no room for is marked: {"$int64": "…"} for integers beyond 2^53,
// {"$base64": "…"} for blobs. The replica is in SQLite's wal2 mode, which only zero-cache's own build of SQLite can read.

import {createRequire} from 'node:module';
import {once} from 'node:events';
import {join} from 'node:path';
import {argv, env, stdout} from 'node:process';

const [replicaFile, ...namedTables] = argv.slice(2);
const require = createRequire(join(env.ZERO_NODE_MODULES, 'resolved-from-here.js'));
const Database = require('@rocicorp/zero-sqlite3');

const db = new Database(replicaFile, {readonly: true, fileMustExist: true});
db.defaultSafeIntegers(true);
db.exec('BEGIN');

const tables = namedTables.length ? namedTables : userTables();
await print({meta: {...readMeta(), tables}});
for (const table of tables) {
  for (const row of db.prepare(`SELECT * FROM ${quoted(table)}`).iterate()) {
    await print({table, row});
  }
}
db.exec('ROLLBACK');
db.close();

function readMeta() {
  return db
    .prepare(
      `SELECT c.replicaVersion, c.publications, s.stateVersion
         FROM "_zero.replicationConfig" c JOIN "_zero.replicationState" s ON c.lock = s.lock`,
    )
    .get();
}

function userTables() {
  return db
    .prepare(
      `SELECT name FROM sqlite_master
        WHERE type = 'table' AND substr(name, 1, 6) <> '_zero.' AND substr(name, 1, 7) <> 'sqlite_' ORDER BY name`,
    )
    .pluck()
    .all();
}

function quoted(name) {
  return `"${name.replaceAll('"', '""')}"`;
}

async function print(line) {
  if (!stdout.write(JSON.stringify(line, marked) + '\n')) {
    await once(stdout, 'drain');
  }
}

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
