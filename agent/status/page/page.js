"use strict";
// Draws /jobs every two seconds and moves the clocks in between. Text only ever enters the page as
// text: what users of the market wrote (image URLs, types) is never parsed as HTML.

const POLL_MS = 2000;
const HURRY_SECONDS = 30;
const STATES = { bootstrapping: "calm", running: "good", exiting: "warn", ending: "still", ended: "still", refused: "bad" };
const WORDS = { stalled: "bad", "not ready": "bad", serving: "good" };
const SVG = "http://www.w3.org/2000/svg";

let view = null;
let silentSince = null;
let skew = 0; // seconds the server's clock is ahead of this browser's
const drawn = new Map();

const $ = (id) => document.getElementById(id);
const now = () => Date.now() / 1000 + skew;

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} days ${Math.floor((s % 86400) / 3600)} h`;
}

// Base units as a decimal text with `places` digits, without going through a float.
function amount(units, decimals, places) {
  const digits = String(units).padStart(decimals + 1, "0");
  const cut = digits.length - decimals;
  const whole = digits.slice(0, cut).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return places ? `${whole}.${digits.slice(cut).padEnd(places, "0").slice(0, places)}` : whole;
}

// Two digits of money; four of what is less than one, for a young job earns thousandths.
const cents = (units) => (BigInt(units) > 0n && BigInt(units) < 10n ** BigInt(view.money.decimals) ? 4 : 2);
const token = (units, places = cents(units)) => `${amount(units, view.money.decimals, places)} ${view.money.symbol}`;
// A price (base units x 10^12 a second) as whole tokens an hour, rounded to 4 digits.
function hourly(price) {
  const unit = 10n ** BigInt(12 + view.money.decimals - 4);
  return `${amount((BigInt(price) * 3600n + unit / 2n) / unit, 4, 4)} ${view.money.symbol}`;
}

const short = (address) => (address.length > 14 ? `${address.slice(0, 8)}…${address.slice(-6)}` : address);

async function poll() {
  if (!document.hidden || !view) {
    try {
      const answer = await fetch("/jobs", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      view = await answer.json();
      skew = view.now - Date.now() / 1000;
      document.body.classList.remove("offline");
      silentSince = null;
      draw();
    } catch (error) {
      document.body.classList.add("offline");
      silentSince ??= new Date();
      health("bad", `agent does not answer since ${silentSince.toLocaleTimeString()}`);
    }
  }
  setTimeout(poll, POLL_MS);
}

function health(kind, words) {
  const node = $("health");
  if (node.textContent !== words) node.textContent = words;
  node.className = `health ${kind}`;
}

function draw() {
  $("who").textContent = `${short(view.provider)} on chain ${view.chain_id}`;
  $("who").title = view.provider;
  drawHealth();
  drawNotices();
  drawTiles();
  drawJobs();
  drawTypes();
  drawChain();
  $("footer").textContent = `oyster-provider ${view.version}, up ${span(now() - view.started_at)}`;
  tick();
}

function drawHealth() {
  const word = view.stalled ? "stalled" : view.health.word;
  health(WORDS[word] ?? "warn", word === "look" ? "serving, look below" : word);
}

function drawNotices() {
  const told = (grade, kind) => view.health.parts.filter((part) => part.grade === grade).map((part) => [kind, part.line]);
  const items = [...told("fail", "bad"), ...told("warn", "warn"), ...view.notices.map((text) => ["warn", text])];
  $("notices").hidden = !items.length;
  $("notices").replaceChildren(...items.map(([kind, text]) => el("li", { class: kind }, ...coded(text))));
}

// What stands between backticks is a command to type.
function coded(text) {
  return text.split("`").map((part, at) => (at % 2 ? el("code", { class: "mono" }, part) : part));
}

function drawTiles() {
  const by = (state) => view.jobs.filter((job) => job.state === state).length;
  const starting = view.jobs.filter((job) => job.state === "bootstrapping" && job.deadline);
  const nearest = starting.length ? Math.min(...starting.map((job) => job.deadline)) : null;
  const rate = hourly(view.money.rate).split(" ")[0];
  const tiles = [
    ["Running", String(by("running") + by("exiting")), by("exiting") ? `${by("exiting")} exiting` : "jobs that earn"],
    ["Bootstrapping", String(by("bootstrapping")), nearest ? until(nearest) : "none waits"],
    ["Earning", [rate, `${view.money.symbol}/h`], "all running jobs"],
    ["Earned today", [amount(view.money.earned_today, view.money.decimals, cents(view.money.earned_today)), view.money.symbol], `${token(view.money.earned_total)} in all`],
    ["Chain head", amount(view.chain.head, 0, 0), view.chain.head ? ["seen ", -view.chain.head_at, " ago"] : "not read yet"],
  ];
  $("tiles").replaceChildren(...tiles.map(tile));
}

