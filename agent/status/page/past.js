// Jobs that are over, as far as the journal knows them.
import { HARMS, Token, chip, dated, el, pieces, seconds, $, say } from "/text.js";
import { follow, healthWord } from "/live.js";
import { Table } from "/table.js";

let token = new Token("", 6);

const table = new Table("jobs", [
  { key: "id", words: "Job", kind: "nowrap", head: true, cell: (job) => el("a", { href: `/job/${job.id}` }, `Job ${job.id}`) },
  { key: "outcome", words: "End", kind: "whole", cell: (job) => [job.outcome.replaceAll("_", " ") || "no longer ours", " ", ...job.harms.map((what) => chip(HARMS[what], what))] },
  { key: "type", words: "Type", kind: "whole type", cell: (job) => pieces(job.instance_type) },
  { key: "assigned", words: "Assigned", kind: "wide", cell: (job) => (job.assigned_at ? dated(job.assigned_at) : "–") },
  { key: "ended", words: "Ended", kind: "whole", cell: (job) => (job.ended_at ? dated(job.ended_at) : "–") },
  { key: "start", words: "Up after", kind: "number wide", cell: (job) => (job.start_seconds === null ? "–" : seconds(job.start_seconds)) },
  { key: "earned", words: "Earned", kind: "number corner", cell: (job) => (job.earned === null ? "–" : token.text(job.earned)) },
], () => refresh());

function draw(found) {
  token = new Token(found.money.symbol, found.money.decimals);
  table.draw(found.jobs, found.page);
  say($("jobs-none"), table.words ? "No past job has these words." : "No job has ended yet.");
  healthWord(found.word);
}

const refresh = follow(() => `/past.json?${table.query()}`, () => 30, draw);
