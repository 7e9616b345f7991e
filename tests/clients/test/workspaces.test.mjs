// Workspaces with the unmodified partysocket: who is where, tabs, and coming back.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { until } from '../lib/clients.mjs';
import { Proxy } from '../lib/proxy.mjs';
import { Relay } from '../lib/relay.mjs';
import { Tab } from '../lib/tab.mjs';

let relay;
before(async () => (relay = await Relay.start()));
after(() => relay.dispose());

let workspaces = 0;
const freshWorkspace = () => `w-${process.pid}-${++workspaces}`;

/** Opens tabs that are closed when the test ends. */
function opener(t, of = relay, workspace = freshWorkspace()) {
  return (sub, options) => {
    const tab = new Tab(of, workspace, { sub, ...options });
    t.after(() => tab.close());
    return tab;
  };
}

const hasSnapshot = tab => tab.until('a snapshot', () => tab.count('presence_snapshot') > 0);

test('people see where the others are, and follow them', async t => {
  const open = opener(t);
  const ann = open('ann');
  await hasSnapshot(ann);
  ann.goTo('/docs/7', { resourceType: 'document', resourceId: '7' });
  const bob = open('bob');
  await until([ann, bob], 'each other', () => bob.people.has('ann') && ann.people.has('bob'));
  await bob.until('her place', () => bob.pathOf('ann') === '/docs/7');
  assert.deepEqual(
    { ...bob.people.get('ann') },
    {
      userId: 'ann', userName: 'Ann', userImage: null, currentPath: '/docs/7',
      resourceType: 'document', resourceId: '7',
    },
  );
  assert.equal(ann.pathOf('bob'), '');
  assert.deepEqual([...ann.people.keys()], ['bob'], 'not oneself');
  for (let page = 1; page <= 50; page += 1) ann.goTo(`/page/${page}`);
  await bob.until('the last page', () => bob.pathOf('ann') === '/page/50');
  assert.equal(bob.people.get('ann').resourceType, undefined, 'an update replaces all three');
  bob.close();
  await ann.until('bob going', () => !ann.people.has('bob'));
});

test('two tabs are one person', async t => {
  const open = opener(t);
  const bob = open('bob');
  const [one, two] = [open('ann'), open('ann')];
  await until([bob, one, two], 'everybody', () => [one, two].every(tab => tab.people.has('bob')));
  one.goTo('/one');
  await bob.until('/one', () => bob.pathOf('ann') === '/one');
  two.goTo('/two');
  await bob.until('/two', () => bob.pathOf('ann') === '/two');
  two.close();
  await bob.until('the tab that is left', () => bob.pathOf('ann') === '/one');
  one.close();
  await bob.until('ann going', () => !bob.people.has('ann'));
  assert.equal(bob.count('user_joined'), 1);
  assert.equal(bob.count('user_left'), 1);
});

test('the id that partysocket gives itself means nothing', async t => {
  const open = opener(t);
  const watcher = open('watcher');
  const [ann, bob] = [open('ann', { id: 'same' }), open('bob', { id: 'same' })];
  await until([watcher, ann, bob], 'everybody', () => watcher.people.size === 2 && ann.people.has('bob'));
  ann.close();
  await watcher.until('ann going', () => !watcher.people.has('ann'));
  assert.ok(watcher.people.has('bob'));
});

test('after a broken link it comes back by itself, with what was said meanwhile', async t => {
  const proxy = await Proxy.start(() => relay.port);
  t.after(() => proxy.dispose());
  const open = opener(t);
  const bob = open('bob');
  const ann = open('ann', { port: proxy.port });
  await until([ann, bob], 'each other', () => ann.people.has('bob') && bob.people.has('ann'));
  for (let round = 1; round <= 3; round += 1) {
    proxy.reset();
    await until([ann, bob], 'the end of the link', () => ann.closes.length === round);
    await bob.until('ann going', () => bob.count('user_left') === round);
    // Queued by partysocket until it is back.
    ann.goTo(`/round/${round}`);
    await ann.until('a new snapshot', () => ann.count('presence_snapshot') === round + 1);
    assert.ok(ann.people.has('bob'));
    await bob.until('ann where she went', () => bob.pathOf('ann') === `/round/${round}`);
  }
  assert.equal(bob.count('user_joined'), 4);
});

