// The fan-out most people would write first: node with `ws`, every message of /pub goes to all of /sub.
// Prints its port.
'use strict';
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, backlog: 4096, perMessageDeflate: false });
const viewers = new Set();

server.on('connection', (socket, request) => {
  if (request.url === '/pub') {
    socket.on('message', (data) => {
      for (const viewer of viewers) viewer.send(data, { binary: false });
    });
    return;
  }
  viewers.add(socket);
  socket.on('close', () => viewers.delete(socket));
});
server.on('listening', () => console.log(server.address().port));
