// zero-cache's own code.

import {join} from 'node:path';
import {env} from 'node:process';
import {pathToFileURL} from 'node:url';

const zero = join(env.ZERO_NODE_MODULES, '@rocicorp', 'zero', 'out');

// A module of Zero, by its path in the package.
export const load = path => import(pathToFileURL(join(zero, path)).href);
