// SPDX-License-Identifier: GPL-3.0-or-later
// Clients of two kinds at once, as in tests/load/load.js, and in one of two loops or in both side by side.
// Closed: each of so many clients asks, waits for its answer, pauses, and asks again, so a stall keeps requests away.
// Open: requests come at a fixed rate whatever became of those before, as they do from the world.
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { sleep } from 'k6';
import exec from 'k6/execution';

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
// Named by their loop, by which their samples are told apart.
const scenarios = {};
for (const loop of __ENV.BENCH_LOOPS.split(',')) {
    for (const clients of ['newConnection', 'keepAlive']) {
        scenarios[`${loop}-${clients}`] = Object.assign({ gracefulStop: '300s', exec: clients }, loops[loop]);
    }
}

export const options = {
    scenarios,
    systemTags: ['status', 'error_code', 'error', 'scenario'],
    discardResponseBodies: true,
};

export function setup() {
    console.log('the load begins');
}

function count(response) {
    answers.add(1, { release: response.headers['X-Release'] || 'none' });
    if (exec.scenario.name.startsWith('closed')) {
        sleep(PAUSE);
    }
}

export function newConnection() {
    count(http.get(__ENV.BENCH_URL, { headers: { Connection: 'close' }, timeout: '300s' }));
}

export function keepAlive() {
    count(http.post(__ENV.BENCH_URL, 'ping', { timeout: '300s' }));
}
