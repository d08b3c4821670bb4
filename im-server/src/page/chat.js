// A chat client of protocol version 1: the connection, the logs and the outbox of the built-in page.
// What a person sees of them is in page.js, which defines show, draw, choose, render, addEntry,
// isSaid and askToken.
"use strict";

const PAGE = 50; // entries asked for at once
const RESEND_MS = 10_000; // an unanswered message is sent again after so long
const PONG_MS = 10_000; // silence after a ping that ends the connection
const GHOST_MS = 120_000; // a lost connection may be taken for the latest one for so long
const BACKOFF_MS = [500, 15_000]; // wait between connections when the server named none
const ACK_MS = 80; // acks are gathered for so long; 100 is what the protocol allows
const TYPING_MS = 3_000; // one "typing" per so long
const ASKS_MAX = 16; // requests in flight; the server allows 32

// ---- what is known ----
let me = null; // user id, from welcome
let limits = { window: 256 };
let heartbeat = 30_000;
let since = null; // token of the last sync
let open = null; // the conversation shown
const convs = new Map(); // id (or "@user" before its first message) -> conversation
const online = new Map(); // user -> state
const outbox = new Map(); // cm_id -> {to, text, key, sentAt, failed}
const acks = new Map(); // conv -> seq to acknowledge

// A token in the address is taken out of it at once; a tab keeps it for a reload of its own.
function takeToken() {
  const query = new URLSearchParams(location.search);
  const hash = new URLSearchParams(location.hash.slice(1));
  const token = query.get("token") || hash.get("token");
  if (token) {
    sessionStorage.setItem("im.token", token);
    sessionStorage.removeItem("im.outbox");
  }
  if (location.search || location.hash) history.replaceState(null, "", location.pathname);
  return sessionStorage.getItem("im.token");
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A tab is a device of its own.
function deviceId(fresh) {
  if (fresh || !sessionStorage.getItem("im.device")) {
    sessionStorage.setItem("im.device", "tab-" + randomId());
  }
  return sessionStorage.getItem("im.device");
}

// ---- the connection ----
let socket = null;
let isUp = false; // welcome came
let heardAt = 0;
let pingedAt = 0;
let tries = 0;
let reconnectMs = null; // [min, max] of the last bye
let ghostAt = Date.now(); // when a connection was lost that the server has not closed
let retryTimer = 0;
const asks = new Map(); // id -> {resolve, reject}
const askQueue = [];
let nextAsk = 1;

function connect() {
  clearTimeout(retryTimer);
  const token = sessionStorage.getItem("im.token");
  if (!token) return askToken("");
  const mount = location.pathname.replace(/[^/]*$/, "");
  const url = new URL(mount + "v1/ws", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  show("connecting …", false);
  const ws = new WebSocket(url, "im.v1.json");
  socket = ws;
  heardAt = Date.now();
  ws.onopen = () => send({ t: "hello", token, device: deviceId(false), client: "im-server page" });
  ws.onmessage = (event) => {
    if (socket !== ws) return;
    heardAt = Date.now();
    pingedAt = 0;
    const frame = JSON.parse(event.data);
    const on = handlers[frame.t];
    if (on) on(frame);
  };
  ws.onclose = (event) => {
    if (socket === ws) onClose(event.code);
  };
}

function onClose(code) {
  socket = null;
  isUp = false;
  for (const ask of asks.values()) ask.reject({ code: "unavailable", message: "disconnected" });
  asks.clear();
  askQueue.length = 0;
  for (const conv of convs.values()) conv.pulling = false;
  if (code === 4401) {
    sessionStorage.removeItem("im.token");
    return askToken("The token is not valid, or has expired.");
  }
  if (code === 1006) ghostAt = Date.now();
  // A node that stood still may read a connection only after the next one: it replaces that once.
  const isGhost = code === 4409 && Date.now() - ghostAt <= GHOST_MS;
  if (code === 4409) ghostAt = 0;
  if (code === 4409 && !isGhost) return show("opened in another tab", true);
  if (code === 4403) return show("this account may not connect", true);
  if (code === 4400 || code === 1009) return show("the server refused the page's frames", true);
  const [min, max] = reconnectMs || [BACKOFF_MS[0] / 2, BACKOFF_MS[0]];
  const scale = reconnectMs ? 1 : 2 ** Math.min(tries, 10);
  const wait = Math.min((min + Math.random() * (max - min)) * scale, Math.max(max, BACKOFF_MS[1]));
  tries += 1;
  reconnectMs = null;
  retryTimer = setTimeout(connect, wait);
  show("reconnecting …", true);
}

function send(frame) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
}

// A frame with an answer: pull, sync or req. Rejects with the err frame.
function ask(frame) {
  return new Promise((resolve, reject) => {
    const id = nextAsk++;
    askQueue.push({ frame: { ...frame, id }, resolve, reject });
    nextAskOut();
  });
}

function nextAskOut() {
  while (isUp && asks.size < ASKS_MAX && askQueue.length) {
    const { frame, resolve, reject } = askQueue.shift();
    asks.set(frame.id, { resolve, reject });
    send(frame);
  }
}

function answered(id, act) {
  const waiting = asks.get(id);
  if (!waiting) return;
  asks.delete(id);
  act(waiting);
  nextAskOut();
}

const call = (method, params, key) => ask({ t: "req", method, params, key });

const handlers = {
  welcome(frame) {
    [me, limits, heartbeat] = [frame.user, frame.limits, frame.heartbeat_ms];
    [isUp, tries] = [true, 0];
    show("connected", false);
    sync().then(resend).catch(() => {});
  },
  bye: (frame) => { reconnectMs = frame.reconnect_ms; },
  page: (frame) => answered(frame.id, (to) => to.resolve(frame)),
  synced: (frame) => answered(frame.id, (to) => to.resolve(frame)),
  res: (frame) => answered(frame.id, (to) => to.resolve(frame.value)),
  err(frame) {
    if (frame.id !== undefined) return answered(frame.id, (to) => to.reject(frame));
    const waiting = outbox.get(frame.cm_id);
    if (!waiting) return;
    if (frame.retry_after_ms) {
      waiting.sentAt = Date.now() - RESEND_MS + frame.retry_after_ms * (1 + Math.random() / 2);
    } else {
      waiting.failed = frame.message;
      keepOutbox();
    }
    draw();
  },
  event: (frame) => { if (frame.kind === "conv") { learn(frame.line); draw(); } },
  sent(frame) {
    const waiting = outbox.get(frame.cm_id);
    if (!waiting) return;
    const conv = convs.get(frame.conv) || learn({ conv: frame.conv, kind: "direct" });
    begin(conv, waiting.key);
    waiting.seq = frame.seq;
    keepOutbox();
    draw();
  },
  entry(frame) {
    const conv = convs.get(frame.conv) || learn({ conv: frame.conv, kind: "direct" });
    if (conv.loaded && frame.seq > conv.cursor + 1) return catchUp(conv); // a gap
    if (!conv.loaded) note(conv, frame);
    else if (frame.seq === conv.cursor + 1) append(conv, frame);
    acknowledge(conv.id, frame.seq);
    draw();
  },
  behind(frame) {
    const conv = convs.get(frame.conv);
    if (conv) catchUp(conv);
  },
  receipt(frame) {
    const conv = convs.get(frame.conv);
    if (!conv) return;
    if (frame.user === me) {
      conv.read = Math.max(conv.read, frame.read || 0);
      if (conv.read >= conv.head) conv.unread = 0;
    } else {
      cursor(conv, frame.user, frame.delivered, frame.read);
    }
    draw();
  },
  typing(frame) {
    const conv = convs.get(frame.conv);
    if (conv) conv.typing.set(frame.user, Date.now() + TYPING_MS + 1_000);
    draw();
  },
  presence: (frame) => { online.set(frame.user, frame.state); draw(); },
};

// ---- the log ----
function learn(line) {
  let conv = convs.get(line.conv);
  if (!conv) {
    conv = {
      id: line.conv, head: 0, read: 0, unread: 0, entries: [], cursor: 0, first: 1, at: 0,
      loaded: false, others: new Map(), typing: new Map(), last: null,
    };
    convs.set(line.conv, conv);
  }
  // Another log under the same name, or one shorter than what was seen: start again.
  if (line.epoch !== undefined && conv.epoch !== undefined
    && (line.epoch !== conv.epoch || line.last_seq < conv.cursor)) forget(conv);
  conv.kind = line.kind || conv.kind;
  conv.title = line.title || conv.title;
  conv.epoch = line.epoch ?? conv.epoch;
  conv.first = line.first_seq ?? conv.first;
  conv.left = line.left || false;
  conv.head = Math.max(conv.head, line.last_seq || 0);
  conv.read = Math.max(conv.read, line.read_seq || 0);
  conv.unread = line.unread ?? conv.unread;
  if (line.last) note(conv, line.last, true);
  if (conv.kind === "direct" && !conv.other && !conv.asked) meet(conv);
  return conv;
}

function forget(conv) {
  Object.assign(conv, { entries: [], cursor: 0, head: 0, loaded: false, last: null });
  if (open === conv) load(conv);
}

// Who is in it, and how far they are.
async function meet(conv) {
  conv.asked = true;
  try {
    const { members } = await call("groups.members", { conv: conv.id, limit: 100 });
    for (const member of members) {
      if (member.user !== me) cursor(conv, member.user, member.delivered, member.read);
    }
    if (conv.kind === "direct") {
      conv.other = (members.find((member) => member.user !== me) || { user: me }).user;
      watch();
    }
  } catch {
    conv.asked = false;
  }
  draw();
}

let watchTimer = 0;
function watch() {
  clearTimeout(watchTimer);
  watchTimer = setTimeout(() => {
    const users = [...convs.values()].map((conv) => conv.other).filter(Boolean).slice(0, 200);
    call("presence.watch", { users }).catch(() => {});
  }, 50);
}

async function sync() {
  for (let more = true; more;) {
    const answer = await ask(since ? { t: "sync", since } : { t: "sync" });
    if (answer.reset) for (const conv of convs.values()) conv.stale = true;
    for (const line of answer.convs) learn(line).stale = false;
    [since, more] = [answer.since, answer.more];
  }
  for (const conv of [...convs.values()]) if (conv.stale) convs.delete(conv.id);
  for (const conv of convs.values()) if (conv.loaded) catchUp(conv);
  if (open && !open.loaded) load(open);
  watch();
  draw();
}

// The newest page of a conversation that is opened.
async function load(conv) {
  if (conv.loaded || conv.pulling || conv.id.startsWith("@")) return;
  conv.pulling = true;
  const head = conv.head; // it may move on while the page is on its way
  try {
    const page = await ask({ t: "pull", conv: conv.id, before: head + 1, limit: PAGE });
    conv.entries = page.entries;
    conv.cursor = page.entries.length ? page.entries.at(-1).seq : head;
    conv.first = page.first_seq;
    conv.loaded = true;
  } catch (error) {
    conv.problem = error.message;
  }
  conv.pulling = false;
  if (conv.loaded) catchUp(conv);
  if (!conv.asked) meet(conv);
  if (open === conv) render(conv);
  draw();
}

async function older(conv) {
  const oldest = conv.entries.length ? conv.entries[0].seq : 0;
  if (conv.older || oldest <= conv.first) return;
  conv.older = true;
  try {
    const page = await ask({ t: "pull", conv: conv.id, before: oldest, limit: PAGE });
    conv.entries = page.entries.concat(conv.entries);
    if (open === conv) render(conv, true);
  } catch { /* scrolling up again asks again */ }
  conv.older = false;
}

// Pulls to the end: after a gap, after `behind`, after a reconnect.
async function catchUp(conv) {
  if (conv.pulling) return void (conv.again = true);
  conv.pulling = true;
  try {
    for (let more = true; more;) {
      conv.again = false;
      const after = conv.loaded ? conv.cursor : conv.head;
      const page = await ask({ t: "pull", conv: conv.id, after, limit: 200 });
      if (conv.epoch !== undefined && page.epoch !== conv.epoch) {
        conv.epoch = page.epoch;
        conv.pulling = false;
        return forget(conv);
      }
      for (const entry of page.entries) {
        if (!conv.loaded) note(conv, entry);
        else if (entry.seq === conv.cursor + 1) append(conv, entry);
      }
      if (page.entries.length) acknowledge(conv.id, page.entries.at(-1).seq);
      more = page.more || conv.again;
      if (!page.entries.length && page.more) break;
    }
  } catch { /* not a member any more, or disconnected: the next sync tells */ }
  conv.pulling = false;
  draw();
}

// The next entry of a log that is shown or was.
function append(conv, entry) {
  conv.entries.push(entry);
  conv.cursor = entry.seq;
  note(conv, entry);
  if (open === conv) addEntry(conv, entry);
}

// A chat that was opened by user id has its first message, and so its own name now.
function begin(conv, key) {
  const first = convs.get(key);
  if (!first || first === conv) return;
  convs.delete(key);
  for (const waiting of outbox.values()) if (waiting.key === key) waiting.key = conv.id;
  conv.other = first.other;
  if (open === first) choose(conv);
}

// What the list shows of an entry. `known`: it was counted by the server already.
function note(conv, entry, known) {
  const waiting = entry.from === me && outbox.get(entry.cm_id);
  if (waiting) {
    begin(conv, waiting.key);
    outbox.delete(entry.cm_id);
    keepOutbox();
  }
  conv.typing.delete(entry.from);
  if (entry.body.kind === "member") {
    for (const user of entry.body.users) {
      if (entry.body.op === "add" || entry.body.op === "join") cursor(conv, user, 0, 0);
      if (entry.body.op === "remove" || entry.body.op === "leave") conv.others.delete(user);
      if (user === me) conv.left = entry.body.op === "remove" || entry.body.op === "leave";
    }
    conv.others.delete(me);
  }
  if (entry.seq <= conv.head && !known) return;
  conv.head = Math.max(conv.head, entry.seq);
  conv.last = entry;
  conv.at = entry.at;
  if (entry.body.kind === "group" && entry.body.title) conv.title = entry.body.title;
  if (!known && entry.from !== me && isSaid(entry)) conv.unread = Math.min(conv.unread + 1, 999);
}

function cursor(conv, user, delivered, read) {
  const has = conv.others.get(user) || { delivered: 0, read: 0 };
  has.delivered = Math.max(has.delivered, delivered || 0, read || 0);
  has.read = Math.max(has.read, read || 0);
  conv.others.set(user, has);
}

let ackTimer = 0;
let ackCount = 0;
function acknowledge(conv, seq) {
  acks.set(conv, Math.max(acks.get(conv) || 0, seq));
  ackCount += 1;
  if (ackCount >= limits.window / 4) return flushAcks();
  if (!ackTimer) ackTimer = setTimeout(flushAcks, ACK_MS);
}

function flushAcks() {
  clearTimeout(ackTimer);
  [ackTimer, ackCount] = [0, 0];
  for (const [conv, seq] of acks) send({ t: "ack", conv, seq });
  acks.clear();
}

function markRead() {
  if (!open || !open.loaded || document.hidden || !document.hasFocus()) return;
  open.unread = 0;
  if (open.read >= open.cursor) return;
  open.read = open.cursor;
  send({ t: "read", conv: open.id, seq: open.cursor });
}

// ---- sending ----
function say(conv, text) {
  const to = conv.id.startsWith("@") ? { user: conv.other } : { conv: conv.id };
  const cmId = randomId();
  outbox.set(cmId, { to, text, key: conv.id, sentAt: 0 });
  keepOutbox();
  resend();
  draw();
}

// Sends what has no answer yet, in order, under the same ids: the server stores each once.
function resend() {
  if (!isUp) return;
  for (const [cmId, waiting] of outbox) {
    if (waiting.seq || waiting.failed || Date.now() - waiting.sentAt < RESEND_MS) continue;
    waiting.sentAt = Date.now();
    send({ t: "send", cm_id: cmId, to: waiting.to, body: { kind: "text", text: waiting.text } });
  }
}

function keepOutbox() {
  const unanswered = [...outbox].filter(([, waiting]) => !waiting.seq);
  sessionStorage.setItem("im.outbox", JSON.stringify(unanswered));
}

setInterval(() => {
  const now = Date.now();
  if (isUp) {
    if (pingedAt && now - pingedAt > PONG_MS) socket.close();
    else if (!pingedAt && now - heardAt > heartbeat) { pingedAt = now; send({ t: "ping" }); }
  }
  resend();
  draw();
}, 1_000);
