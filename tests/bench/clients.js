// SPDX-License-Identifier: GPL-3.0-or-later
// Clients of two kinds at once, as in tests/load/load.js, and in one of two loops.
// Closed: each of so many clients asks, waits for its answer, pauses, and asks again, so a stall keeps requests away.
// Open: requests come at a fixed rate whatever became of those before, as they do from the world.
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { sleep } from 'k6';

const HALF_RATE = Number(__ENV.BENCH_RATE) / 2;
const PAUSE = Number(__ENV.BENCH_PAUSE_SECONDS);
const DURATION = `${__ENV.BENCH_SECONDS}s`;
const answers = new Counter('answers');

const loops = {
    closed: { executor: 'constant-vus', vus: Number(__ENV.BENCH_CLIENTS) / 2, duration: DURATION },
    open: {
        executor: 'constant-arrival-rate',
        rate: HALF_RATE,
        timeUnit: '1s',
        duration: DURATION,
        // Enough for all who come while an app stops and starts; whoever finds none free is counted as not sent.
        preAllocatedVUs: HALF_RATE * (Number(__ENV.BENCH_START_UP_SECONDS) + 2),
    },
};
const clients = (exec) => Object.assign({ gracefulStop: '300s', exec }, loops[__ENV.BENCH_LOOP]);

export const options = {
    scenarios: { new_connection: clients('newConnection'), keep_alive: clients('keepAlive') },
    systemTags: ['status', 'error_code', 'error', 'scenario'],
    discardResponseBodies: true,
};

export function setup() {
    console.log('the load begins');
}

function count(response) {
    answers.add(1, { release: response.headers['X-Release'] || 'none' });
    if (__ENV.BENCH_LOOP === 'closed') {
        sleep(PAUSE);
    }
}

export function newConnection() {
    count(http.get(__ENV.BENCH_URL, { headers: { Connection: 'close' }, timeout: '300s' }));
}

export function keepAlive() {
    count(http.post(__ENV.BENCH_URL, 'ping', { timeout: '300s' }));
}
