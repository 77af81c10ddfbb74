// A client of zero-cache: @rocicorp/zero itself, with its storage in memory.
//
//   ZERO_NODE_MODULES=…/node_modules node client.mjs
//
// Reads commands from stdin, one JSON object a line:
//   {"connect": {"server", "schema", "userID"?, "auth"?}}   the first one; `schema` is in Zero's JSON form
//   {"watch": NAME, "table": TABLE, "calls": [[METHOD, …ARGUMENTS], …]}   a client-defined query: builder[TABLE].METHOD(…)…
//   the same with "named": QUERY, "args": […]   a named query, of which the client's own copy is builder[TABLE].METHOD(…)…
//   {"forget": NAME}
//   {"login": TOKEN}   connects again with this token
//   {"connectAgain": true}   connects, also from a state that the client does not leave by itself
//   {"close": true}   so does the end of stdin
//
// Prints what happens, one JSON object a line, until {"event": "closed"}:
//   {"event": "state", "name": "connected", "reason"?}
//   {"event": "rows", "query": NAME, "type": "unknown" | "complete" | "error", "rows": […], "error"?}
//   {"event": "updateNeeded", "type": "SchemaVersionNotSupported", "message"}
//   {"event": "clientStateNotFound"}
//   {"event": "refused", "command", "message"}   a command that could not be done

import {join} from 'node:path';
import {env, stdin} from 'node:process';
import {createInterface} from 'node:readline';
import {pathToFileURL} from 'node:url';

const {Zero, createBuilder} = await import(
  pathToFileURL(join(env.ZERO_NODE_MODULES, '@rocicorp', 'zero', 'out', 'zero', 'src', 'zero.js')).href
);

let zero;
let builder;
const views = new Map();

for await (const line of createInterface({input: stdin})) {
  const command = JSON.parse(line);
  try {
    await run(command);
  } catch (error) {
    print({event: 'refused', command, message: error.message});
  }
  if (command.close) {
    break;
  }
}
await zero?.close();
print({event: 'closed'});
// Timers of the client that outlive it would keep the process.
process.exit();

async function run({connect, watch, table, calls, named, args, forget, login, connectAgain}) {
  if (connect) {
    open(connect);
  } else if (watch) {
    forgetView(watch);
    const built = calls.reduce((query, [method, ...given]) => query[method](...given), builder[table]);
    const query = named ? built.nameAndArgs(named, args) : built;
    const view = zero.materialize(query);
    views.set(watch, view);
    // The rows that it has by now are the listener's first call.
    view.addListener((rows, type, error) => print({event: 'rows', query: watch, type, rows, error}));
  } else if (forget) {
    forgetView(forget);
  } else if (login) {
    await zero.connection.connect({auth: login});
  } else if (connectAgain) {
    await zero.connection.connect();
  }
}

function open({server, schema, userID, auth}) {
  zero = new Zero({
    server,
    // Without this, queries that are no endpoint's are not sent.
    schema: {...schema, enableLegacyQueries: true},
    userID,
    auth,
    kvStore: 'mem',
    logLevel: 'error',
    logSink: {log: (level, context, ...args) => console.error(level, JSON.stringify(context), ...args)},
    onUpdateNeeded: ({type, message}) => print({event: 'updateNeeded', type, message}),
    onClientStateNotFound: () => print({event: 'clientStateNotFound'}),
  });
  builder = createBuilder(schema);
  print({event: 'state', ...zero.connection.state.current});
  zero.connection.state.subscribe(state => print({event: 'state', ...state}));
}

function forgetView(name) {
  views.get(name)?.destroy();
  views.delete(name);
}

function print(event) {
  console.log(JSON.stringify(event));
}
