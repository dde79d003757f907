// Draws the page on which a player is the scheduler: of a real server that page.py's command
// serves, or of recorded orders that are in the page. All that a server wrote goes in as text.
"use strict";

const { texts, races } = JSON.parse(document.getElementById("data").textContent);
const LIVE = races === null;
const at = (id) => document.getElementById(id);
const say = (text, values) => text.replace(/\{(\w+)\}/g, (hole, name) => values?.[name] ?? hole);

/** Return an element with these children, of which strings become text. */
function made(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// -- The orders that are known: a log of rows, and the states that they lead through

const table = { step: [], point: [], view: [] };
const states = new Map();
const runs = [];
let rows = 0; // of the log that were read
let badRuns = 0;

/** Return a state by its number. `from` and `by`: where the first order that reached it was before,
    and the actor of the last step; `orders` and `bad`: how many known orders lead through it. */
function state(number, from = -1, by = "", depth = 0) {
  if (!states.has(number)) {
    const kids = new Map();
    states.set(number, { number, from, by, depth, kids, orders: 0, bad: 0, end: "", point: -1 });
  }
  return states.get(number);
}

function learn(log) {
  for (const row of log) {
    const [[kind, value]] = Object.entries(row);
    if (kind === "run") learnRun(value);
    else table[kind].push(value);
  }
  rows += log.length;
}

function learnRun(run) {
  let here = state(0);
  const bad = run.end ? 1 : 0;
  run.path = [];
  run.points.forEach((point, place) => {
    here.point = point;
    here.view = run.views?.[place];
    here.orders += 1;
    here.bad += bad;
    const actor = table.step[table.point[point][run.chosen[place]]][0];
    run.path.push(actor);
    const next = state(run.states[place], here.number, actor, here.depth + 1);
    here.kids.set(actor, next.number);
    here.options = run.next?.[place];
    here = next;
  });
  here.orders += 1;
  here.bad += bad;
  here.view = run.views?.[run.points.length];
  here.lines = run.end ?? here.lines ?? [];
  here.end = bad || here.end === "bad" ? "bad" : "good";
  badRuns += bad;
  runs.push(run);
}

/** Link the states of recorded orders to those that other orders reached by the same steps. */
function linkStates() {
  for (const here of states.values()) {
    here.options?.forEach((number, place) => {
      const actor = table.step[table.point[here.point][place]][0];
      if (!here.kids.has(actor) && states.has(number)) here.kids.set(actor, number);
    });
  }
}

/** Return for each point of a run whether an actor had to stop there although it could go on. */
function stopsOf(run) {
  return run.points.map((point, place) => {
    const last = run.path[place - 1];
    const names = table.point[point].map((step) => table.step[step][0]);
    return place > 0 && last !== run.path[place] && names.includes(last);
  });
}

/** Return the order that breaks it with the fewest stops, and of those the shortest. */
function shortestBad() {
  const cost = (run) => stopsOf(run).filter(Boolean).length * 1e6 + run.path.length;
  const bad = runs.filter((run) => run.end);
  return bad.reduce((best, run) => (best && cost(best) <= cost(run) ? best : run), null);
}

/** Return the path by which a state was reached first. */
function pathTo(number) {
  const path = [];
  for (let here = states.get(number); here.from >= 0; here = states.get(here.from)) {
    path.push(here.by);
  }
  return path.reverse();
}

/** Return the states along a path, as far as they are known. */
function statesAlong(path) {
  const found = [states.get(0)];
  for (const actor of path) {
    const next = states.get(found.at(-1)?.kids.get(actor));
    if (!next) break;
    found.push(next);
  }
  return found.filter(Boolean);
}

// -- Where the server is held

let view = { status: "starts", path: [] };
let version = -1;
let progress = { text: "", whole: false, impossible: "" };
let plan = null; // the path that Go on follows
let busy = true;
let note = "";

/** Show where recorded orders stand after a path. */
function recordedView(path) {
  const along = statesAlong(path);
  const here = along.at(-1);
  const steps = path.map((actor, place) => {
    const options = table.point[along[place].point].map((number) => table.step[number]);
    const last = path[place - 1];
    const stopped = place > 0 && last !== actor && options.some(([name]) => name === last);
    return [...options.find(([name]) => name === actor), stopped];
  });
  const isEnd = here.point < 0;
  return {
    ...table.view[here.view],
    path,
    steps,
    state: here.number,
    status: isEnd ? "over" : "at gates",
    end: isEnd ? here.lines : [],
    choices: isEnd ? [] : table.point[here.point].map((number) => table.step[number]),
    guesses: path.map((_, place) => guesses.get(path.slice(0, place + 1).join("\n")) ?? ""),
  };
}

const guesses = new Map(); // of recorded orders

/** Take the server along a path: in a page of recorded orders, as far as they are known. */
async function go(path, toEnd = false) {
  if (busy) return;
  const guess = path.length > view.path.length ? at("guess").value : "";
  at("guess").value = "";
  if (!LIVE) {
    if (guess) guesses.set(path.join("\n"), guess);
    view = recordedView(toEnd ? pathToEnd(path) : path);
    return show();
  }
  busy = true;
  show();
  const body = JSON.stringify({ here: view.path, path, to_end: toEnd, guess, row: rows });
  try {
    const answer = await fetch("go", { method: "POST", body });
    if (!answer.ok && answer.status !== 409) throw new Error(answer.statusText);
    take(await answer.json());
    note = answer.status === 409 ? texts.elsewhere : "";
  } catch {
    note = texts.gone;
  }
  busy = false;
  show();
}

/** Return a recorded path to its end, on which each goes on as long as it can. */
function pathToEnd(path) {
  const found = [...path];
  for (let here = statesAlong(path).at(-1); here.kids.size; ) {
    const last = found.at(-1);
    const actor = here.kids.has(last) ? last : here.kids.keys().next().value;
    found.push(actor);
    here = states.get(here.kids.get(actor));
  }
  return found;
}

/** Take what the command answered. */
function take(data) {
  learn(data.log.slice(Math.max(0, rows - data.rows)));
  if (data.version < version) return;
  ({ version, view, progress } = data);
  busy = data.busy;
}

/** Ask the command for news, again and again. */
async function follow() {
  for (;;) {
    try {
      const answer = await fetch(`state?version=${version}&row=${rows}`);
      if (!answer.ok) throw new Error(answer.statusText);
      const data = await answer.json();
      if (data.version !== version || data.log.length) {
        if (note === texts.gone) note = "";
        take(data);
        show();
      }
      await new Promise((done) => setTimeout(done, 200));
    } catch {
      note = texts.gone;
      show();
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
}

// -- What the player does

const isOnPlan = () =>
  plan && plan.length > view.path.length && view.path.every((actor, place) => actor === plan[place]);

function choose(actor) {
  if (isOnPlan() && plan[view.path.length] !== actor) plan = null;
  go([...view.path, actor]);
}

const actions = {
  back: () => view.path.length && go(view.path.slice(0, -1)),
  start: () => go([]),
  on() {
    const names = (view.choices ?? []).map(([name]) => name);
    const last = view.path.at(-1);
    const next = isOnPlan() ? plan[view.path.length] : names.includes(last) ? last : names[0];
    if (next) go([...view.path, next]);
  },
  finish: () => view.status === "at gates" && (isOnPlan() ? go(plan) : go(view.path, true)),
  shortest() {
    const run = shortestBad();
    if (!run) return;
    plan = run.path;
    go([]);
  },
};
const KEYS = { ArrowLeft: "back", Backspace: "back", Home: "start", ArrowRight: "on", End: "finish", s: "shortest" };

for (const [id, action] of Object.entries(actions)) at(id).addEventListener("click", action);
document.addEventListener("keydown", (event) => {
  const scrolls = event.target.closest("#tree, .scroll");
  if (event.target.matches("input") || scrolls || event.ctrlKey || event.altKey || event.metaKey) return;
  const choice = /^[1-9]$/.test(event.key) ? view.choices?.[event.key - 1] : null;
  const action = actions[KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]];
  if (!choice && !action) return;
  event.preventDefault();
  if (choice) choose(choice[0]);
  else action();
});

// -- What is shown

const words = ([, event, what]) => say(texts.event[event] ?? `${event} {what}`, { what });

function show() {
  showStatus();
  showChoices();
  showActors();
  showSteps();
  showHeard();
  showCode();
  showKnown();
}

function showStatus() {
  const status = {
    starts: () => texts.starts,
    failed: () => texts.failed,
    "at gates": () => say(texts.choose, { number: view.path.length + 1 }),
    over: () => (view.unclear ? texts.unclear : view.end.length ? texts.broke : texts.held_up),
  }[view.status]();
  const other = view.other ? say(texts.other, { who: view.other }) : "";
  const text = [note, other, busy && view.status !== "starts" ? texts.busy : status];
  const line = text.filter(Boolean).join(" ");
  if (at("status").textContent !== line) at("status").textContent = line;
  at("end").hidden = !view.end?.length;
  at("end").replaceChildren(...(view.end ?? []).map((one) => made("pre", {}, one)));
  const has = { back: view.path.length, start: view.path.length, on: view.choices?.length };
  has.finish = view.status === "at gates";
  has.shortest = badRuns;
  for (const id of Object.keys(actions)) at(id).setAttribute("aria-disabled", String(!has[id] || busy));
}

function showChoices() {
  const focused = document.activeElement?.dataset.actor;
  const here = states.get(view.state);
  const last = view.path.at(-1);
  const names = (view.choices ?? []).map(([name]) => name);
  const buttons = (view.choices ?? []).map((step, place) => {
    const kid = states.get(here?.kids.get(step[0]));
    const counts = { count: kid?.orders, bad: kid?.bad };
    const known = kid ? say(kid.orders === 1 ? texts.order : texts.orders, counts) : texts.new;
    const lines = [made("span", {}, words(step)), made("span", { class: "soft" }, step.slice(1).filter((one) => typeof one === "string" && one).join(" "))];
    lines.push(made("span", { class: kid?.bad ? "bad" : "soft" }, known));
    if (names.includes(last) && last !== step[0]) {
      lines.push(made("span", { class: "soft" }, say(texts.preempts, { who: last })));
    }
    const isPlanned = isOnPlan() && plan[view.path.length] === step[0];
    if (isPlanned) lines.push(made("span", { class: "good" }, `→ ${texts.planned}`));
    const button = made("button", { type: "button", "data-actor": step[0] }, made("kbd", {}, String(place + 1)), " ", made("b", {}, step[0]), ...lines);
    button.classList.toggle("planned", Boolean(isPlanned));
    button.setAttribute("aria-disabled", String(busy || (!LIVE && !kid)));
    button.addEventListener("click", () => (LIVE || kid) && choose(step[0]));
    return button;
  });
  at("choices").replaceChildren(...buttons);
  const again = buttons.find((button) => button.dataset.actor === focused) ?? buttons[0];
  if (focused !== undefined) (again ?? at("back")).focus();
  at("guessing").hidden = view.status !== "at gates";
}

function showActors() {
  const items = (view.actors ?? []).map(({ step, held, holder, holds }) => {
    const [name, event, what] = step;
    let where = held ? words(step) : say(texts.sleeps, { what: `${event.slice(2)} ${what}` });
    if (event === "B.lock.wait" && holder) where = say(texts.waits, { who: name, what, other: holder });
    const parts = [made("b", {}, name), " ", where, " ", made("code", { class: "soft" }, step[3] ?? "")];
    for (const lock of holds) parts.push(made("span", { class: "good" }, ` · ${say(texts.holds, { what: lock })}`));
    return made("li", {}, ...parts);
  });
  at("actors").hidden = !items.length;
  at("actors").querySelector("ul").replaceChildren(...items);
}

function showSteps() {
  const names = [...new Set(view.path)];
  const head = made("tr", {}, ...[texts.number, ...names].map((name) => made("th", { scope: "col" }, name)));
  const lines = (view.steps ?? []).map((step, place) => {
    const cells = names.map((name) => {
      if (name !== step[0]) return made("td", {});
      const guess = view.guesses?.[place];
      const more = guess ? [made("i", {}, say(texts.guess_was, { text: guess }))] : [];
      return made("td", {}, words(step), " ", made("code", { class: "soft" }, step[3]), ...more);
    });
    return made("tr", step[4] ? { class: "stop" } : {}, made("td", {}, `${step[4] ? "> " : ""}${place + 1}`), ...cells);
  });
  const section = at("steps");
  section.hidden = !lines.length;
  section.querySelector("thead").replaceChildren(head);
  section.querySelector("tbody").replaceChildren(...lines);
  const box = section.querySelector(".scroll");
  box.scrollTop = box.scrollHeight;
}

/** Show the program of a recorded race, and which of its lines are next. */
function showCode() {
  if (LIVE) return;
  const next = new Map();
  for (const { step } of view.actors ?? []) next.set(step[3], [...(next.get(step[3]) ?? []), step[0]]);
  const lines = race.code.map(([place, text]) => {
    const names = next.get(place);
    const marks = names ? [made("b", {}, `  ← ${names.join(", ")}`)] : [];
    return made("li", names ? { class: "at" } : {}, `${place.split(":")[1].padStart(4)}  ${text}`, ...marks);
  });
  at("code").hidden = false;
  at("code").querySelector("ol").replaceChildren(...lines);
}

function showHeard() {
  const lines = (view.heard ?? []).map(([who, deed, text]) =>
    made("li", {}, made("b", {}, who), ` ${texts.deed[deed] ?? deed} `, text));
  at("heard").hidden = !lines.length;
  at("heard").querySelector("ol").replaceChildren(...lines);
}

// -- The tree of what is known

const STEP = 12; // pixels between two steps
const NARROW = 3; // the least between two orders
const WIDE = 40; // and the most
const ROOM = 10; // around the tree
let scale = 1;
let drawnRows = -1;
let places = new Map(); // of states: [x, y]

/** Return whether an order reached a state by this step first: only there it is drawn. */
const isFirst = (here, actor, next) => next.from === here.number && next.by === actor;

/** Give each state a column: a leaf, and an order that is the same as another one, has its own.
    Return them, the orders that are the same, and how many columns there are. */
function layOut() {
  const columns = new Map();
  const folds = [];
  let count = 0;
  const visit = (here) => {
    const under = [];
    for (const [actor, kid] of here.kids) {
      const next = states.get(kid);
      if (isFirst(here, actor, next)) under.push(visit(next));
      else {
        folds.push([here, count]);
        under.push(count++);
      }
    }
    const column = under.length ? (under[0] + under.at(-1)) / 2 : count++;
    columns.set(here.number, column);
    return column;
  };
  visit(state(0));
  return { columns, folds, count: Math.max(count, 1) };
}

/** Draw all that is known: a path for all lines of one kind, so that a thousand orders are soon
    drawn. */
function drawTree() {
  const { columns, folds, count } = layOut();
  const svg = at("tree").querySelector("svg");
  const fit = (at("tree").clientWidth - 2 * ROOM) / count;
  const wide = Math.min(Math.max(fit, NARROW), WIDE) * scale;
  const high = STEP * Math.max(scale, 0.75);
  const x = (column) => Math.round(ROOM + (column + 0.5) * wide);
  const y = (depth) => Math.round(ROOM + depth * high);
  places = new Map([...columns].map(([number, column]) => [number, [x(column), y(states.get(number).depth)]]));
  const lines = { edge: [], "edge bad": [], fold: [], cross: [], end: [] };
  for (const [number, [left, top]] of places) {
    const here = states.get(number);
    if (here.from >= 0) {
      const [above, high] = places.get(here.from);
      lines[here.bad && here.bad === here.orders ? "edge bad" : "edge"].push(`M${above} ${high}L${left} ${top}`);
    }
    if (here.end === "bad") lines.cross.push(`M${left - 3} ${top}l6 6m0 -6l-6 6`);
    else if (here.end) lines.end.push(`M${left - 2} ${top}h4v4h-4z`);
  }
  for (const [here, column] of folds) {
    const [left, top] = places.get(here.number);
    const end = y(here.depth + 1);
    lines.fold.push(`M${left} ${top}L${x(column)} ${end - 3}m-3 3a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`);
  }
  const drawn = Object.entries(lines).map(([kind, parts]) => line(kind, parts.join("")));
  svg.replaceChildren(...drawn, line("plan", ""), line("here", ""));
  const deepest = Math.max(...[...columns.keys()].map((number) => states.get(number).depth));
  const size = [Math.round(2 * ROOM + count * wide), Math.round(2 * ROOM + (deepest + 1) * high)];
  svg.setAttribute("width", size[0]);
  svg.setAttribute("height", size[1]);
  svg.setAttribute("aria-label", say(texts.tree_label, { runs: runs.length, states: states.size, bad: badRuns }));
  drawnRows = rows;
  drawPaths();
}

function line(kind, parts) {
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("class", kind);
  path.setAttribute("d", parts);
  return path;
}

/** Draw where the server is held, and where Go on leads. */
function drawPaths() {
  const svg = at("tree").querySelector("svg");
  const along = (path) => statesAlong(path).map(({ number }) => places.get(number)).filter(Boolean);
  const joined = (points) => (points.length ? `M${points.map((point) => point.join(" ")).join("L")}` : "");
  const here = along(view.path);
  const mark = here.length ? `m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0` : "";
  svg.querySelector(".here")?.setAttribute("d", joined(here) + mark);
  svg.querySelector(".plan")?.setAttribute("d", isOnPlan() ? joined(along(plan)) : "");
}

function zoom(by) {
  scale = Math.min(Math.max(scale * by, 0.25), 16);
  drawTree();
}

at("closer").addEventListener("click", () => zoom(1.5));
at("farther").addEventListener("click", () => zoom(1 / 1.5));
addEventListener("resize", () => drawTree());
at("tree").addEventListener("click", (event) => {
  const box = at("tree").querySelector("svg").getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let [best, least] = [null, 400]; // within 20 pixels
  for (const [number, [left, top]] of places) {
    const far = (left - x) ** 2 + (top - y) ** 2;
    if (far < least) [best, least] = [number, far];
  }
  if (best !== null) {
    plan = null;
    go(pathTo(best));
  }
});

function showKnown() {
  at("progress").textContent = progress.text;
  const verdict = at("verdict");
  const isSafe = progress.whole && !badRuns;
  verdict.className = badRuns ? "bad" : isSafe ? "good" : "soft";
  verdict.textContent = badRuns
    ? say(badRuns === 1 ? texts.bad_one : texts.bad_count, { count: badRuns })
    : isSafe ? progress.impossible : texts.no_bad;
  if (drawnRows !== rows) requestAnimationFrame(drawTree);
  else drawPaths();
}

// -- Begin

let race = null; // the recorded one that is shown

/** Show a recorded race: that which the address names, or the first one. */
function open(wanted = location.hash.slice(1)) {
  race = races.find(({ name }) => name === wanted) ?? races[0];
  for (const rowsOf of Object.values(table)) rowsOf.length = 0;
  for (const known of [states, guesses]) known.clear();
  runs.length = 0;
  rows = badRuns = 0;
  [plan, drawnRows] = [null, -1];
  state(0);
  learn(race.rows);
  linkStates();
  progress = race.progress;
  at("about").textContent = race.about;
  for (const link of at("races").children) {
    if (link.id === race.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  view = recordedView([]);
  show();
}

state(0);
if (LIVE) {
  show();
  follow();
} else {
  busy = false;
  for (const link of at("races").children) link.addEventListener("click", () => open(link.id));
  addEventListener("hashchange", () => location.hash !== `#${race.name}` && open());
  open();
}
