// A chat server for one group, grupo/1. It needs Node 20 on Linux and nothing from npm. Its command line: readOptions().
//
// The law. One thread: every handler (a line came, a timer fired, the owner typed) runs to its end before the next one starts. So all
// that is shared (the tables below, the two files) needs no lock. The one `await` is in join(), while a password is hashed on another
// thread; code after it looks at the tables again. Nobody waits for a client: send() only puts bytes into its queue, and
// flush() hands them to the kernel as the client takes them. An event is written to the transcript before anybody hears of it.

import { isUtf8 } from 'node:buffer';
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import tty from 'node:tty';
import { parseArgs, promisify } from 'node:util';

const MAX_LINE = 512;                      // bytes, with its LF
const JOIN_WITHIN = 20_000;                // times are in milliseconds
const PING_AFTER = 60_000;
const IDLE_AFTER = 90_000;
const SLOW_AFTER = 10_000;
const REJECT_AFTER = 1_000;
const OUTBOX = 1 << 20;                    // bytes that may wait for one client
const HALF = OUTBOX / 2;                   // above this the talkers are held up,
const PATIENCE = 2_000;                    // no longer than this, in all,
const PATIENT_AGAIN = 60_000;              // until so long they were not.
const RATION = 65.536;                     // bytes that a talker may cause in a millisecond when there is no patience left
const CHUNK = 16_384;                      // bytes that are handed to the kernel at a time
const STEADY = 65_536;                     // a client that takes so many bytes in 2 s keeps reading (128 KiB less a lump: the kernel tells in lumps)
const MAX_HERE = 1024;
const MAX_STRANGERS = 256;
const MAX_ASKERS = 32;
const CONSOLE_ROOM = 65_536;               // bytes that may wait for the owner
const HASHES = Math.min(2, Math.max(1, os.availableParallelism() - 1));
const SCRYPT = { N: 16_384, r: 8, p: 1 };  // 16 MiB of memory each time

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;
const BAD_TEXT = /[\p{Cc}\p{NChar}\u202a-\u202e\u2066-\u2069]/u;   // controls, noncharacters, turners of direction
const isGroup = (text) => /^[^ ](.*[^ ])?$/s.test(text) && Buffer.byteLength(text) <= 64 && !BAD_TEXT.test(text);
const fold = (name) => name.toLowerCase();

// Shared by all handlers. A `key` is a folded name.
const members = new Map();                 // key -> { name, salt, hash, client: the connection, or null if away }
const bans = new Map();                    // key -> name
const claims = new Map();                  // key -> the client whose JOIN with this new name is under way
const clients = new Set();                 // all connections,
const strangers = new Set();               // those before WELCOME,
const here = new Set();                    // those after
const holders = new Set();                 // those that read, but are so far behind that the talkers wait for them, or take rations
const laggards = new Set();                // those with something buffered
let group;
let closing = false;
let listening;                             // our address

const options = readOptions();

function readOptions() {
  const flag = (value) => ({ type: 'string', default: value });
  const flags = { host: flag('127.0.0.1'), port: flag('7000'), group: flag('grupo'), dir: flag('./grupo'), admit: flag('ask') };
  let values;
  try {
    values = parseArgs({ options: flags }).values;
  } catch (error) {
    giveUp(2, error.message);
  }
  if (!values.host) giveUp(2, '--host is an address to listen on');
  if (!/^\d{1,5}$/.test(values.port) || values.port > 65535) giveUp(2, '--port is a number from 0 to 65535');
  if (!isGroup(values.group)) giveUp(2, '--group is 1 to 64 bytes of text without a space at either end');
  if (!values.dir) giveUp(2, '--dir is a directory');
  if (!['ask', 'all', 'none'].includes(values.admit)) giveUp(2, '--admit is ask, all or none');
  return values;
}

function giveUp(status, message) {
  process.stderr.write(`grupo: ${message.replace(/\s+/g, ' ')}\n`);
  process.exit(status);
}

// --- lines

const TOO_LONG = Symbol('a line that is too long');

