// One job: /job/N.json every few seconds while it goes on.
import { $, HARMS, STATES, Token, amount, chip, clock, coded, dated, el, fact, linked, say, seconds, short, tile } from "/text.js";
import { follow, health, healthWord, now, silent } from "/live.js";
import { track } from "/track.js";

const number = location.pathname.split("/").pop();
let token = new Token("", 6);
let stake = new Token("", 18);
let over = false;
let lines = "";

document.title = `Job ${number}, Oyster provider`;
say($("title"), `Job ${number}`);

function draw(job) {
  token = new Token(job.token.symbol, job.token.decimals);
  stake = new Token(job.token.stake_symbol, job.token.stake_decimals);
  over = !job.row;
  healthWord(job.word);
  $("unknown").hidden = true;
  $("known").hidden = false;
  drawState(job);
  drawTiles(job);
  drawWay(job);
  $("facts").replaceChildren(...facts(job));
  $("money").replaceChildren(...money(job.money));
  drawProof(job.attestation);
  drawTimeline(job);
}

function drawState({ row, outcome, harms }) {
  const state = row ? chip(STATES[row.state] ?? "still", row.state) : chip("still", outcome.replaceAll("_", " ") || "over");
  $("state").replaceChildren(state, ...harms.map((harm) => chip(HARMS[harm.what], harm.what)));
  const notes = [...harms.map((harm) => harm.text), row?.note].filter(Boolean);
  $("notices").hidden = !notes.length;
  $("notices").replaceChildren(...notes.map((text) => el("li", { class: "warn" }, ...coded(text))));
}

function drawTiles(job) {
  const { row, chain, money } = job;
  const known = (units) => (units === null ? "–" : [token.digits(units), token.symbol]);
  const took = job.up_seconds;
  const window = job.window_seconds ? `of ${seconds(job.window_seconds)} that the market gives` : job.goal_seconds ? `the goal is ${seconds(job.goal_seconds)}` : "from its assignment";
  const end = row?.deadline ? (row.deadline < now() ? ["passed ", clock(-row.deadline), " ago"] : ["in ", clock(row.deadline)]) : null;
  const tiles = [
    ["Earned", known(money.earned), chain ? `at ${token.hourly(chain.price)}` : "the chain was not asked"],
    ["Instances cost", known(money.cost), money.cost === null ? "the type's price is not known" : "as its type cost then"],
    ["Margin", known(money.margin), "before gas"],
    ["Up after", took === null ? "–" : seconds(took), took === null ? "not up yet" : window],
  ];
  if (end) tiles.push(["Next", row.deadline_is, end]);
  $("tiles").replaceChildren(...tiles.map(tile));
}

function drawWay({ row }) {
  $("way").hidden = !row?.stages.length;
  if (row?.stages.length) $("way-track").replaceChildren(track(row));
}

function facts({ row, chain }) {
  if (!chain) return [fact("Chain", "has no such job, or no node answers")];
  const time = (name, at) => (at ? [fact(name, dated(at))] : []);
  return [
    fact("Type", chain.instance_type),
    fact("Generation", `${chain.generation}${row && row.attempt > 1 ? `, attempt ${row.attempt}` : ""}`),
    fact("User", linked(short(chain.user), chain.user_link, { class: "mono", title: chain.user })),
    fact("Provider", linked(short(chain.provider), chain.provider_link, { class: "mono", title: chain.provider })),
    fact("Image", el("span", { class: "mono" }, chain.enclave_url)),
    ...(chain.endpoint ? [fact("Endpoint", el("span", { class: "mono" }, chain.endpoint))] : []),
    ...time("Assigned", chain.assigned_at), ...time("Started", chain.started_at),
    ...time("Exit asked", chain.exit_requested_at), ...time("Stopped", chain.stopped_at),
    ...(chain.stop_reason === "none" ? [] : [fact("Stopped because", chain.stop_reason.replaceAll("_", " "))]),
  ];
}

function money(found) {
  const known = (units) => (units === null ? "not known" : token.text(units));
  return [
    fact("Earned", known(found.earned)), fact("Escrow left", known(found.escrow)),
    fact("Instances cost", known(found.cost)), fact("Margin", known(found.margin)),
    fact("Gas, at most", `${amount(found.gas, 18, 6)} of the chain's coin`),
    ...(found.slashed === "0" ? [] : [fact("Slashed", stake.text(found.slashed))]),
  ];
}

function drawProof(found) {
  const rows = [fact("Last proof", found.attested_at ? dated(found.attested_at) : "not yet")];
  for (const [name, text] of found.words) rows.push(fact(name[0].toUpperCase() + name.slice(1), text));
  if (found.run) rows.push(fact("Run", `${found.run} on ${found.instance}`));
  if (found.image) rows.push(fact("Image", el("span", { class: "mono" }, found.image)));
  for (const [name, pcr] of Object.entries(found.pcrs)) rows.push(fact(name, el("span", { class: "mono" }, pcr)));
  for (const host of found.hosts) rows.push(fact(host.instance, ...hostWords(host)));
  $("proof").replaceChildren(...rows);
}

function hostWords(host) {
  const answers = host.refused ? `refused: ${host.refused}` : host.failures ? `${host.failures} answers missed in a row` : "";
  const proven = host.passed_at ? ["proven ", clock(-host.passed_at), " ago"] : ["not proven by this process"];
  const traffic = host.traffic ? `; ${host.traffic.words}` : "";
  return [`${host.state} in ${host.zone}, attempt ${host.attempt}; `, ...proven, answers ? `; ${answers}` : "", traffic];
}

// Drawn anew only when there is something new to read: whoever reads it keeps their place.
function drawTimeline({ timeline, chain }) {
  const key = JSON.stringify(timeline);
  if (key === lines) return;
  lines = key;
  const from = chain?.assigned_at ?? timeline[0]?.at ?? 0;
  const since = (at) => (at < from ? "–" : `+${seconds(at - from)}`);
  const rows = timeline.map((line) => el("tr", { class: line.level },
    el("td", { class: "nowrap" }, dated(line.at)), el("td", { class: "number wide" }, since(line.at)),
    el("td", {}, el("strong", {}, line.name), line.text ? ` ${line.text}` : "", line.link ? " " : null,
      line.link ? linked("transaction", line.link) : null, el("div", { class: "sub mono" }, words(line.fields)))));
  $("timeline").replaceChildren(...rows);
}

const words = (fields) => Object.entries(fields).map(([name, value]) => `${name}=${name === "price" && /^[0-9]+$/.test(value) ? token.hourly(value) : value}`).join("  ");

function failed(error) {
  if (error.status !== 404) return silent(error);
  over = true;
  health("still", "not known");
  $("known").hidden = true;
  $("unknown").hidden = false;
}

follow(() => `/job/${number}.json`, () => (over ? 60 : 3), draw, failed);
