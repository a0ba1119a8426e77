// SPDX-License-Identifier: GPL-3.0-or-later
// Clients of two kinds at once: those that open a new connection for every request, and those that keep
// theirs. The latter POST, because a client may silently repeat a GET whose kept connection has gone.
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { sleep } from 'k6';

const CLIENTS = Number(__ENV.LOAD_CLIENTS);
const PAUSE = Number(__ENV.LOAD_PAUSE_SECONDS);
const CONTROL = __ENV.LOAD_CONTROL;
const answers = new Counter('answers');

const clients = (exec) => ({
    executor: 'constant-vus', vus: CLIENTS, duration: `${__ENV.LOAD_SECONDS}s`, gracefulStop: '300s', exec,
});

export const options = {
    scenarios: { new_connection: clients('newConnection'), keep_alive: clients('keepAlive') },
    systemTags: ['status', 'error_code', 'error', 'scenario'],
    discardResponseBodies: false,
};

// Clients that all come in one moment would fill the queue of an app with a small backlog, deploy or not.
function arrive() {
    if (__ITER === 0) {
        sleep(PAUSE * Math.random());
    }
}

function count(response) {
    answers.add(1, { release: response.headers['X-Release'] || 'none' });
    sleep(PAUSE * (0.5 + Math.random()));
    if (CONTROL) {
        goOnOrEnd();
    }
}

// Each client asks about once a second, between two requests, so that none is cut short.
let asked = Date.now();
function goOnOrEnd() {
    if (Date.now() - asked > 1000) {
        asked = Date.now();
        if (http.get(CONTROL, { tags: { control: 'yes' } }).body === 'end') {
            sleep(3600);
        }
    }
}

export function newConnection() {
    arrive();
    count(http.get(__ENV.LOAD_URL, { headers: { Connection: 'close' }, timeout: '300s' }));
}

export function keepAlive() {
    arrive();
    count(http.post(__ENV.LOAD_URL, 'ping', { timeout: '300s' }));
}