function tile([label, value, more]) {
  const parts = Array.isArray(value) ? [`${value[0]} `, el("small", {}, value[1])] : [value];
  const below = Array.isArray(more) ? [more[0], clock(more[1]), more[2] ?? ""] : [more];
  return el("div", {}, el("dt", {}, label), el("dd", { class: "value" }, ...parts), el("dd", { class: "more" }, ...below));
}

// What is to come, or that it is past and since when.
function until(at) {
  return at < now() ? ["slash point passed ", -at, " ago"] : ["slash point in ", at];
}

// A time that `tick` keeps current: to a moment, or (negative) since one.
function clock(at) {
  return el("span", { "data-clock": at });
}

function tick() {
  if (!view) return;
  for (const node of document.querySelectorAll("[data-clock]")) {
    const at = Number(node.dataset.clock);
    const seconds = at < 0 ? now() + at : at - now();
    node.textContent = at < 0 ? span(seconds) : seconds < 0 ? "passed" : span(seconds);
    const left = node.closest(".left");
    if (left) left.classList.toggle("hurry", at > 0 && seconds < HURRY_SECONDS);
  }
}

const ORDER = ["bootstrapping", "exiting", "running", "refused", "ending", "ended"];

const PAGE = 50; // as many as one looks at; a crowd is found by its words
let shown = PAGE;

