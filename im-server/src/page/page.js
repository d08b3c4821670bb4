// What a person sees of the chats, and what they do. Everything that users wrote reaches the page
// by textContent only.
"use strict";

const $ = (id) => document.getElementById(id);
const NOT_SAID = ["edit", "recall", "react", "pin", "member", "group", "announce", "call", "desk"];
const isSaid = (entry) => !NOT_SAID.includes(entry.body.kind);
const nameOf = (conv) => conv.title || conv.other || "…";

function el(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function clock(at) {
  const time = new Date(at);
  const today = time.toDateString() === new Date().toDateString();
  return today ? time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : time.toLocaleDateString([], { day: "numeric", month: "short" });
}

// An entry in one line.
function words(entry) {
  const { kind, text, name, op, users, title, emoji } = entry.body;
  if (kind === "text") return text;
  if (kind === "group") return `${entry.from} made the group “${title || ""}”`;
  if (kind === "member") return `${entry.from}: ${op} ${users.join(", ")}`;
  if (kind === "react") return `${entry.from} reacted ${emoji}`;
  if (kind === "edit" || kind === "recall" || kind === "pin") return `${entry.from}: ${kind}`;
  return `[${kind}] ${name || ""}`;
}

function show(text, bad) {
  set($("state"), text);
  $("state").classList.toggle("bad", bad);
}

function choose(conv) {
  open = conv;
  document.body.classList.toggle("open", !!conv);
  if (conv) {
    render(conv);
    load(conv);
    $("text").focus();
  }
  draw();
}

// Draws a log anew; `keep`: what was at the top stays in sight.
function render(conv, keep) {
  const below = $("log").scrollHeight - $("log").scrollTop;
  const pending = el("div");
  pending.id = "pending";
  pending.hidden = true;
  $("log").replaceChildren(pending);
  for (const entry of conv.entries) addEntry(conv, entry);
  $("log").scrollTop = $("log").scrollHeight - (keep ? below : 0);
}

function addEntry(conv, entry) {
  const log = $("log");
  const { kind, target, text } = entry.body;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  if (kind === "edit" || kind === "recall") {
    const changed = log.querySelector(`[data-seq="${Number(target)}"]`);
    if (!changed) return;
    changed.classList.toggle("gone", kind === "recall");
    changed.querySelector(".body").textContent = kind === "edit" ? text : "taken back";
    return;
  }
  const made = isSaid(entry) ? bubble(conv, entry.from, words(entry)) : el("div", "note", words(entry));
  made.dataset.seq = entry.seq;
  made.dataset.at = clock(entry.at);
  log.insertBefore(made, $("pending"));
  if (atEnd || entry.from === me) log.scrollTop = log.scrollHeight;
}

function bubble(conv, from, text) {
  const made = el("div", from === me ? "msg mine" : "msg");
  if (conv.kind !== "direct" && from !== me) made.append(el("span", "from", from));
  made.append(el("span", "body", text), el("span", "meta"));
  return made;
}

let drawTimer = 0;
function draw() {
  if (!drawTimer) drawTimer = setTimeout(drawNow, 30);
}

function drawNow() {
  drawTimer = 0;
  markRead();
  set($("me"), me || "imkit");
  const unread = [...convs.values()].reduce((sum, conv) => sum + conv.unread, 0);
  document.title = (unread ? `(${unread}) ` : "") + (me ? me + " · imkit" : "imkit");
  const shown = [...convs.values()].filter((conv) => !conv.left || conv === open);
  shown.sort((a, b) => b.at - a.at);
  for (const conv of shown) drawRow(conv);
  const rows = shown.map((conv) => conv.row);
  if (rows.some((row, at) => $("list").children[at] !== row)
    || rows.length !== $("list").children.length) $("list").replaceChildren(...rows);
  $("none").hidden = shown.length > 0;
  $("empty").hidden = !!open;
  for (const part of [document.querySelector("main header"), $("log")]) part.hidden = !open;
  $("composer").hidden = !open || open.left;
  if (open) drawOpen(open);
}

function drawRow(conv) {
  if (!conv.row) {
    conv.row = el("button", "conv");
    conv.row.type = "button";
    conv.row.append(el("span", "dot"), el("span", "name"), el("time"), el("span", "last"), el("span"));
    conv.row.onclick = () => choose(conv);
  }
  const [dot, name, time, last, unread] = conv.row.children;
  const direct = conv.kind === "direct";
  dot.className = "dot " + (direct ? online.get(conv.other) || "offline" : "none");
  set(name, nameOf(conv));
  set(time, conv.at ? clock(conv.at) : "");
  set(last, conv.last ? (direct || !isSaid(conv.last) ? "" : conv.last.from + ": ") + words(conv.last) : "");
  set(unread, conv.unread ? String(conv.unread) : "");
  unread.className = conv.unread ? "unread" : "";
  conv.row.setAttribute("aria-current", String(conv === open));
}

function drawOpen(conv) {
  set($("title"), nameOf(conv));
  const typing = [...conv.typing].filter(([, until]) => until > Date.now()).map(([user]) => user);
  const state = conv.kind === "direct" ? online.get(conv.other) || "" : `${conv.others.size + 1} members`;
  const detail = conv.left ? "you are no longer a member" : conv.problem || state;
  set($("detail"), typing.length ? typing.join(", ") + " is typing …" : detail);
  for (const message of $("log").querySelectorAll(".msg[data-seq]")) {
    const meta = message.querySelector(".meta");
    const [ticks, read] = message.classList.contains("mine") ? tick(conv, Number(message.dataset.seq)) : ["", false];
    set(meta, `${message.dataset.at} ${ticks}`);
    meta.classList.toggle("read", read);
  }
  const waiting = [...outbox].filter(([, it]) => it.key === conv.id);
  const atEnd = $("pending").childElementCount !== waiting.length;
  $("pending").replaceWith(Object.assign(el("div"), { id: "pending", hidden: !waiting.length }));
  for (const [cmId, it] of waiting) {
    const made = bubble(conv, me, it.text);
    made.classList.add(it.failed ? "failed" : "waiting");
    made.lastChild.textContent = it.failed ? `not sent: ${it.failed} (tap to remove)` : "…";
    if (it.failed) made.onclick = () => { outbox.delete(cmId); keepOutbox(); draw(); };
    $("pending").append(made);
  }
  if (atEnd) $("log").scrollTop = $("log").scrollHeight;
}

// ✓ stored, ✓✓ on a device of theirs, green when read.
function tick(conv, seq) {
  const others = [...conv.others.values()];
  const read = others.filter((other) => other.read >= seq).length;
  if (read) return [conv.kind === "direct" ? "✓✓" : `✓✓ ${read}`, true];
  return [others.some((other) => other.delivered >= seq) ? "✓✓" : "✓", false];
}

// ---- what a person does ----
function dialog(id, act) {
  const form = $(id).querySelector("form");
  $(id).onclose = () => { if ($(id).returnValue === "ok") act(new FormData(form)); form.reset(); };
  return () => { $(id).returnValue = ""; $(id).showModal(); };
}

function openChat(user) {
  const known = [...convs.values()].find((conv) => conv.kind === "direct" && conv.other === user);
  if (known) return choose(known);
  const conv = learn({ conv: "@" + user, kind: "direct", other: user });
  Object.assign(conv, { other: user, asked: true, loaded: true });
  choose(conv);
}

async function createGroup(title, members) {
  try {
    const { conv } = await call("groups.create", { title, members }, randomId());
    choose(convs.get(conv) || learn({ conv, kind: "group", title }));
  } catch (error) {
    show(error.message, true);
  }
}

function askToken(why) {
  show("not connected", true);
  if (why) $("token-why").textContent = why;
  openToken();
}

const openToken = dialog("token-dialog", (form) => {
  sessionStorage.setItem("im.token", form.get("token").trim());
  connect();
});
$("new-chat").onclick = dialog("chat-dialog", (form) => openChat(form.get("user").trim()));
$("new-group").onclick = dialog("group-dialog", (form) => {
  const members = form.get("members").split(",").map((user) => user.trim()).filter(Boolean);
  createGroup(form.get("title").trim(), members);
});
$("back").onclick = () => choose(null);
$("log").onscroll = () => { if (open && $("log").scrollTop < 40) older(open); };
$("composer").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (text && open) say(open, text);
  $("text").value = "";
};
$("text").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
};
let typedAt = 0;
$("text").oninput = () => {
  if (!open || open.id.startsWith("@") || Date.now() - typedAt < TYPING_MS) return;
  typedAt = Date.now();
  send({ t: "typing", conv: open.id });
};
addEventListener("focus", draw);
document.addEventListener("visibilitychange", draw);
addEventListener("online", () => { if (!socket && retryTimer) connect(); });

takeToken();
for (const [id, waiting] of JSON.parse(sessionStorage.getItem("im.outbox") || "[]")) {
  outbox.set(id, { ...waiting, sentAt: 0 });
}
connect();
draw();
