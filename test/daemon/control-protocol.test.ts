import t from 'tap';
import { parseControlRequest, type ControlRequest } from '../../src/daemon/control-protocol.js';

const REQUESTS: readonly ControlRequest[] = [
  { method: 'stats' },
  { method: 'status', limit: 0 },
  { method: 'status', limit: 1000 },
  { method: 'snapshot', rebase: false, message: '', author: 'somebody@somewhere' },
];

t.test('a request is what it was when it was sent, less what nobody asked for', async (t) => {
  for (const request of REQUESTS) {
    t.same(parseControlRequest(JSON.stringify(request)), request);
    t.same(parseControlRequest(JSON.stringify({ ...request, more: true })), request);
  }
});

t.test('whatever else comes over the control socket is no request', async (t) => {
  for (const line of [
    '',
    'stats',
    '{',
    'null',
    '[]',
    '"stats"',
    '{}',
    '{"method":"stop"}',
    '{"method":["stats"]}',
    '{"method":"status"}',
    '{"method":"status","limit":-1}',
    '{"method":"status","limit":1.5}',
    '{"method":"status","limit":"10"}',
    '{"method":"snapshot","message":"","author":null}',
    '{"method":"snapshot","author":"a"}',
  ]) {
    t.equal(parseControlRequest(line), undefined, line);
  }
});
