// The operator's live page: asks the relay each second how it is, and shows it.
//
// What names and rooms are called is written by others: text goes into the page as text, never as
// markup. The token lives in this tab's session storage and travels in a header only.

'use strict';

const EVERY_MS = 1000;
const RETRY_MS_MAX = 10_000;
/** A relay that says nothing for so long is said not to answer. */
const PATIENCE_MS = 8000;
/** Three minutes. */
const SAMPLES_MAX = 180;
/** The plots begin with one minute and grow. */
const SAMPLES_MIN = 60;
/** More than a busy second brings. */
const UNSAVED_MANY = 16 << 20;
/** A percentile of so many samples back: a single second has too few deliveries. */
const LATENCY_OVER = 10;
/** As the relay remembers of one worker. */
const TIMELINE_MAX = 1000;
const TIMELINE_SHOWN = 200;
const TOKEN_KEY = 'copresence-live-token';
const GUESTS = document.documentElement.dataset.guests === 'yes';

const $ = id => document.getElementById(id);

// What is known.

/** @type {Array<object | null>} one a second, the newest last; null is a gap */
const samples = [];
/** The newest first. */
let timeline = [];
let timelineNext = '';
let state = null;
let openRoom = null;
let openUser = null;
let token = readToken();
/** Grows when what is asked changes: an answer to an earlier question is dropped. */
let asking = 0;
let timer = 0;
let failures = 0;

function readToken() {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? '';
  } catch {
    return '';
  }
}

function keepToken(value) {
  token = value;
  try {
    if (value) sessionStorage.setItem(TOKEN_KEY, value);
    else sessionStorage.removeItem(TOKEN_KEY);
  } catch {
    // Without storage it is kept here alone.
  }
}

// Asking.

function begin() {
  if (!token && !GUESTS) return askForToken('');
  show(state ? 'board' : 'loading');
  askNow();
}

function askNow() {
  clearTimeout(timer);
  asking += 1;
  ask(asking);
}

async function ask(question) {
  const query = new URLSearchParams();
  const find = $('find').value.trim();
  if (find) query.set('find', find);
  if (openRoom) query.set('room', openRoom);
  if (openUser) query.set('user', openUser);
  if (timelineNext) query.set('from', timelineNext);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  let wait = EVERY_MS;
  try {
    const answer = await fetch(`live/state?${query}`, {
      headers,
      cache: 'no-store',
      credentials: 'omit',
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (question !== asking) return;
    if (answer.status === 401 || answer.status === 403) {
      const gone = token !== '';
      forget();
      const refused = 'That token is good, but it is no service token.';
      const bad = 'That token is not good, or no longer.';
      return askForToken(gone ? (answer.status === 403 ? refused : bad) : '');
    }
    if (!answer.ok) throw new Error((await answer.json()).code);
    const next = await answer.json();
    if (question !== asking) return;
    take(next);
    failures = 0;
    pulse('live', 'Live');
  } catch (error) {
    if (question !== asking) return;
    failures += 1;
    wait = Math.min(EVERY_MS * 2 ** failures, RETRY_MS_MAX);
    samples.push(null);
    trouble(error);
  }
  if (!document.hidden) timer = setTimeout(askNow, wait);
}

/** A tab that nobody sees asks nothing. */
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    clearTimeout(timer);
  } else if (token || GUESTS) {
    if (samples.length) samples.push(null);
    askNow();
  }
});

function take(next) {
  const before = samples.findLast(sample => sample);
  state = next;
  samples.push({ at: next.at, rates: rates(before, next), ...next.now });
  if (samples.length > SAMPLES_MAX) samples.splice(0, samples.length - SAMPLES_MAX);
  timelineNext = next.timeline.next;
  if (next.timeline.list.length) {
    const fresh = next.timeline.list.reverse().map(entry => ({ ...entry, key: (entryNumber += 1) }));
    timeline = [...fresh, ...timeline].slice(0, TIMELINE_MAX);
  }
  show('board');
  draw();
}

let entryNumber = 0;

/** Messages per second since the sample before; of a relay that began again, nothing yet. */
function rates(before, { at, now }) {
  const seconds = before ? (at - before.at) / 1000 : 0;
  const isNew = !before || now.messagesIn < before.messagesIn || seconds <= 0;
  const rate = name => (isNew ? 0 : (now[name] - before[name]) / seconds);
  return { in: rate('messagesIn'), out: rate('messagesOut') };
}

