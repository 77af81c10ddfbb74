// What one statement gives in a replica: {"file", "sql", "parameters"}. Gives an object for each row.

import {openReplica} from './replica.mjs';

export default function* queryReplica({file, sql, parameters}) {
  const db = openReplica(file);
  try {
    yield* db.prepare(sql).iterate(...parameters);
  } finally {
    db.close();
  }
}
