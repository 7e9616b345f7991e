// Boards as a front end uses them: texts and y-protocols on one socket, and the queue.

import assert from 'node:assert/strict';
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Board } from '../lib/board.mjs';
import { host, until } from '../lib/clients.mjs';
import { Relay } from '../lib/relay.mjs';

const folder = mkdtempSync(join(tmpdir(), 'copresence-boards-'));
let relay;
before(async () => {
  const config = join(folder, 'config.toml');
  writeFileSync(config, '[kind.board]\ncapacity = 3\n');
  relay = await Relay.start({ args: ['--config', config] });
});
after(async () => {
  await relay.dispose();
  rmSync(folder, { recursive: true, force: true });
});

let boards = 0;

/** Opens boards that are left when the test ends. */
function opener(t, id = `b-${process.pid}-${++boards}`) {
  const open = sub => {
    const board = new Board(relay, id, { sub });
    t.after(() => board.leave());
    return board;
  };
  open.id = id;
  return open;
}

const isIn = board => board.until('being let in', () => board.people.size > 0 && board.isSynced);

test('people and drawings come over one socket', async t => {
  const open = opener(t);
  const ann = open('ann');
  await isIn(ann);
  assert.equal(ann.log[0], 'board:joined');
  const bob = open('bob');
  await isIn(bob);
  await ann.until('bob', () => ann.people.has('bob'));
  assert.deepEqual([...bob.people.keys()].sort(), ['ann', 'bob']);

  for (let n = 0; n < 50; n += 1) {
    ann.shapes.set(`a${n}`, { x: n });
    bob.shapes.set(`b${n}`, { x: -n });
    ann.say('presence:update', { cursor: { x: n, y: n / 2 } });
    ann.say('heartbeat');
  }
  await until([ann, bob], 'all shapes at both', () => [ann, bob].every(one => one.shapes.size === 100));
  await bob.until('the last cursor', () => bob.people.get('ann').cursor?.x === 49);
  ann.awareness.setLocalState({ tool: 'pen' });
  await bob.until('the tool', () => bob.awareness.getStates().get(ann.doc.clientID)?.tool === 'pen');
  ann.leave();
  await bob.until('ann going', () => !bob.people.has('ann'));
  await bob.until('her tool going', () => !bob.awareness.getStates().has(ann.doc.clientID));
  assert.ok(!bob.texts.some(({ type }) => type === 'error'));
});

test('the providers of the other doors share the board', async t => {
  const open = opener(t);
  const ann = open('ann');
  await isIn(ann);
  const join = host(t, relay);
  const bob = join('yws3', `board/${open.id}`, { sub: 'bob' });
  const carol = join('hp4', `board/${open.id}`, { sub: 'carol' });
  await ann.until('both', () => ann.people.has('bob') && ann.people.has('carol'));
  ann.doc.getText('text').insert(0, 'hello');
  await until([bob, carol], 'the text', () => [bob, carol].every(one => one.text.toString() === 'hello'));
  bob.setPresence({ note: 'here' });
  await ann.until('his state', () => ann.awareness.getStates().get(bob.id)?.presence?.note === 'here');
});

test('who waits sees nothing, and then everything', async t => {
  const open = opener(t);
  const [ann, bob, carol] = ['ann', 'bob', 'carol'].map(open);
  await Promise.all([ann, bob, carol].map(isIn));
  ann.shapes.set('one', 1);
  ann.awareness.setLocalState({ tool: 'pen' });
  const dave = open('dave');
  await dave.until('a place in the queue', () => dave.position === 1);
  const erin = open('erin');
  await erin.until('a place behind', () => erin.position === 2);
  // What they do meanwhile is not heard.
  dave.shapes.set('early', 1);
  dave.awareness.setLocalState({ tool: 'brush' });
  bob.shapes.set('two', 2);
  await ann.until('bob’s shape', () => ann.shapes.has('two'));
  assert.deepEqual(dave.log, ['board:queued']);
  assert.ok(!ann.shapes.has('early'));

  carol.leave();
  await isIn(dave);
  assert.deepEqual(dave.log.slice(0, 2), ['board:queued', 'board:joined']);
  await erin.until('moving up', () => erin.position === 1);
  // Let in, it is in sync both ways: nobody has lost anything.
  const everything = board => ['one', 'two', 'early'].every(key => board.shapes.has(key));
  await until([ann, bob, dave], 'everything at everybody', () => [ann, bob, dave].every(everything));
  await ann.until('dave’s tool', () => ann.awareness.getStates().get(dave.doc.clientID)?.tool === 'brush');
  await dave.until('ann’s tool', () => dave.awareness.getStates().get(ann.doc.clientID)?.tool === 'pen');
  assert.deepEqual(erin.log.filter(what => what === 'binary'), []);
});