function forget() {
  asking += 1;
  clearTimeout(timer);
  keepToken('');
  state = null;
  timeline = [];
  timelineNext = '';
  samples.length = 0;
  openRoom = openUser = null;
  // Nothing stays in the page of what it showed.
  for (const id of ['tiles', 'timeline', 'refused-list']) $(id).replaceChildren();
  for (const table of ['rooms', 'people']) $(table).querySelectorAll('tbody').forEach(body => body.remove());
  rows.forEach(known => known.clear());
  tiles.clear();
}

// What is shown of it.

function show(view) {
  document.documentElement.dataset.view = view;
  $('ask').hidden = view !== 'ask';
  $('loading').hidden = view !== 'loading';
  $('board').hidden = view !== 'board';
  $('forget').hidden = view === 'ask' || !token;
}

function askForToken(complaint) {
  show('ask');
  pulse('idle', 'Waiting for a token');
  $('ask-complaint').textContent = complaint;
  $('token').focus();
}

/** Told once when it changes, not every second. */
function pulse(kind, text) {
  document.documentElement.dataset.pulse = kind;
  if ($('pulse-text').textContent !== text) $('pulse-text').textContent = text;
}

function trouble(error) {
  const code = /^[A-Z_]+$/.test(error.message) ? ` (${error.message})` : '';
  pulse('trouble', 'No answer, trying again');
  notice(`The relay does not answer${code}. Trying again; what is below is from before.`);
  $('board').dataset.stale = '';
  if (!state) $('loading').textContent = `The relay does not answer${code}. Trying again …`;
}

function notice(text) {
  $('trouble').hidden = !text;
  if ($('trouble').textContent !== text) $('trouble').textContent = text;
}

function draw() {
  delete $('board').dataset.stale;
  notice(state.ready ? '' : `Not ready: ${state.reasons.join(', ')}`);
  drawTiles();
  drawRooms();
  drawPeople();
  drawRefused();
  drawTimeline();
}

// Tiles.

const tiles = new Map();

function drawTiles() {
  const { now } = state;
  const [p50, p99] = latency();
  const last = samples[samples.length - 1];
  const plotOf = read => samples.map(sample => (sample ? read(sample) : null));
  tile('People', count(now.people), '', plotOf(s => s.people));
  const waiting = now.waitingUpdates ? `${edits(now.waitingUpdates)} for others` : '';
  tile('Rooms', count(now.rooms), waiting, plotOf(s => s.rooms));
  const slow = now.slow ? `${count(now.slow)} slow, ${bytes(now.waitingBytes)} wait` : 'none is slow';
  tile('Connections', count(now.connections), slow, plotOf(s => s.connections), {
    tone: now.slow ? 'warn' : '',
  });
  tile(
    'Messages per s',
    `${rate(last.rates.in)} / ${rate(last.rates.out)}`,
    'in / out (dashed)',
    plotOf(s => s.rates.in),
    { second: plotOf(s => s.rates.out) },
  );
  const saved = now.unsavedBytes ? 'accepted, waiting' : 'everything is';
  tile('Not on disk yet', bytes(now.unsavedBytes), saved, plotOf(s => s.unsavedBytes), {
    format: bytes,
    tone: now.unsavedBytes > UNSAVED_MANY ? 'warn' : '',
  });
  const latencies = samples.map((sample, index) => (sample ? latencyAt(index)[1] : null));
  const half = p50 === null ? 'nothing to deliver' : `half within ${micros(p50)}`;
  tile('Delivery, p99', micros(p99), half, latencies, { format: micros });
  const memory = now.memoryBytes === null ? 'unknown' : bytes(now.memoryBytes);
  tile('Memory', memory, 'resident', plotOf(s => s.memoryBytes), { format: bytes });
}

