// Runs exported queries as a client does: {"module": "/path/schema.ts", "cases": [{"name", "args"?, "ctx"?}, …]}.
//
// Gives for each case the query that its function builds, {"ast", "format"}, or {"error": "…"}.

import {pathToFileURL} from 'node:url';

export default async function* runQueries({module, cases}) {
  const {queries} = await import(pathToFileURL(module).href);
  for (const {name, args, ctx} of cases) {
    const query = name.split('.').reduce((place, part) => place[part], queries);
    try {
      const {ast, format} = query.fn({args, ctx});
      yield {ast, format};
    } catch (error) {
      yield {error: error.message};
    }
  }
}
