// Words, numbers and nodes. Text only ever enters the page as text: what users of the market wrote
// (image URLs, types, timelines) is never parsed as HTML, and no link is made of it.

const SVG = "http://www.w3.org/2000/svg";
const THIN = "\u202f"; // a narrow space that does not break

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Puts children in only where they differ: what stays is not drawn anew, and keeps its focus.
export function fill(node, children) {
  const same = children.length === node.children.length && children.every((child, at) => child === node.children[at]);
  if (!same) node.replaceChildren(...children);
}

export function say(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} days ${Math.floor((s % 86400) / 3600)} h`;
}

export const seconds = (s) => (s < 90 ? `${Number(s.toFixed(1))} s` : span(s));

// Base units as a decimal text with `places` digits, without going through a float.
export function amount(units, decimals, places) {
  const minus = String(units).startsWith("-");
  const digits = String(units).replace("-", "").padStart(decimals + 1, "0");
  const cut = digits.length - decimals;
  const whole = digits.slice(0, cut).replace(/\B(?=(\d{3})+$)/g, THIN);
  const text = places ? `${whole}.${digits.slice(cut).padEnd(places, "0").slice(0, places)}` : whole;
  return minus ? `−${text}` : text;
}

export const count = (number) => amount(number, 0, 0);

// Amounts of one token. Two digits; four of what is less than one, for a young job earns thousandths.
export class Token {
  constructor(symbol, decimals) {
    this.symbol = symbol;
    this.decimals = decimals;
  }

  digits(units) {
    const size = BigInt(units) < 0n ? -BigInt(units) : BigInt(units);
    return amount(units, this.decimals, size > 0n && size < 10n ** BigInt(this.decimals) ? 4 : 2);
  }

  text(units) {
    return `${this.digits(units)} ${this.symbol}`;
  }

  number(units) {
    return Number(BigInt(units)) / 10 ** this.decimals;
  }

  // A price (base units x 10^12 a second) as whole tokens an hour, rounded to 4 digits.
  hour(price) {
    const unit = 10n ** BigInt(Math.max(0, 12 + this.decimals - 4));
    return amount((BigInt(price) * 3600n + unit / 2n) / unit, 4, 4);
  }

  hourly(price) {
    return `${this.hour(price)} ${this.symbol}/h`;
  }
}

export const short = (address) => (address.length > 14 ? `${address.slice(0, 8)}…${address.slice(-6)}` : address);

// What stands between backticks is a command to type.
export function coded(text) {
  return text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

// A link that the server made of checked hex; plain words where it made none.
export function linked(words, href, attributes = {}) {
  if (!/^https?:\/\//.test(href || "")) return el("span", attributes, words);
  return el("a", { ...attributes, href, rel: "noopener noreferrer", target: "_blank" }, words);
}

// A time that `tick` keeps current: to a moment, or (negative) since one.
export const clock = (at) => el("span", { "data-clock": at });

export const dated = (at) => new Date(at * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
export const dayOf = (at) => new Date(at * 1000).toLocaleDateString([], { timeZone: "UTC", day: "numeric", month: "short" });

export const STATES = { bootstrapping: "calm", running: "good", exiting: "warn", ending: "still", ended: "still", refused: "bad" };
export const HARMS = { missed: "bad", slashed: "bad", refused: "warn" };

export const chip = (kind, words) => el("span", { class: `chip ${kind}` }, words);

// REGION/TYPE, so that a narrow screen breaks it at the slash and nowhere else.
export function pieces(type) {
  return type.split(/(?<=\/)/).map((part) => el("span", { class: "piece" }, part));
}

export function tile([label, value, more]) {
  const parts = Array.isArray(value) ? [`${value[0]} `, el("small", {}, value[1])] : [value];
  return el("div", {}, el("dt", {}, label), el("dd", { class: "value" }, ...parts), el("dd", { class: "more" }, ...[more].flat()));
}

export function fact(name, ...value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
}