function tile(title, value, note, values, { second, format = count, tone = '' } = {}) {
  if (!tiles.has(title)) {
    const parts = {
      value: element('p', 'tile-value'),
      note: element('p', 'tile-note'),
      plot: plot(second !== undefined),
    };
    parts.root = element('div', 'tile', element('h3', '', title), parts.value, parts.note, parts.plot.root);
    $('tiles').append(parts.root);
    tiles.set(title, parts);
  }
  const parts = tiles.get(title);
  setText(parts.value, value);
  setText(parts.note, note);
  parts.root.dataset.tone = tone;
  parts.plot.draw(values, second);
  const known = values.filter(one => one !== null);
  const highest = known.length ? format(Math.max(...known)) : 'unknown';
  parts.plot.root.setAttribute('aria-label', `${title}, the last minutes: now ${value}, at most ${highest}`);
}

const SVG = 'http://www.w3.org/2000/svg';
const PLOT_HEIGHT = 40;

function plot(hasSecond) {
  const make = (name, attributes) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const root = make('svg', {
    class: 'plot',
    role: 'img',
    preserveAspectRatio: 'none',
  });
  const [area, line, second] = ['area', 'line', 'second'].map(name => make('path', { class: name }));
  root.append(area, line);
  if (hasSecond) root.append(second);
  const draw = (values, others = []) => {
    const width = Math.max(SAMPLES_MIN, values.length);
    root.setAttribute('viewBox', `0 0 ${width} ${PLOT_HEIGHT}`);
    const top = Math.max(1e-9, ...values.concat(others).filter(value => value !== null)) * 1.1;
    line.setAttribute('d', pathOf(values, width, top, false));
    area.setAttribute('d', pathOf(values, width, top, true));
    if (hasSecond) second.setAttribute('d', pathOf(others, width, top, false));
  };
  return { root, draw };
}

/** A line, or what is under it, from the right edge back; gaps stay gaps. */
function pathOf(values, width, top, isArea) {
  const left = width - values.length;
  let path = '';
  let from = null;
  const close = to => {
    if (isArea && from !== null) path += `L${to} ${PLOT_HEIGHT}L${from} ${PLOT_HEIGHT}Z`;
    from = null;
  };
  values.forEach((value, index) => {
    const x = left + index + 1;
    if (value === null) return close(x - 1);
    const y = (PLOT_HEIGHT - 1 - (value / top) * (PLOT_HEIGHT - 2)).toFixed(2);
    path += `${from === null ? 'M' : 'L'}${x} ${y}`;
    from ??= x;
  });
  close(width);
  return path;
}

const latency = () => latencyAt(samples.length - 1);

/** The median and the 99th percentile of the seconds before a sample, in microseconds. */
function latencyAt(index) {
  const now = samples[index];
  const before = samples.slice(Math.max(0, index - LATENCY_OVER), index).find(sample => sample);
  if (!now || !before) return [null, null];
  const counts = now.delivery.map(([bound, count], place) => [bound, count - before.delivery[place][1]]);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  if (total <= 0) return [null, null];
  return [percentile(counts, total * 0.5), percentile(counts, total * 0.99)];
}

function percentile(counts, wanted) {
  let seen = 0;
  let lower = 0;
  for (const [bound, count] of counts) {
    if (seen + count >= wanted && count > 0) {
      return bound === null ? lower : lower + (bound - lower) * ((wanted - seen) / count);
    }
    seen += count;
    lower = bound;
  }
  return lower;
}

// Rooms and people.

function drawRooms() {
  const { list, more } = state.rooms;
  setText($('rooms-count'), count(state.now.rooms));
  drawRows($('rooms'), list, room => room.room, openRoom, {
    toggle: key => {
      openRoom = openRoom === key ? null : key;
    },
    connections: state.inRoom,
    head: room => ({
      name: room.room,
      // Most names begin with it.
      under: room.room.split('/')[0] === room.kind ? '' : room.kind,
      marks: [
        room.slow > 0 && ['warn', `${count(room.slow)} slow`],
        !room.isDurable && ['warn', 'not on disk yet'],
        // Saved, but shown to nobody: what they were typed behind has not come.
        room.waitingUpdates > 0 && ['warn', `${edits(room.waitingUpdates)} for others`],
        room.waiting > 0 && ['warn', `${count(room.waiting)} in the queue`],
      ],
    }),
    numbers: room => [count(room.people), count(room.connections), room.waiting ? count(room.waiting) : '–'],
    other: connection => connection.name,
  });
  const found = $('find').value.trim();
  emptiness('rooms', list.length, found ? 'No room is called that.' : 'No room is open. One opens with its first connection.');
  moreness('rooms', more, 'rooms');
}

