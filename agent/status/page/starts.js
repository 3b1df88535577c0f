// Bootstrap times against the window: how much of it starts need, and which needed most.
import { $, HARMS, chip, dated, el, fact, say, seconds, span, svg } from "/text.js";

export function drawStarts({ starts, harms, days }, market) {
  drawTimes({ ...starts, window_seconds: starts.window_seconds || starts.goal_seconds }, market.slashes ? "window" : "goal");
  drawHarms(harms, days, market);
}

function drawTimes(starts, what) {
  say($("starts-title"), `Starts against the ${what}`);
  const window = starts.window_seconds;
  const share = (time) => (window ? ` · ${Math.round((100 * time) / window)} % of the ${what}` : "");
  const facts = starts.count
    ? [fact("Half of all within", `${seconds(starts.p50)}${share(starts.p50)}`), fact("99 of 100 within", `${seconds(starts.p99)}${share(starts.p99)}`)]
    : [fact("Starts", "none in 30 days")];
  facts.push(fact(what === "goal" ? "Goal" : "Window", window ? span(window) : "not known before the first job"), fact("Up in time", `${starts.count} of ${starts.count + starts.missed}`));
  $("starts-facts").replaceChildren(...facts);
  $("starts-picture").replaceChildren(...(starts.count && window ? [scale(starts, what)] : []));
  $("starts-worst").hidden = !starts.worst.length;
  $("starts-rows").replaceChildren(...starts.worst.map((row) =>
    el("li", {}, el("a", { href: `/job/${row.job}` }, `Job ${row.job}`), ` ${seconds(row.seconds)}${share(row.seconds)}`)));
}

// The window as a rail: half of all, 99 of 100, and each of the slowest.
function scale(starts, what) {
  const to = Math.max(starts.window_seconds, starts.worst[0]?.seconds ?? 0);
  const x = (time) => (100 * time) / to;
  const said = `of a ${what} of ${span(starts.window_seconds)}, half of all starts need ${seconds(starts.p50)} and 99 of 100 ${seconds(starts.p99)}`;
  const box = svg("svg", { class: "scale-picture", viewBox: "0 0 100 12", preserveAspectRatio: "none", role: "img", "aria-label": said });
  const rail = (kind, until) => svg("rect", { class: kind, x: 0, y: 3, width: Math.max(0.5, x(until)), height: 6 });
  box.append(rail("rail", to), rail("most", starts.p99), rail("half", starts.p50));
  for (const row of starts.worst) box.append(tickAt("slow", x(row.seconds)));
  box.append(tickAt("end", x(starts.window_seconds)));
  return box;
}

const tickAt = (kind, x) => svg("line", { class: kind, x1: x, x2: x, y1: 0, y2: 12, "vector-effect": "non-scaling-stroke" });

function drawHarms(harms, days, { has_stake: stake }) {
  say($("harms-title"), stake ? "Stake at risk or lost, 30 days" : "Not served, 30 days");
  const totals = stake ? { missed: 0, refused: 0, slashed: 0 } : { missed: 0, refused: 0 };
  for (const day of days) for (const [what, many] of Object.entries(day.harms)) totals[what] = (totals[what] ?? 0) + many;
  $("harms-count").replaceChildren(...Object.entries(totals).map(([what, many]) => chip(many ? HARMS[what] : "good", `${many} ${what}`)));
  $("harms-rows").replaceChildren(...harms.map((harm) =>
    el("li", {}, chip(HARMS[harm.what], harm.what), " ", el("a", { href: `/job/${harm.job}` }, `Job ${harm.job}`), " ",
      el("span", { class: "quiet" }, dated(harm.at)), el("div", { class: "sub" }, harm.text))));
}
