// The first page: /now every few seconds, /figures once a minute.
import { $, STATES, Token, amount, chip, clock, coded, count, el, fact, linked, pieces, say, short, span, tile } from "/text.js";
import { drawDays } from "/days.js";
import { drawStarts } from "/starts.js";
import { follow, healthWord, now } from "/live.js";
import { Table } from "/table.js";
import { track } from "/track.js";

const POLL_SECONDS = 2;
const CROWD = 2000; // jobs: each look costs the agent a moment for each of them
const FIGURES_SECONDS = 60;

let view = null;
let figures = null;
let token = new Token("", 6);

const jobs = new Table("jobs", [
  { key: "id", words: "Job", kind: "nowrap", head: true, cell: (job) => el("a", { href: `/job/${job.id}` }, `Job ${job.id}`) },
  { key: "state", words: "State", kind: "whole", cell: (job) => [chip(STATES[job.state] ?? "still", job.state), el("div", { class: "sub" }, ...stage(job))] },
  { key: "type", words: "Type", kind: "whole type", cell: (job) => [...pieces(job.instance_type), el("div", { class: "sub" }, [job.zone, job.public_ip].filter(Boolean).join("  "))] },
  { key: "next", words: "Next", kind: "whole", cell: next },
  { key: "earned", words: "Earned", kind: "number corner", cell: (job) => [token.text(job.earned), fuel(job)] },
  { key: "price", words: "Price", kind: "number wide", cell: (job) => token.hourly(job.price) },
], () => refresh());

function stage(job) {
  const again = job.generation > 1 || job.attempt > 1 ? `, generation ${job.generation}, attempt ${job.attempt}` : "";
  const usual = job.usual_seconds ? ` (usually ${span(job.usual_seconds)})` : "";
  const words = job.stage === job.state ? "for " : `${job.stage}, for `;
  return [words, clock(-job.since), `${usual}${again}`];
}

function next(job) {
  if (!job.deadline) return job.note ? el("div", { class: "note" }, job.note) : "–";
  const passed = job.deadline < now();
  return [
    el("span", { class: "left" }, clock(passed ? -job.deadline : job.deadline)),
    el("span", { class: "sub" }, ` ${passed ? "since" : "until"} ${job.deadline_is}`),
    job.state === "bootstrapping" ? track(job) : null,
    job.note ? el("div", { class: "note" }, job.note) : null,
  ];
}

// How much of what the user paid in is still there.
function fuel(job) {
  if (job.state.startsWith("end") || job.state === "bootstrapping") return null;
  const left = Number(job.escrow);
  const part = left + Number(job.earned) > 0 ? left / (left + Number(job.earned)) : 0;
  const label = `${token.text(job.escrow)} of the escrow left`;
  const bar = el("i", {});
  bar.style.width = `${(100 * part).toFixed(1)}%`;
  return el("div", { class: part < 0.1 ? "fuel low" : "fuel", role: "img", "aria-label": label, title: label }, bar);
}

function draw(found) {
  view = found;
  token = new Token(view.money.symbol, view.money.decimals);
  $("who").replaceChildren(linked(short(view.provider), view.links.provider, { title: view.provider }), ` on chain ${view.chain_id}`);
  drawHealth();
  drawTiles();
  jobs.draw(view.jobs, view.page, moving);
  say($("jobs-none"), jobs.words ? "No job has these words." : "No job is assigned. The next one appears here within a block.");
  drawTypes();
  drawPlaces();
  drawChain();
  say($("footer"), `oyster-provider ${view.version}, up ${span(now() - view.started_at)}`);
}

// A bar that grows, or a time that has come, is drawn anew.
const moving = (job) => (job.state === "bootstrapping" ? Math.floor(now() / 2) : Number(job.deadline && job.deadline < now()));

function drawHealth() {
  healthWord(view.stalled ? "stalled" : view.health.word);
  const told = (grade, kind) => view.health.parts.filter((part) => part.grade === grade).map((part) => [kind, part.line]);
  const items = [...told("fail", "bad"), ...told("warn", "warn"), ...view.notices.map((text) => ["warn", text])];
  $("notices").hidden = !items.length;
  const key = JSON.stringify(items);
  if ($("notices").dataset.key === key) return;
  $("notices").dataset.key = key;
  $("notices").replaceChildren(...items.map(([kind, text]) => el("li", { class: kind }, ...coded(text))));
}