function drawPeople() {
  const { list, more } = state.people;
  setText($('people-count'), count(state.now.people));
  drawRows($('people'), list, person => person.userId, openUser, {
    toggle: key => {
      openUser = openUser === key ? null : key;
    },
    connections: state.ofUser,
    head: person => ({
      name: person.name,
      under: person.name === person.userId ? '' : person.userId,
      marks: [
        person.slow > 0 && ['warn', `${count(person.slow)} slow`],
        person.isHidden && ['', 'hidden from others'],
      ],
    }),
    numbers: person => [count(person.rooms), count(person.connections), clock(person.since)],
    other: connection => connection.room ?? FEED,
  });
  const found = $('find').value.trim();
  emptiness('people', list.length, found ? 'Nobody is called that.' : 'Nobody is here.');
  moreness('people', more, 'people');
}

function emptiness(id, length, text) {
  $(`${id}-empty`).hidden = length > 0;
  setText($(`${id}-empty`), text);
}

function moreness(id, more, what) {
  $(`${id}-more`).hidden = more === 0;
  const how = id === 'refused' ? '.' : ': find them by name.';
  setText($(`${id}-more`), `${count(more)} more ${what}${how}`);
}

/** What is in each table, by key: rows stay where they are, so that focus does. */
const rows = new Map();

function drawRows(table, list, keyOf, openKey, { toggle, connections, head, numbers, other }) {
  if (!rows.has(table)) rows.set(table, new Map());
  const known = rows.get(table);
  const make = key => {
    const name = element('span', 'name');
    const button = element('button', 'open-button', name);
    button.type = 'button';
    button.addEventListener('click', () => {
      toggle(key);
      askNow();
      if (state) draw();
    });
    const [under, marks] = [element('span', 'under'), element('span', 'marks')];
    const first = element('th', '', element('div', 'head', button, under, marks));
    first.scope = 'row';
    const cells = [1, 2, 3].map(() => element('td', 'number'));
    const row = element('tr', '', first, ...cells);
    return { root: element('tbody', '', row), button, name, under, marks, cells, opened: null };
  };
  const drawOne = (parts, item) => {
    const key = keyOf(item);
    const { name, under, marks } = head(item);
    setText(parts.name, name);
    setText(parts.under, under);
    setMarks(parts.marks, marks);
    numbers(item).forEach((text, place) => setText(parts.cells[place], text));
    const isOpen = key === openKey;
    parts.button.setAttribute('aria-expanded', String(isOpen));
    if (isOpen && !parts.opened) {
      const list = element('ul', 'connections');
      const cell = element('td', 'opened', list, element('p', 'more'));
      cell.colSpan = 4;
      parts.opened = element('tr', '', cell);
      parts.root.append(parts.opened);
    } else if (!isOpen && parts.opened) {
      parts.opened.remove();
      parts.opened = null;
    }
    // Until the answer to the new question is there, what is known is of another.
    const isTheirs = one => key === (table === $('rooms') ? one.room : one.userId);
    if (isOpen && connections) drawConnections(parts.opened.firstChild, connections, isTheirs, other);
  };
  drawAll(table, known, list, keyOf, make, drawOne);
}

function drawConnections(cell, { list, more }, isTheirs, other) {
  const [ul, rest] = cell.children;
  const theirs = list.filter(isTheirs);
  rows.has(ul) || rows.set(ul, new Map());
  const make = () => {
    const parts = {
      name: element('span', 'name'),
      under: element('span', 'under'),
      marks: element('span', 'marks'),
      facts: ['', '', '', ''].map(() => element('span', 'fact')),
    };
    const who = element('span', 'who', parts.name, ' ', parts.under, ' ', parts.marks);
    parts.root = element('li', '', who, ...parts.facts);
    return parts;
  };
  const drawOne = (parts, one) => {
    setText(parts.name, other(one));
    setText(parts.under, [one.role, one.isParticipant ? '' : 'back end'].filter(Boolean).join(', '));
    setMarks(parts.marks, [
      one.isSlow && ['warn', 'slow'],
      one.isWaiting && ['warn', 'waits for a place'],
      one.isHidden && ['', 'hidden from others'],
    ]);
    const by = one.connection === null ? 'heartbeats' : `${DOORS[one.door] ?? one.door} #${one.connection}`;
    const age = Math.max(0, state.at - one.lastSign);
    [
      by,
      `since ${clock(one.since)}`,
      `last sign ${duration(age)} ago`,
      one.waitingBytes ? `${bytes(one.waitingBytes)} wait` : '',
    ].forEach((text, place) => setText(parts.facts[place], text));
  };
  drawAll(ul, rows.get(ul), theirs, one => one.session, make, drawOne);
  rest.hidden = more === 0;
  setText(rest, `${count(more)} more connections.`);
}