test('of a long queue that partysocket sends at once the newest is where somebody is', async t => {
  const proxy = await Proxy.start(() => relay.port);
  t.after(() => proxy.dispose());
  const open = opener(t);
  const bob = open('bob');
  const ann = open('ann', { port: proxy.port });
  await until([ann, bob], 'each other', () => ann.people.has('bob') && bob.people.has('ann'));
  proxy.reset();
  await ann.until('the end of the link', () => ann.closes.length === 1);
  // More than the rate and its burst: some are dropped, and it is told so.
  for (let page = 1; page <= 3_000; page += 1) ann.goTo(`/page/${page}`);
  await bob.until('ann where she is', () => bob.pathOf('ann') === '/page/3000');
  await ann.until('an error', () => ann.count('error') > 0);
  assert.equal(ann.messages.find(({ type }) => type === 'error').code, 'RATE_LIMITED');
  assert.equal(ann.closes.length, 1);
});

test('after the relay was restarted everybody is there again', async t => {
  const own = await Relay.start();
  t.after(() => own.dispose());
  const open = opener(t, own);
  const tabs = ['ann', 'bob', 'carol'].map(sub => open(sub));
  const all = () => tabs.every(tab => tab.people.size === 2);
  await until(tabs, 'everybody', all);
  await own.terminate();
  await until(tabs, 'the end', () => tabs.every(tab => tab.closes.length > 0));
  assert.deepEqual(
    tabs.map(tab => tab.closes[0]),
    tabs.map(() => ({ code: 1012, reason: 'DRAINING' })),
  );
  await own.run();
  await until(tabs, 'everybody again', () => tabs.every(tab => tab.count('presence_snapshot') > 1) && all());
});

test('a refused token is asked for again, and a good one gets in', async t => {
  const open = opener(t);
  let asked = 0;
  const workspace = freshWorkspace();
  const ann = opener(t, relay, workspace)('ann', {
    token: () => (++asked < 3 ? 'stale' : relay.token(`workspace/${workspace}`, { sub: 'ann' })),
  });
  await hasSnapshot(ann);
  assert.deepEqual(ann.closes, [
    { code: 4401, reason: 'UNAUTHORIZED' },
    { code: 4401, reason: 'UNAUTHORIZED' },
  ]);
  // A token for the party's own name of the room opens nothing.
  const bob = open('bob', { token: () => relay.token(`presence-${workspace}`, { sub: 'bob' }), maxRetries: 0 });
  await bob.until('a refusal', () => bob.closes.length > 0);
  assert.deepEqual(bob.closes[0], { code: 4403, reason: 'FORBIDDEN' });
});

test('a token is renewed without a new connection', async t => {
  const workspace = freshWorkspace();
  const room = `workspace/${workspace}`;
  const inTwo = Math.floor(Date.now() / 1000) + 3;
  const ann = opener(t, relay, workspace)('ann', {
    token: () => relay.token(room, { sub: 'ann', exp: inTwo }),
  });
  const wanted = () => ann.messages.some(({ code }) => code === 'TOKEN_REFRESH_REQUIRED');
  await ann.until('the request for a token', wanted);
  ann.send({ type: 'auth', token: relay.token(room, { sub: 'ann' }) });
  await ann.until('auth:ok', () => ann.messages.some(({ type, exp }) => type === 'auth:ok' && exp > inTwo));
  const bob = opener(t, relay, workspace)('bob');
  await new Promise(resolve => setTimeout(resolve, inTwo * 1000 - Date.now() + 500));
  bob.goTo('/late');
  await ann.until('bob, after the first token’s end', () => ann.pathOf('bob') === '/late');
  assert.deepEqual(ann.closes, []);
});
