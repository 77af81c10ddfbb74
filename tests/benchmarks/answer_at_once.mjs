// A server that answers each request at once, with the same text.
//
//   node answer_at_once.mjs
//
// Reads the text from a line of stdin, and prints {"port"}.

import {createServer} from 'node:http';
import {stdin} from 'node:process';
import {createInterface} from 'node:readline';

const {value: answer} = await createInterface({input: stdin})[Symbol.asyncIterator]().next();
const server = createServer((request, response) => {
  request.resume();
  request.on('end', () => response.setHeader('Content-Type', 'application/json').end(answer));
});
server.listen(0, '127.0.0.1', 1024, () => console.log(JSON.stringify({port: server.address().port})));
