// The rows of a replica: {"file", "tables"}, no tables meaning all that zero-cache does not use itself.
//
// Gives one {"meta": {…, "tables": […]}}, then one {"table": …, "row": {…}} for each row. All are of one moment.

import {openReplica} from './replica.mjs';

export default function* readReplica({file, tables}) {
  const db = openReplica(file);
  try {
    db.defaultSafeIntegers(true);
    db.exec('BEGIN');
    const named = tables.length ? tables : userTables(db);
    yield {meta: {...readMeta(db), tables: named}};
    for (const table of named) {
      for (const row of db.prepare(`SELECT * FROM ${quoted(table)}`).iterate()) {
        yield {table, row};
      }
    }
    db.exec('ROLLBACK');
  } finally {
    db.close();
  }
}

function readMeta(db) {
  return db
    .prepare(
      `SELECT c.replicaVersion, c.publications, s.stateVersion
         FROM "_zero.replicationConfig" c JOIN "_zero.replicationState" s ON c.lock = s.lock`,
    )
    .get();
}

function userTables(db) {
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