/** Where those are who are in no room. */
const FEED = 'the follow feed';
const DOORS = { sync: '/sync', collab: '/collab', boards: '/ws/boards', workspaces: '/parties', feed: '/ws/feed' };

/** Brings what is in `parent` up to a list, moving as little as may be. */
function drawAll(parent, known, list, keyOf, make, drawOne) {
  const keys = new Set(list.map(keyOf));
  for (const [key, parts] of known) {
    if (!keys.has(key)) {
      parts.root.remove();
      known.delete(key);
    }
  }
  const heads = parent.tagName === 'TABLE' ? parent.tHead.nextElementSibling : parent.firstElementChild;
  let place = heads;
  for (const item of list) {
    const key = keyOf(item);
    if (!known.has(key)) known.set(key, make(key));
    const parts = known.get(key);
    drawOne(parts, item);
    if (parts.root === place) {
      place = place.nextElementSibling;
    } else {
      const focused = parts.root.contains(document.activeElement) ? document.activeElement : null;
      parent.insertBefore(parts.root, place);
      focused?.focus({ preventScroll: true });
    }
  }
}

// Who was not let in.

function drawRefused() {
  const { origins, tokens } = state.refused;
  const list = [
    ...origins.list.map(({ origin, ...one }) => ({
      key: `origin ${origin}`,
      name: origin,
      under: 'its pages may not connect; --allow-origin lets them in',
      ...one,
    })),
    ...tokens.map(({ reason, detail, ...one }) => ({
      key: `token ${reason}`,
      name: `Tokens: ${reason}`,
      under: detail,
      ...one,
    })),
  ];
  $('refused').hidden = list.length === 0;
  const ul = $('refused-list');
  if (!rows.has(ul)) rows.set(ul, new Map());
  const make = () => {
    const parts = {
      name: element('span', 'name'),
      under: element('span', 'under'),
      facts: ['', ''].map(() => element('span', 'fact')),
    };
    const who = element('span', 'who', parts.name, ' ', parts.under);
    parts.root = element('li', '', who, ...parts.facts);
    return parts;
  };
  const drawOne = (parts, one) => {
    setText(parts.name, one.name);
    setText(parts.under, one.under);
    setText(parts.facts[0], one.count === 1 ? 'once' : `${count(one.count)} times`);
    setText(parts.facts[1], `last ${clock(one.lastAt)}`);
  };
  drawAll(ul, rows.get(ul), list, one => one.key, make, drawOne);
  moreness('refused', origins.more, 'origins');
}

// The timeline.

const TOLD = {
  came: ['good', 'came'],
  waiting: ['', 'waiting'],
  closed: ['', 'closed'],
  lost: ['warn', 'lost'],
  expired: ['warn', 'expired'],
  refused: ['bad', 'refused'],
  dropped: ['warn', 'dropped'],
};

function drawTimeline() {
  const kind = $('kind').value;
  const find = $('find').value.trim().toLowerCase();
  const texts = entry => [entry.room, entry.path, entry.userId, entry.name, entry.reason];
  const fits = entry =>
    (!kind || entry.what === kind) && (!find || texts(entry).some(text => text?.toLowerCase().includes(find)));
  const shown = timeline.filter(fits).slice(0, TIMELINE_SHOWN);
  const list = $('timeline');
  if (!rows.has(list)) rows.set(list, new Map());
  const make = () => {
    const parts = { time: element('time'), mark: element('span', 'mark'), story: element('p', 'story') };
    parts.root = element('li', '', parts.time, parts.mark, parts.story);
    return parts;
  };
  const drawOne = (parts, entry) => {
    if (parts.story.firstChild) return; // It happened; it does not change.
    parts.time.dateTime = new Date(entry.at).toISOString();
    parts.time.textContent = clock(entry.at);
    const [tone, word] = TOLD[entry.what] ?? ['', entry.what];
    parts.mark.dataset.tone = tone;
    parts.mark.textContent = word;
    parts.story.append(...story(entry));
  };
  drawAll(list, rows.get(list), shown, entry => entry.key, make, drawOne);
  const some = kind || find;
  emptiness('timeline', shown.length, some ? 'Nothing of that kind lately.' : 'Nobody has come or left yet.');
}

