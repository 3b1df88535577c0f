// A long table: the server searches, sorts and pages; here are its words, its headings and its
// place, which stand in the page's own address, so that it can be reloaded and passed on.
import { $, count, el, fill, say } from "/text.js";

const TYPING_MS = 250;
const FEW = 10; // rows that need no search

export class Table {
  // `name` is the prefix of its nodes' ids, `columns` [{ key, words, kind, cell }], `id` of a row.
  constructor(name, columns, changed, idOf = (row) => row.id) {
    this.name = name;
    this.columns = columns;
    this.changed = changed;
    this.idOf = idOf;
    this.drawn = new Map();
    this.page = { start: 0, count: 20, found: 0, total: 0 };
    const asked = new URLSearchParams(location.search);
    this.words = asked.get("q") ?? "";
    this.sort = asked.get("sort") ?? "";
    this.down = asked.get("down") === "1";
    this.start = Number(asked.get("from")) || 0;
    $(`${name}-filter`).value = this.words;
    this.headings();
    this.listen();
  }

  query() {
    const asked = new URLSearchParams();
    if (this.words) asked.set("q", this.words);
    if (this.sort) asked.set("sort", this.sort);
    if (this.down) asked.set("down", "1");
    if (this.start) asked.set("from", String(this.start));
    return asked.toString();
  }

  listen() {
    let typing = null;
    $(`${this.name}-filter`).addEventListener("input", (event) => {
      clearTimeout(typing);
      typing = setTimeout(() => this.to({ words: event.target.value.trim(), start: 0 }), TYPING_MS);
    });
    $(`${this.name}-before`).addEventListener("click", () => this.to({ start: Math.max(0, this.page.start - this.page.count) }));
    $(`${this.name}-after`).addEventListener("click", () => this.to({ start: this.page.start + this.page.count }));
  }

  to(place) {
    Object.assign(this, place);
    const query = this.query();
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
    this.marks();
    this.changed();
  }

  headings() {
    const cells = this.columns.map(({ key, words, kind }) => {
      const inside = key ? el("button", { type: "button" }, words) : words;
      if (key) inside.addEventListener("click", () => this.by(key));
      return el("th", { scope: "col", role: "columnheader", class: kind ?? "" }, inside);
    });
    $(`${this.name}-head`).replaceChildren(el("tr", { role: "row" }, ...cells));
    this.marks();
  }

  // Once for the least first, again for the most, once more for the usual order.
  by(key) {
    if (this.sort !== key) this.to({ sort: key, down: false, start: 0 });
    else if (!this.down) this.to({ down: true, start: 0 });
    else this.to({ sort: "", down: false, start: 0 });
  }

  marks() {
    const cells = $(`${this.name}-head`).querySelectorAll("th");
    this.columns.forEach(({ key }, at) => {
      if (key && key === this.sort) cells[at].setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else cells[at].removeAttribute("aria-sort");
    });
  }

  // `fresh(row)` tells a row apart from itself a moment ago, beyond what it holds.
  draw(rows, page, fresh = () => 0) {
    this.page = page;
    this.start = page.start;
    const nodes = rows.map((row) => this.row(row, fresh(row)));
    fill($(`${this.name}-rows`), nodes);
    const here = new Set(rows.map(this.idOf));
    for (const id of this.drawn.keys()) if (!here.has(id)) this.drawn.delete(id);
    this.place(rows.length);
  }

  row(row, fresh) {
    const key = JSON.stringify(row) + fresh;
    const known = this.drawn.get(this.idOf(row));
    if (known?.key === key) return known.node;
    const cells = this.columns.map(({ kind, cell, head }) => el(head ? "th" : "td", { class: kind ?? "", role: head ? "rowheader" : "cell", scope: head ? "row" : null }, ...[cell(row)].flat()));
    const node = el("tr", { role: "row" }, ...cells);
    this.drawn.set(this.idOf(row), { key, node });
    return node;
  }

  place(shown) {
    const { start, found, total } = this.page;
    const many = total > FEW || this.words;
    $(`${this.name}-find`).hidden = !many;
    $(`${this.name}-paging`).hidden = found <= this.page.count;
    $(`${this.name}-none`).hidden = shown > 0;
    $(`${this.name}-table`).hidden = shown === 0;
    say($(`${this.name}-count`), this.words ? `${count(found)} of ${count(total)}` : total ? count(total) : "");
    say($(`${this.name}-place`), `${count(start + 1)}–${count(start + shown)} of ${count(found)}`);
    $(`${this.name}-before`).disabled = start === 0;
    $(`${this.name}-after`).disabled = start + shown >= found;
  }
}
