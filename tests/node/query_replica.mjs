// Prints what one statement gives in a zero-cache replica, as NDJSON, an object for each row.
//
//   ZERO_NODE_MODULES=…/node_modules node query_replica.mjs REPLICA_FILE SQL [PARAMETER…]

import {createRequire} from 'node:module';
import {join} from 'node:path';
import {argv, env} from 'node:process';

const [replicaFile, sql, ...parameters] = argv.slice(2);
const require = createRequire(join(env.ZERO_NODE_MODULES, 'resolved-from-here.js'));
const Database = require('@rocicorp/zero-sqlite3');

const db = new Database(replicaFile, {readonly: true, fileMustExist: true});
for (const row of db.prepare(sql).iterate(...parameters)) {
  console.log(JSON.stringify(row));
}
db.close();
