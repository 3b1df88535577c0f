// Earned, cost and margin by day, as a picture and as a table; both of the same rows.
import { $, dayOf, el, say, svg } from "/text.js";

const HEIGHT = 190;
const LEFT = 46;
const RIGHT = 18;
const BELOW = 20;
const ABOVE = 8;

let days = [];
let token = null;

// Days before the first in which anything was are left out: a young provider sees its own.
export function drawDays(all, money) {
  const first = all.findIndex((day) => day.earned !== "0" || (day.cost ?? "0") !== "0" || day.gas !== "0");
  days = first < 0 ? [] : all.slice(Math.min(first, Math.max(0, all.length - 7)));
  token = money;
  $("days-none").hidden = days.length > 0;
  $("days-figure").hidden = !days.length;
  if (!days.length) return;
  say($("days-sum"), summary());
  picture();
  table();
}

const of = (day, what) => (day[what] === null ? null : token.number(day[what]));
const total = (what) => days.reduce((sum, day) => sum + BigInt(day[what] ?? 0), 0n);

function summary() {
  const unknown = days.filter((day) => day.cost === null).length;
  const cost = unknown ? `cost not known on ${unknown} of ${days.length} days` : `cost ${token.text(total("cost"))}, margin ${token.text(total("margin"))}`;
  return `${days.length} days: earned ${token.text(total("earned"))}, ${cost}`;
}

// A step of 1, 2 or 5 times a power of ten, so that about three lines are drawn.
function step(range) {
  const rough = range / 3 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((by) => by * power).find((each) => each >= rough);
}

function picture() {
  const width = Math.max(260, $("days-picture").clientWidth);
  const values = days.flatMap((day) => [of(day, "earned"), of(day, "cost") ?? 0, of(day, "margin") ?? 0]);
  const high = Math.max(...values, 0);
  const low = Math.min(...values, 0);
  const grid = step(high - low);
  const top = Math.ceil(high / grid) * grid || grid;
  const bottom = Math.floor(low / grid) * grid;
  const y = (value) => ABOVE + ((top - value) / (top - bottom)) * (HEIGHT - ABOVE - BELOW);
  const wide = (width - LEFT - RIGHT) / days.length;
  const box = svg("svg", { class: "days", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-labelledby": "days-sum" });
  for (let value = bottom; value <= top + grid / 2; value += grid) box.append(...rule(value, y, width, grid));
  days.forEach((day, at) => box.append(bars(day, LEFT + at * wide, wide, y)));
  box.append(...lines(wide, y).map((points) => svg("polyline", { class: "margin", points: points.join(" ") })), ...names(wide));
  $("days-picture").replaceChildren(box);
}

function rule(value, y, width, grid) {
  const places = Math.max(0, -Math.floor(Math.log10(grid)));
  const label = svg("text", { x: LEFT - 8, y: y(value) + 4, class: "scale" });
  label.textContent = value.toFixed(places);
  return [svg("line", { class: Math.abs(value) < grid / 2 ? "zero" : "rule", x1: LEFT, x2: width, y1: y(value), y2: y(value) }), label];
}

function bars(day, x, wide, y) {
  const thick = Math.min(14, wide * 0.36);
  const middle = x + wide / 2;
  const bar = (kind, value, left) => svg("rect", { class: kind, x: left, width: thick, rx: Math.min(2, thick / 2), y: y(Math.max(value, 0)), height: Math.max(value ? 1 : 0, Math.abs(y(0) - y(value))) });
  const title = svg("title");
  title.textContent = words(day);
  const target = svg("rect", { class: "target", x, width: wide, y: 0, height: HEIGHT });
  return svg("g", {}, target, bar("earned", of(day, "earned"), middle - thick), bar("cost", of(day, "cost") ?? 0, middle), title);
}

function words(day) {
  const rest = day.cost === null ? "cost not known" : `cost ${token.text(day.cost)}, margin ${token.text(day.margin)}`;
  return `${dayOf(day.start)}: earned ${token.text(day.earned)}, ${rest}`;
}

// Broken where a day's margin is not known.
function lines(wide, y) {
  const parts = [[]];
  days.forEach((day, at) => {
    if (day.margin === null) parts.push([]);
    else parts.at(-1).push(`${LEFT + (at + 0.5) * wide},${y(of(day, "margin"))}`);
  });
  return parts.filter((points) => points.length);
}

// As many names of days as fit side by side.
function names(wide) {
  const every = Math.max(1, Math.ceil(58 / wide));
  return days.flatMap((day, at) => {
    if ((days.length - 1 - at) % every) return [];
    const label = svg("text", { class: "day", x: LEFT + (at + 0.5) * wide, y: HEIGHT - 4 });
    label.textContent = dayOf(day.start);
    return [label];
  });
}

function table() {
  const cell = (units) => el("td", { class: "number" }, units === null ? "not known" : token.digits(units));
  const rows = [...days].reverse().map((day) =>
    el("tr", {}, el("th", { scope: "row" }, dayOf(day.start)), cell(day.earned), cell(day.cost), cell(day.margin),
      el("td", {}, Object.entries(day.harms).map(([what, many]) => `${many} ${what}`).join(", ") || "–")));
  $("days-rows").replaceChildren(...rows);
}

new ResizeObserver(() => { if (days.length) picture(); }).observe($("days-picture"));