/** Who and where, and why. */
function story(entry) {
  const who = entry.name ?? entry.userId ?? (entry.path ? 'Somebody' : 'A socket');
  const where = entry.room ?? entry.path ?? (entry.door === 'feed' && entry.userId ? FEED : null);
  const by = entry.door === 'heartbeat' ? 'by heartbeats' : entry.door ? `by ${DOORS[entry.door] ?? entry.door}` : '';
  const socket = entry.connection === null ? '' : `#${entry.connection}`;
  const parts = [element('span', 'name', who)];
  if (where) parts.push(' ', element('span', 'under', entry.path ? 'at' : 'in'), ' ', element('span', 'name', where));
  const facts = [why(entry), by, socket].filter(Boolean).join(' · ');
  if (facts) parts.push(element('div', 'under', facts));
  return parts;
}

/** What an awareness state may be, and all of a session or a user together. */
const LIMITS = { state: 'of 64 KiB', session: 'of 256 KiB for a session', user: 'of 1 MiB for a user in a room' };

function why({ what, wasIn, code, reason, why }) {
  const token = why === null ? '' : ` (token: ${why})`;
  const closed = code === null ? '' : `${code} ${reason}${token}`;
  switch (what) {
    case 'came':
      return '';
    case 'waiting':
      return 'waits for a place';
    case 'closed':
      return 'left by itself';
    case 'lost':
      return reason === 'NO_ANSWER' ? 'answered no pings' : 'the connection broke off';
    case 'dropped':
      return `awareness state over the limit ${LIMITS[reason] ?? reason}; the one before stays`;
    case 'expired':
      return closed || 'its heartbeats stopped';
    default:
      return `${wasIn ? 'put out' : 'not let in'}: ${closed}`;
  }
}

// Small things.

function element(name, className = '', ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setMarks(node, marks) {
  const wanted = marks.filter(Boolean);
  const said = wanted.map(([, text]) => text).join('\n');
  if (node.dataset.said === said) return;
  node.dataset.said = said;
  node.replaceChildren(
    ...wanted.map(([tone, text]) => {
      const mark = element('span', 'mark', text);
      mark.dataset.tone = tone;
      return mark;
    }),
  );
}

const NUMBERS = new Intl.NumberFormat('en');
const CLOCK = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const count = number => NUMBERS.format(Math.round(number));
const edits = number => (number === 1 ? '1 edit waits' : `${count(number)} edits wait`);
const clock = millis => CLOCK.format(new Date(millis));

function rate(number) {
  return number > 0 && number < 10 ? number.toFixed(1) : count(number);
}

function bytes(number) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let place = 0;
  while (number >= 1000 && place < units.length - 1) {
    number /= 1000;
    place += 1;
  }
  return `${place > 0 && number < 10 ? number.toFixed(1) : Math.round(number)} ${units[place]}`;
}

function micros(number) {
  if (number === null) return '–';
  return number < 1000 ? `${Math.round(number)} µs` : `${(number / 1000).toFixed(number < 10_000 ? 1 : 0)} ms`;
}

function duration(millis) {
  const seconds = Math.round(millis / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// What people do.

$('ask').addEventListener('submit', event => {
  event.preventDefault();
  const given = $('token').value.trim().replace(/^Bearer\s+/i, '');
  $('token').value = '';
  // A header takes no other characters, and no token has them.
  if (!/^[\x21-\x7e]+$/.test(given)) return askForToken('That is no token.');
  $('ask-complaint').textContent = '';
  keepToken(given);
  begin();
});
$('forget').addEventListener('click', () => {
  forget();
  begin();
});
let typing = 0;
$('find').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(askNow, 150);
  if (state) drawTimeline();
});
$('kind').addEventListener('change', () => state && drawTimeline());

begin();