class Lines {                              // takes bytes as they come, gives lines
  bytes = Buffer.alloc(0);
  skipping = false;                        // the end of a line that was too long is still to come

  add(chunk) {
    this.bytes = this.bytes.length ? Buffer.concat([this.bytes, chunk]) : chunk;
  }

  next() {                                 // a line without its end, or TOO_LONG, or null: none is complete
    let end = this.bytes.indexOf(10);
    if (this.skipping) {
      this.skipping = end < 0;
      this.bytes = this.skipping ? Buffer.alloc(0) : this.bytes.subarray(end + 1);
      end = this.bytes.indexOf(10);
    }
    if (end < 0 && this.bytes.length < MAX_LINE) return null;
    if (end < 0) {
      this.skipping = true;
      return TOO_LONG;
    }
    let line = this.bytes.subarray(0, end);
    this.bytes = this.bytes.subarray(end + 1);
    if (end >= MAX_LINE) return TOO_LONG;
    if (line.at(-1) === 13) line = line.subarray(0, -1);
    return line;
  }
}

// --- the two files: `transcript` has the events as they are sent, `members` has what no event says: passwords, and lifted bans.
// A line of `members` begins with the number of the event after which it happened. Both only grow.

class NotSaved extends Error {}

class Log {
  constructor(name) {
    this.fd = fs.openSync(`${options.dir}/${name}`, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
    this.bytes = fs.readFileSync(this.fd);
    this.size = this.bytes.lastIndexOf(10) + 1;      // what follows the last LF was torn by a crash
    if (!isUtf8(this.bytes.subarray(0, this.size))) throw new Error(`${options.dir}/${name} is damaged: not UTF-8`);
  }

  *lines() {                               // each with the place where it ends
    for (let start = 0, end; start < this.size; start = end + 1) {
      end = this.bytes.indexOf(10, start);
      yield [this.bytes.toString('utf8', start, end), end + 1];
    }
    this.bytes = null;
  }

  write(bytes) {
    try {
      for (let done = 0; done < bytes.length;) done += fs.writeSync(this.fd, bytes, done, bytes.length - done, this.size + done);
    } catch (error) {
      this.cut(this.size);
      throw new NotSaved(`not saved: ${error.message}`);
    }
    this.size += bytes.length;
  }

  cut(size) {
    this.size = size;
    fs.ftruncateSync(this.fd, size);
  }
}

let transcript, memberLog;
const ends = [0];                          // ends[n]: where event n ends in the transcript
const newest = () => ends.length - 1;

function load() {
  transcript = new Log('transcript');
  memberLog = new Log('members');
  if (transcript.size === 0 && transcript.bytes.length + memberLog.bytes.length > 0) damaged('transcript', '');
  const form = /^(\d+) (?:\+ (\S+) (\S+) (\S+)|- (\S+))$/;
  const records = [...memberLog.lines()].map(([line]) => line.match(form) ?? damaged('members', line));
  const readRecords = (until) => {
    while (records.length && Number(records[0][1]) < until) {
      const [, , name, salt, hash, unbanned] = records.shift();
      if (unbanned) bans.delete(fold(unbanned));
      else members.set(fold(name), { name, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64'), client: null });
    }
  };
  for (const [line, end] of transcript.lines()) {
    const [, verb, seq, rest] = line.match(/^([A-Z]+) (\d+) \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (.+)$/s) ?? damaged('transcript', line);
    readRecords(ends.length);
    const fields = verb === 'GROUP' ? [rest] : rest.split(' ');
    const known = verb === 'GROUP' || verb === 'BANNED'
      || /^(MSG|IN|OUT|RENAMED|LEFT)$/.test(verb) && members.has(fold(fields[0])) && group;
    if (!known || Number(seq) !== ends.length) damaged('transcript', line);
    apply(verb, ...fields);
    ends.push(end);
  }
  readRecords(Infinity);
}

function damaged(file, line) {
  throw new Error(`${options.dir}/${file} is damaged at the line ${JSON.stringify(line.slice(0, 40))}`);
}

// --- events

function happen(verb, ...fields) {         // something happens in the group; throws NotSaved if it cannot be kept, and then it does not
  settleOuts();
  const event = keep(verb, ...fields);
  apply(verb, ...fields);
  tell(event);
  return event;
}

function keep(verb, ...fields) {
  const event = Buffer.from([verb, ends.length, new Date().toISOString(), ...fields].join(' ') + '\n');
  transcript.write(event);
  ends.push(transcript.size);
  return event;
}

function apply(verb, first, second) {      // what the event means for the tables; also at start
  const key = fold(first);
  const member = members.get(key);
  if (verb === 'GROUP') group = first;
  if (verb === 'BANNED') bans.set(key, first);
  if (verb === 'BANNED' || verb === 'LEFT' || verb === 'RENAMED') members.delete(key);
  if (verb === 'RENAMED') {
    member.name = second;
    members.set(fold(second), member);
  }
}

function tell(event) {
  for (const client of here) {
    send(client, event);
    if (unasked(client) > OUTBOX && (!client.keepsReading || patience.left <= 0)) client.socket.destroy();
  }
}

// An OUT cannot be refused to anybody: if the disk is full it is owed, and sent before any later event.
const owedOuts = [];
let owedTimer;

function settleOuts() {
  while (owedOuts.length) {
    const event = keep('OUT', owedOuts[0]);
    owedOuts.shift();
    tell(event);
  }
}

function tryToSettleOuts() {
  clearTimeout(owedTimer);
  try {
    settleOuts();
  } catch {
    owedTimer = setTimeout(tryToSettleOuts, 1000);
  }
}

// --- connections

function welcomeConnection(socket) {
  const client = {
    socket, address: spell(socket.remoteAddress, socket.remotePort), state: 'stranger', lines: new Lines(), ended: false,
    errors: 0, rejections: 0, joinTimeLeft: JOIN_WITHIN, pings: 0, request: null, member: null, history: null,
    queue: [], waiting: 0, handed: 0, flushing: false, keepsReading: true, watched: null,
    newer: 0, resting: false,              // bytes queued after its last answer to WHO or HISTORY; it has used up its ration
  };
  clients.add(client);
  socket.on('error', () => {});            // 'close' follows
  socket.on('data', (chunk) => {
    if (client.state === 'over') return;
    client.lines.add(chunk);
    serve(client);
  });
  socket.on('end', () => {
    client.ended = true;
    serve(client);
  });
  socket.on('close', () => {
    detach(client);
    clients.delete(client);
    laggards.delete(client);
  });
  if (strangers.size >= MAX_STRANGERS) return bye(client, 'full');
  strangers.add(client);
  send(client, `HELLO grupo/1 ${group}`);
  beStranger(client);
}

function spell(address = '?', port) {
  const host = address.replace(/^::ffff:/, '');
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function beStranger(client) {              // the clock of the join deadline runs only in this state
  client.state = 'stranger';
  client.strangerSince = performance.now();
  client.joinTimer = setTimeout(bye, client.joinTimeLeft + 2, client, 'timeout');
}

function bye(client, code) {
  send(client, `BYE ${code}`);
  detach(client);
  client.socket.resume();                  // what comes is discarded; flush() ends the connection
}

function detach(client) {                  // the client no longer takes part in the group
  if (client.state === 'over') return;
  client.state = 'over';
  client.history = null;
  clearTimeout(client.joinTimer);
  stopListeningForSilence(client);
  dropClaim(client);
  strangers.delete(client);
  weigh(client);
  if (here.delete(client) && client.member.client === client) {
    client.member.client = null;
    if (closing) return;                   // the end of the server is no OUT
    owedOuts.push(client.member.name);
    tryToSettleOuts();
  }
}

function dropClaim(client) {
  if (client.request && claims.get(client.request.key) === client) claims.delete(client.request.key);
}

function listenForSilence(client) {
  client.pingTimer = setTimeout(() => send(client, `PING k${++client.pings}`), PING_AFTER + 2);
  client.idleTimer = setTimeout(() => {
    if (mayServe(client)) bye(client, 'idle');
    else client.idleTimer.refresh();       // it is we who do not listen
  }, IDLE_AFTER + 2);
}

function stopListeningForSilence(client) {
  clearTimeout(client.pingTimer);
  clearTimeout(client.idleTimer);
  client.pingTimer = client.idleTimer = undefined;
}

// --- what goes to a client

function send(client, line, asked = false) {        // a line, or bytes that are whole lines
  if (client.state === 'over') return;
  const bytes = typeof line === 'string' ? Buffer.from(line + '\n') : line;
  client.queue.push(bytes);
  client.waiting += bytes.length;
  client.newer = asked ? 0 : client.newer + bytes.length;
  weigh(client);
  if (!client.flushing) {
    client.flushing = true;
    process.nextTick(flush, client);       // not now: what this handler still sends goes with it
  }
}

function flush(client) {
  if (client.history && client.waiting <= HALF) feedHistory(client);
  if (client.queue.length === 0) {
    client.flushing = false;
    client.keepsReading = true;
    client.watched = null;
    laggards.delete(client);
    if (client.state === 'over') {
      client.socket.end();
      setTimeout(() => client.socket.destroy(), 1000);
    }
    return;
  }
  let count = 0, size = 0;
  while (count < client.queue.length && size < CHUNK) size += client.queue[count++].length;
  laggards.add(client);
  watchTimer ??= setInterval(watchLaggards, 250);
  client.socket.write(Buffer.concat(client.queue.splice(0, count)), (error) => {
    if (error) return;                     // 'close' follows
    const wasFull = client.waiting > HALF;
    client.waiting -= size;
    client.handed += size;
    weigh(client);
    if (wasFull) serve(client);
    flush(client);
  });
}

function feedHistory(client) {             // the next few events of the answer
  const { from, to } = client.history;
  let last = from;
  while (last < to && ends[last + 1] - ends[from] <= CHUNK) last++;
  if (last > from) {
    const events = Buffer.alloc(ends[last] - ends[from]);
    fs.readSync(transcript.fd, events, 0, events.length, ends[from]);
    send(client, events, true);
    client.history.from = last;
  }
  if (last === to) {
    send(client, `END HISTORY ${to}`, true);
    client.history = null;
    setImmediate(serve, client);
  }
}

function unasked(client) {                 // bytes that wait for it and are no answer, however long, of its own
  return Math.min(client.waiting, client.newer);
}

function weigh(client) {                   // must the talkers wait for this client?
  const held = holders.size > 0;
  if (client.state === 'here' && client.keepsReading && unasked(client) > HALF) holders.add(client);
  else holders.delete(client);
  if (held && holders.size === 0) setImmediate(() => here.forEach(serve));
}

const patience = { left: PATIENCE, waits: false, until: 0 };     // until: when it was last needed

function talkersWait() {                   // for the holders? Counts the time, so it is asked again and again
  const now = performance.now(), waited = patience.waits;
  if (waited) patience.left -= now - patience.until;
  else if (now >= patience.until + PATIENT_AGAIN) patience.left = PATIENCE;
  patience.waits = holders.size > 0 && patience.left > 0;
  if (waited || patience.waits) patience.until = now;
  return patience.waits;
}

function rest(client, bytes) {             // it has caused so many, and a holder cannot take more
  client.resting = true;
  setTimeout(() => {
    client.resting = false;
    serve(client);
  }, Math.ceil(bytes / RATION));
}

let watchTimer = null;

function watchLaggards() {                 // which clients read, and which are slow? Runs only while something is buffered
  if (laggards.size === 0) {
    clearInterval(watchTimer);
    watchTimer = null;
    return;
  }
  if (patience.waits && !talkersWait()) here.forEach(serve);
  const now = performance.now();
  const inKernel = bytesInKernel();
  for (const client of laggards) {
    const taken = client.handed - (inKernel.get(client.socket.remotePort) ?? 0);
    const watched = client.watched ??= { since: now, before: taken, most: taken, tookAt: now };
    if (taken > watched.most) {
      watched.most = taken;
      watched.tookAt = now;
    }
    if (now - watched.since >= 2000) {
      client.keepsReading = watched.most - watched.before >= STEADY;
      watched.since = now;
      watched.before = watched.most;
      weigh(client);
    }
    if (now - watched.tookAt >= SLOW_AFTER) client.socket.destroy();
  }
}

// Node cannot set SO_SNDBUF. The kernel may keep megabytes of ours, and shows room for more only when a third of them has gone: a client
// that reads looks for many seconds like one that does not. Linux tells how many bytes of each connection have not been taken.
function bytesInKernel() {
  const { port, family } = listening;
  const bytes = new Map();                 // by the client's port
  let table = '';
  try {
    table = fs.readFileSync(family === 'IPv6' ? '/proc/net/tcp6' : '/proc/net/tcp', 'latin1');
  } catch {}                               // no Linux, or no descriptor left: then what the kernel has counts as taken
  for (const [, local, remote, untaken] of table.matchAll(/: \w+:(\w{4}) \w+:(\w{4}) \w\w (\w{8}):/g)) {
    const key = parseInt(remote, 16);
    if (parseInt(local, 16) === port) bytes.set(key, (bytes.get(key) ?? 0) + parseInt(untaken, 16));
  }
  return bytes;
}

// --- what comes from a client

function mayServe(client) {
  if (client.state === 'here' && (client.resting || talkersWait())) return false;
  return client.state !== 'over' && client.state !== 'checked' && !client.history && client.waiting <= HALF;
}

function serve(client) {                   // handle the requests that have come, as far as they may be handled now
  for (let turns = 0; mayServe(client); turns++) {
    if (turns === 50) {                    // let the others have their turn
      setImmediate(serve, client);
      break;
    }
    const line = client.lines.next();
    if (line !== null) handle(client, line);
    else if (client.ended) bye(client, 'quit');
    else return void client.socket.resume();
  }
  if (client.state !== 'over') client.socket.pause();
}

const ERRORS = {
  'too-long': 'a line has at most 512 bytes', 'bad-utf8': 'a line is UTF-8', 'bad-text': 'no control characters, please',
  'unknown': 'there is no such verb', 'not-joined': 'ask to enter first, with JOIN', 'already-joined': 'you have asked to enter already',
  'bad-arguments': 'something is missing, too long, or too much', 'bad-name': 'a name is 1 to 32 of A-Z a-z 0-9 . _ -',
  'name-taken': 'somebody has this name', 'not-saved': 'it could not be written to the disk, try again later',
};

function err(client, code) {
  send(client, `ERR ${code} ${ERRORS[code]}`);
  if (client.state !== 'here' && ++client.errors === 10) bye(client, 'protocol');
}

// The states that may send it, the form of what follows the verb, the most bytes of its last field, what it does.
const REQUESTS = new Map(Object.entries({
  JOIN: { who: 'stranger', form: /^ ([^ ]+) (.+)$/s, max: 128, run: askToJoin },
  SAY: { who: 'here', form: /^ (.+)$/s, max: 400, run: (client, text) => happen('MSG', client.member.name, text) },
  NAME: { who: 'here', form: /^ ([^ ]+)$/, max: MAX_LINE, run: changeName },
  WHO: { who: 'here', form: /^$/, max: 0, run: who },
  HISTORY: { who: 'here', form: /^ (\d{1,16})$/, max: 16, run: history },
  LEAVE: { who: 'here', form: /^$/, max: 0, run: leave },
  QUIT: { who: 'all', form: /^$/, max: 0, run: (client) => bye(client, 'quit') },
  PING: { who: 'all', form: /^ ([!-~]+)$/, max: 64, run: (client, token) => send(client, `PONG ${token}`) },
  PONG: { who: 'all', form: /^ ([!-~]+)$/, max: 64, run: () => {} },
}));

function handle(client, line) {
  if (line === TOO_LONG) {
    err(client, 'too-long');
    return bye(client, 'protocol');
  }
  if (line.length === 0) return;
  client.pingTimer?.refresh();
  client.idleTimer?.refresh();
  if (!isUtf8(line)) return err(client, 'bad-utf8');
  const text = line.toString();
  if (BAD_TEXT.test(text)) return err(client, 'bad-text');
  const [verb] = text.split(' ', 1);
  const request = REQUESTS.get(verb);
  if (!request) return err(client, 'unknown');
  if (request.who === 'here' && client.state !== 'here') return err(client, 'not-joined');
  if (request.who === 'stranger' && client.state !== 'stranger') return err(client, 'already-joined');
  const fields = request.form.exec(text.slice(verb.length));
  if (!fields || Buffer.byteLength(fields.at(-1)) > request.max) return err(client, 'bad-arguments');
  const before = newest();
  try {
    request.run(client, ...fields.slice(1));
  } catch (error) {
    if (!(error instanceof NotSaved)) throw error;
    err(client, 'not-saved');
  }
  if (newest() > before && holders.size > 0 && !talkersWait()) rest(client, ends.at(-1) - ends[before]);
}

function changeName(client, name) {
  const key = fold(name);
  if (!NAME.test(name)) return err(client, 'bad-name');
  if (bans.has(key) || claims.has(key) || (members.get(key) ?? client.member) !== client.member) return err(client, 'name-taken');
  happen('RENAMED', client.member.name, name);
}

function who(client) {
  const lines = [...members.values()].map((member) => `MEMBER ${member.name} ${member.client ? 'here' : 'away'}\n`);
  send(client, lines.join('') + 'END WHO', true);
}

function history(client, since) {          // flush() sends the rest of it, as fast as the client takes it
  client.history = { from: Math.min(Number(since), newest()), to: newest() };
  feedHistory(client);
}

function leave(client) {
  happen('LEFT', client.member.name);
  client.member.client = null;             // so no OUT follows
  bye(client, 'left');
}

// --- joining the group

const scryptOnAnotherThread = promisify(scrypt);
const waitingToHash = [];
let freeHashes = HASHES;

async function hashPassword(password, salt) {
  if (freeHashes > 0) freeHashes--;
  else await new Promise((turn) => waitingToHash.push(turn));
  try {
    return await scryptOnAnotherThread(password, salt, 32, SCRYPT);
  } finally {
    if (waitingToHash.length) waitingToHash.shift()();
    else freeHashes++;
  }
}

function askToJoin(client, name, password) {
  if (!NAME.test(name)) return err(client, 'bad-name');
  send(client, 'PENDING');
  clearTimeout(client.joinTimer);
  client.joinTimeLeft -= performance.now() - client.strangerSince;
  client.state = 'checked';
  join(client, name, password);
}

async function join(client, name, password) {
  const key = fold(name);
  const member = members.get(key);
  const salt = member?.salt ?? randomBytes(16);
  const request = client.request = { name, key, salt, hash: null, at: performance.now() };
  if (!member && !claims.has(key)) claims.set(key, client);
  try {
    request.hash = await hashPassword(password, salt);     // always, so that the time it takes tells nothing
  } catch {                                                // no memory
    client.socket.destroy();
  }
  if (client.state === 'over' || !request.hash) return;
  if (member && members.get(key) !== member) return reject(client);  // it has left meanwhile
  if (members.has(key)) {
    const right = members.get(key) === member && timingSafeEqual(request.hash, member.hash);
    return right ? tryToAdmit(client) : reject(client);
  }
  const askers = [...claims.values()].filter((other) => other.state === 'asking');
  const taken = claims.has(key) && claims.get(key) !== client;
  if (bans.has(key) || taken || options.admit === 'none') return reject(client);
  if (options.admit === 'all') return tryToAdmit(client);
  if (askers.length >= MAX_ASKERS) return reject(client);
  claims.set(key, client);
  client.state = 'asking';
  listenForSilence(client);
  notify(`${name} asks to join from ${client.address}`);
  serve(client);
}

function tryToAdmit(client) {
  try {
    admit(client);
  } catch (error) {
    if (!(error instanceof NotSaved)) throw error;
    dropClaim(client);
    beStranger(client);
    err(client, 'not-saved');
  }
  serve(client);
}

function admit(client) {                   // throws NotSaved, and then nothing has changed
  const { name, key, salt, hash } = client.request;
  const known = members.get(key);
  const member = known ?? { name, salt, hash, client: null };
  const before = member.client;            // takeover: the member's other connection
  const full = !before && here.size >= MAX_HERE;
  settleOuts();
  const seq = newest();
  const logSize = memberLog.size;
  let event;
  if (!known) memberLog.write(Buffer.from(`${seq} + ${name} ${salt.toString('base64')} ${hash.toString('base64')}\n`));
  try {
    if (!before && !full) event = happen('IN', member.name);
  } catch (error) {
    memberLog.cut(logSize);
    throw error;
  }
  members.set(key, member);
  dropClaim(client);
  if (full) return bye(client, 'full');
  strangers.delete(client);
  stopListeningForSilence(client);
  listenForSilence(client);
  client.member = member;
  client.state = 'here';
  here.add(client);
  member.client = client;
  send(client, `WELCOME ${seq} ${member.name}`);
  if (event) send(client, event);
  if (before) bye(before, 'replaced');
}

function reject(client) {
  dropClaim(client);
  stopListeningForSilence(client);
  client.state = 'checked';
  setTimeout(() => {
    if (client.state === 'over') return;
    send(client, 'REJECTED refused');
    if (++client.rejections === 3) return bye(client, 'refused');
    beStranger(client);
    serve(client);
  }, Math.max(0, client.request.at + REJECT_AFTER + 2 - performance.now()));
}

// --- the owner's console

const orders = new Lines();
let consent = false;                       // the next line is the owner's consent to delete
let notShown = 0;

const print = (line) => process.stdout.write(line + '\n');

function notify(line) {                    // an unasked line; does not wait for an owner who does not read
  if (process.stdout.writableLength > 2 * CONSOLE_ROOM) notShown++;
  else print(line);
}

function openConsole() {
  process.stdout._handle?.setBlocking?.(false);            // a terminal that was stopped (Ctrl-S) must not stop us
  process.stdout.on('error', () => {});
  process.stdout.on('drain', () => {
    if (notShown) print(`# ${notShown} lines not shown`);
    notShown = 0;
    runOrders();
  });
  process.stdin.on('error', () => {});
  const readOrders = () => process.stdin.on('data', (chunk) => {
    orders.add(chunk);
    runOrders();
  });
  if (!tty.isatty(0)) return void readOrders();
  let reading = false;                     // Node cannot ignore SIGTTIN, which stops a process that reads a terminal in its background
  setInterval(() => {
    if (reading === inForeground()) return;
    reading = !reading;
    if (!reading) process.stdin.pause();
    else if (process.stdin.listenerCount('data') === 0) readOrders();
    else runOrders();
  }, 100);
}

function inForeground() {
  let stat;
  try {
    stat = fs.readFileSync('/proc/self/stat', 'latin1');
  } catch {
    return false;                          // out of descriptors: orders wait
  }
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return group === foreground;
}

function runOrders() {
  while (!closing) {
    if (process.stdout.writableLength > CONSOLE_ROOM) return void process.stdin.pause();   // 'drain' follows
    const line = orders.next();
    if (line === null) return void process.stdin.resume();
    if (!consent && line.length === 0) continue;
    try {
      runOrder(line === TOO_LONG || !isUtf8(line) ? '' : line.toString());
    } catch (error) {
      print(`error: ${error.message}`);
    }
  }
}

function runOrder(line) {
  if (consent) {
    consent = false;
    if (line !== group) throw new Error('not deleted');
    fs.rmSync(`${options.dir}/transcript`);
    fs.rmSync(`${options.dir}/members`);
    shutdown('deleted');
    return print('ok');
  }
  const [word] = line.split(' ', 1);
  const order = ORDERS.get(word);
  if (!order) throw new Error('no such order; try help');
  const rest = line.slice(word.length);
  if (order.takes === 'nothing' && rest) throw new Error(`${word} takes nothing`);
  if (order.takes === 'a name' && !NAME.test(rest.slice(1))) throw new Error(`${word} takes a name`);
  if (order.takes === 'a group' && !isGroup(rest.slice(1))) throw new Error(`${word} takes 1 to 64 bytes without a space at either end`);
  order.run(rest.slice(1));
  if (!consent) print('ok');
}

const ORDERS = new Map(Object.entries({
  accept: { takes: 'a name', run: (name) => admit(asker(name)) },
  reject: { takes: 'a name', run: (name) => reject(asker(name)) },
  ban: { takes: 'a name', run: ban },
  unban: { takes: 'a name', run: unban },
  rename: { takes: 'a group', run: (name) => happen('GROUP', name) },
  members: { takes: 'nothing', run: listMembers },
  close: { takes: 'nothing', run: () => shutdown('closed') },
  delete: { takes: 'nothing', run: () => { consent = true; print("type the group's name to delete it"); } },
  help: { takes: 'nothing', run: () => ORDERS.forEach((order, word) => print(`# ${word}, takes ${order.takes}`)) },
}));

function asker(name) {
  const client = claims.get(fold(name));
  if (client?.state !== 'asking') throw new Error('nobody asks with this name');
  return client;
}

function ban(name) {
  const key = fold(name);
  if (bans.has(key)) throw new Error('banned already');
  const client = members.get(key)?.client;
  const claimer = claims.get(key);
  happen('BANNED', members.get(key)?.name ?? claimer?.request.name ?? name);
  if (client) {
    client.member.client = null;           // so no OUT follows
    bye(client, 'banned');
  }
  if (claimer?.state === 'asking') reject(claimer);        // if the password is still being hashed, join() will see the ban
}

function unban(name) {
  if (!bans.has(fold(name))) throw new Error('not banned');
  memberLog.write(Buffer.from(`${newest()} - ${name}\n`));
  bans.delete(fold(name));
}

function listMembers() {
  for (const member of members.values()) print(`member ${member.name} ${member.client ? 'here' : 'away'}`);
  for (const name of bans.values()) print(`member ${name} banned`);
  for (const client of claims.values()) {
    if (client.state === 'asking') print(`member ${client.request.name} asks from ${client.address}`);
  }
}

// --- beginning and end

function shutdown(code) {
  if (closing) return;
  closing = true;
  clients.forEach((client) => bye(client, code));
  server.close(() => process.exit(0));     // when the last connection has gone,
  setTimeout(() => process.exit(0), 1500); // or without it
}

const server = net.createServer({ allowHalfOpen: true, noDelay: true }, welcomeConnection);

function start() {
  process.umask(0o077);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => shutdown('closed'));
  let directory;
  try {
    fs.mkdirSync(options.dir, { recursive: true, mode: 0o700 });
    directory = fs.statSync(options.dir);
  } catch (error) {
    giveUp(1, error.message);
  }
  // Node has no flock. A name in Linux's abstract socket namespace serves: one process has it, and the kernel frees it when that ends.
  const lock = net.createServer((socket) => socket.destroy());
  lock.on('error', (error) => giveUp(1, error.code === 'EADDRINUSE' ? `another server holds ${options.dir}` : error.message));
  lock.listen(`\0grupo/${directory.dev}/${directory.ino}`, () => {
    try {
      load();
    } catch (error) {
      giveUp(1, error.message);
    }
    server.on('error', (error) => giveUp(1, error.message));
    server.listen(Number(options.port), options.host, open);
  });
}

function open() {
  server.removeAllListeners('error');
  server.on('error', () => {});            // out of descriptors: libuv has closed that connection; the others chat on
  try {
    transcript.cut(transcript.size);       // the torn last lines
    memberLog.cut(memberLog.size);
    if (newest() === 0) happen('GROUP', options.group);
  } catch (error) {
    giveUp(1, error.message);
  }
  listening = server.address();
  const { address, port } = listening;
  if (!/^(127\.|::1$)/.test(address)) process.stderr.write(`grupo: ${address} is not loopback: passwords travel in clear\n`);
  print(`listening on ${spell(address, port)}`);
  openConsole();
}

start();
