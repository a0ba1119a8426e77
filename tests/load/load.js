// SPDX-License-Identifier: GPL-3.0-or-later
// Clients of two kinds at once: those that open a new connection for every request, and those that keep
// theirs. The latter POST, because a client may silently repeat a GET whose kept connection has gone.
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { sleep } from 'k6';

const CLIENTS = Number(__ENV.LOAD_CLIENTS);
const PAUSE = Number(__ENV.LOAD_PAUSE_SECONDS);
const answers = new Counter('answers');

const clients = (exec) => ({
    executor: 'constant-vus', vus: CLIENTS, duration: `${__ENV.LOAD_SECONDS}s`, gracefulStop: '300s', exec,
});

export const options = {
    scenarios: { new_connection: clients('newConnection'), keep_alive: clients('keepAlive') },
    systemTags: ['status', 'error_code', 'error', 'scenario'],
    discardResponseBodies: false,
};

function count(response) {
    answers.add(1, { release: response.headers['X-Release'] || 'none' });
    sleep(PAUSE);
}

export function newConnection() {
    count(http.get(__ENV.LOAD_URL, { headers: { Connection: 'close' }, timeout: '300s' }));
}

export function keepAlive() {
    count(http.post(__ENV.LOAD_URL, 'ping', { timeout: '300s' }));
}