// Whether a job has every word that was typed.
function matches(job, words) {
  const text = [job.id, job.instance_type, job.state, job.stage, job.instance, job.zone, job.public_ip, job.image].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function drawJobs() {
  const words = $("jobs-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = view.jobs.filter((job) => matches(job, words));
  $("jobs-find").hidden = view.jobs.length <= PAGE / 5 && !words.length;
  const sorted = found.sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || (a.deadline ?? Infinity) - (b.deadline ?? Infinity) || a.id - b.id);
  const jobs = sorted.slice(0, shown);
  $("jobs-more").hidden = jobs.length === sorted.length;
  $("jobs-hidden").textContent = `${sorted.length - jobs.length} more`;
  $("jobs-count").textContent = words.length ? `${found.length} of ${view.jobs.length}` : String(view.jobs.length || "");
  $("jobs-none").hidden = view.jobs.length > 0;
  const nodes = jobs.map((job) => {
    const passed = job.deadline && job.deadline < now();
    const moving = job.state === "bootstrapping" ? Math.floor(now() / 2) : Number(passed);
    const key = JSON.stringify(job) + moving;
    const known = drawn.get(job.id);
    if (known && known.key === key) return known.node;
    const node = jobNode(job);
    drawn.set(job.id, { key, node });
    return node;
  });
  const list = $("job-list");
  if (nodes.length !== list.children.length || nodes.some((node, i) => node !== list.children[i])) list.replaceChildren(...nodes);
  const here = new Set(jobs.map((job) => job.id));
  for (const id of drawn.keys()) if (!here.has(id)) drawn.delete(id);
}

function jobNode(job) {
  const chip = el("span", { class: `chip ${STATES[job.state] ?? "still"}` }, job.state);
  const where = [job.instance_type, job.zone].filter(Boolean).join(", ");
  const who = el("div", { class: "who" },
    el("div", {}, el("span", { class: "name" }, `Job ${job.id}`), chip),
    el("div", { class: "sub" }, where),
    el("div", { class: "sub mono" }, [job.instance, job.public_ip].filter(Boolean).join("  ")));
  const bootstrapping = job.state === "bootstrapping";
  const way = el("div", { class: "way" }, bootstrapping ? lanes(job) : job.state.startsWith("end") ? null : fuel(job), el("div", { class: "sub" }, words(job)));
  const left = el("div", { class: "until" },
    el("div", { class: "left" }, job.deadline ? clock(job.deadline < now() ? -job.deadline : job.deadline) : "–"),
    el("div", { class: "sub" }, job.deadline ? `${job.deadline < now() ? "since" : "until"} ${job.deadline_is}` : ""));
  const money = el("div", { class: "money" },
    el("div", {}, `${token(job.earned)} earned`),
    el("div", { class: "sub" }, `${hourly(job.price)}/h`));
  return el("li", { class: "job" }, who, way, left, money, job.note ? el("div", { class: "note" }, job.note) : null);
}

function words(job) {
  const again = job.generation > 1 || job.attempt > 1 ? `, generation ${job.generation}, attempt ${job.attempt}` : "";
  const usual = job.usual_seconds ? ` (usually ${span(job.usual_seconds)})` : "";
  const since = el("span", {}, `${job.stage} for `, el("span", { "data-clock": -job.since }), `${usual}${again}`);
  return since;
}

function lanes(job) {
  const names = el("div", { class: "lane-names", "aria-hidden": "true" }, el("span", {}, "host"), el("span", {}, "image"));
  return el("div", { class: "lanes" }, names, track(job));
}

// Stages as bars between assignment and slash point, image beside the host's stages.
function track(job) {
  const from = Math.min(job.since, ...job.stages.map((stage) => stage.started_at));
  const to = Math.max(job.deadline ?? from + 1, now(), from + 1);
  const x = (at) => (100 * (at - from)) / (to - from);
  const said = job.stages.map((stage) => `${stage.name} ${stage.ended_at ? `took ${span(stage.ended_at - stage.started_at)}` : "is going on"}`);
  const box = svg("svg", { class: "track", viewBox: "0 0 100 22", preserveAspectRatio: "none", role: "img", "aria-label": said.join(", ") || "waiting" });
  for (const y of [3, 13]) box.append(svg("rect", { class: "rail", x: 0, y, width: 100, height: 6 }));
  for (const stage of job.stages) {
    const end = stage.ended_at ?? now();
    const bar = svg("rect", {
      class: stage.ended_at ? "done" : "going", x: x(stage.started_at), y: stage.name === "image" ? 13 : 3,
      width: Math.max(0.8, x(end) - x(stage.started_at) - 0.35), height: 6,
    });
    const title = svg("title", {});
    title.textContent = `${stage.name}: ${span(end - stage.started_at)}`;
    bar.append(title);
    box.append(bar);
  }
  box.append(line("now", x(now())), line("end", 100));
  return box;
}

function line(kind, x) {
  return svg("line", { class: kind, x1: x, x2: x, y1: 0, y2: 22, "vector-effect": "non-scaling-stroke" });
}

// How much of what the user paid in is still there.
function fuel(job) {
  const left = Number(job.escrow);
  const part = left + Number(job.earned) > 0 ? left / (left + Number(job.earned)) : 0;
  const bar = el("i", {});
  bar.style.width = `${(100 * part).toFixed(1)}%`;
  const label = `${token(job.escrow)} of the escrow left`;
  return el("div", { class: part < 0.1 ? "fuel low" : "fuel", role: "img", "aria-label": label, title: label }, bar);
}

// REGION/TYPE, so that a narrow screen breaks it at the slash and nowhere else.
function pieces(type) {
  return type.split(/(?<=\/)/).map((part) => el("span", {}, part));
}

function drawTypes() {
  const rows = view.types.map((type) => el("tr", {},
    el("th", { scope: "row" }, ...pieces(type.instance_type)),
    el("td", { class: "number" }, `${hourly(type.price)}/h`),
    el("td", { class: "number" }, type.listed ? String(type.more) : `${type.more} (not listed)`),
    el("td", { class: `number ${type.margin < 0 ? "loss" : ""}` }, type.margin === null ? "–" : `${type.margin < 0 ? "−" : "+"}${Math.abs(type.margin).toFixed(4)}`),
    el("td", {}, type.trouble || type.limited_by)));
  if (!rows.length) rows.push(el("tr", {}, el("td", { colspan: 5, class: "quiet" }, "Nothing is on offer.")));
  $("types").replaceChildren(...rows);
}

function drawChain() {
  const { chain, money } = view;
  const facts = [
    ["Final block", `${amount(chain.final, 0, 0)} (${chain.head - chain.final} behind the head)`],
    ...chain.endpoints.map((node) => [node.name, node.healthy ? (node.lag_blocks ? `${node.lag_blocks} blocks behind` : "in use") : node.error || "left out"]),
    ...view.health.parts.filter((part) => part.kind === "region").map((part) => [`AWS ${part.name}`, part.text]),
    ["Stake", `${amount(money.stake_total, money.stake_decimals, 0)} ${money.stake_symbol}, ${amount(money.stake_locked, money.stake_decimals, 0)} locked${money.stake_jobs === null ? "" : `, room for ${money.stake_jobs} jobs`}`],
    ["Coin for gas", `${amount(money.coin_balance, 18, 4)}${money.gas_jobs === null ? "" : `, for ${Math.floor(money.gas_jobs)} jobs`}`],
    ["Gas, 24 hours", `${amount(money.gas_day, 18, 4)} of ${amount(money.gas_day_budget, 18, 4)}`],
  ];
  $("chain").replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

$("jobs-filter").addEventListener("input", () => { shown = PAGE; if (view) { drawJobs(); tick(); } });
$("jobs-show").addEventListener("click", () => { shown += PAGE; drawJobs(); tick(); });
setInterval(tick, 1000);
document.addEventListener("visibilitychange", tick);
poll();