function drawTiles() {
  const { counts, money } = view;
  const days = figures?.gas_days;
  const gas = money.gas_jobs === null ? "jobs: not known yet" : `${count(Math.floor(money.gas_jobs))} jobs`;
  const stake = money.stake_jobs === null ? "what a job locks is not known yet" : `room for ${count(money.stake_jobs)} more jobs`;
  const tiles = [
    ["Running", count(counts.running + counts.exiting), counts.exiting ? `${counts.exiting} exiting` : "jobs that earn"],
    ["Bootstrapping", count(counts.bootstrapping), view.nearest ? until(view.nearest) : "none waits"],
    ["Earning", [token.hour(money.rate), `${token.symbol}/h`], "all running jobs"],
    ["Earned today", [token.digits(money.earned_today), token.symbol], `${token.text(money.earned_total)} in all`],
    ...(view.market.has_stake ? [["Stake", [amount(money.stake_total, money.stake_decimals, 0), money.stake_symbol], stake]] : []),
    ["Coin for gas", amount(money.coin_balance, 18, 4), days === null || days === undefined ? gas : `${gas}, ${days < 1 ? "less than a day" : `${count(Math.floor(days))} days`} at this week's pace`],
  ];
  $("tiles").replaceChildren(...tiles.map(tile));
}

// What is to come, or that it is past and since when.
function until(at) {
  const what = view.market.slashes ? "slash point" : "goal";
  return at < now() ? [`${what} passed `, clock(-at), " ago"] : [`${what} in `, clock(at)];
}

function drawTypes() {
  const ranks = new Map((figures?.ranks ?? []).map((row) => [row.instance_type, row]));
  const rows = view.types.map((type) => typeRow(type, ranks.get(type.instance_type)));
  say($("types-title"), view.market.lists_on_chain ? "Offers against the market" : "Rate cards");
  for (const title of document.querySelectorAll("th.ranked")) title.hidden = !view.market.lists_on_chain;
  if (!rows.length) rows.push(el("tr", {}, el("td", { colspan: 6, class: "quiet" }, "Nothing is on offer.")));
  $("types").replaceChildren(...rows);
}

function typeRow(type, rank) {
  const why = type.trouble || type.blocked || (type.more ? "" : type.limited_by);
  const margin = type.margin === null ? "–" : `${type.margin < 0 ? "−" : "+"}${Math.abs(type.margin).toFixed(4)}`;
  const absent = view.market.lists_on_chain ? "not listed" : "not shown";
  const room = type.listed && !type.hidden ? `room for ${count(type.more)}` : `${absent}, room for ${count(type.more)}`;
  return el("tr", {},
    el("th", { scope: "row" }, ...pieces(type.instance_type), el("div", { class: "sub" }, room, why ? `: ${why}` : type.limited_by ? `, then ${type.limited_by}` : "")),
    el("td", { class: "number" }, token.hour(type.price)),
    ...(view.market.lists_on_chain ? [el("td", { class: "number" }, rank?.rank ? `${rank.rank} of ${rank.listed}` : rank ? `– of ${rank.listed}` : "–"),
    el("td", { class: "number wide" }, rank?.cheapest_other ? token.hour(rank.cheapest_other) : "–")] : []),
    el("td", { class: `number ${type.margin < 0 ? "loss" : ""}` }, margin));
}

const GRADES = { ok: "good", warn: "warn", fail: "bad" };
const LOOKS = { ok: "well", warn: "look", fail: "away" };

function drawPlaces() {
  const places = view.health.parts.filter((part) => part.kind === "region" || part.kind === "node" || part.kind === "credentials");
  const rows = places.map((part) => el("li", {}, chip(GRADES[part.grade], LOOKS[part.grade]), " ",
    el("strong", {}, part.name || "AWS credentials"), el("div", { class: "sub" }, ...coded(part.grade === "ok" ? part.text : [part.text, part.todo].filter(Boolean).join("; ")))));
  $("places").replaceChildren(...rows);
}

function drawChain() {
  say($("chain-title"), view.market.has_stake ? "Chain and stake" : "Chain");
  const { chain, money } = view;
  const locked = `${amount(money.stake_locked, money.stake_decimals, 0)} of ${amount(money.stake_total, money.stake_decimals, 0)} ${money.stake_symbol}`;
  $("chain").replaceChildren(
    fact("Chain head", chain.head ? count(chain.head) : "not read yet", ...(chain.head ? [", seen ", clock(-chain.head_at), " ago"] : [])),
    fact("Final block", `${count(chain.final)} (${chain.head - chain.final} behind the head)`),
    fact("Market", linked(short(view.registry), view.links.registry, { title: view.registry, class: "mono" })),
    ...(view.market.has_stake ? [fact("Stake locked", locked)] : []),
    fact("Gas, 24 hours", `${amount(money.gas_day, 18, 4)} of ${amount(money.gas_day_budget, 18, 4)}`));
}

function drawFigures(found) {
  figures = found.at ? found : null;
  if (!figures || !view) return;
  drawDays(figures.days, token);
  drawStarts(figures, view.market);
  drawTypes();
  drawTiles();
}

// At once where the first figures are not there yet, or the view they are drawn with is not.
const figuresEvery = () => (figures && view ? FIGURES_SECONDS : 1);

const refresh = follow(() => `/now?${jobs.query()}`, () => (view && view.page.total > CROWD ? 5 : POLL_SECONDS), draw);
follow(() => "/figures", figuresEvery, drawFigures, () => {});
