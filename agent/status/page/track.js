// A job's way up: its stages as bars between assignment and slash point, the image's beside the host's.
import { el, seconds, span, svg } from "/text.js";
import { now } from "/live.js";

export function track(job) {
  const from = Math.min(job.since, ...job.stages.map((stage) => stage.started_at));
  const to = Math.max(job.deadline ?? from + 1, now(), from + 1);
  const x = (at) => (100 * (at - from)) / (to - from);
  const said = job.stages.map((stage) => `${stage.name} ${stage.ended_at ? `took ${span(stage.ended_at - stage.started_at)}` : "is going on"}`);
  const box = svg("svg", { class: "track", viewBox: "0 0 100 22", preserveAspectRatio: "none", role: "img", "aria-label": said.join(", ") || "waiting" });
  for (const y of [3, 13]) box.append(svg("rect", { class: "rail", x: 0, y, width: 100, height: 6 }));
  for (const stage of job.stages) box.append(bar(stage, x));
  box.append(line("now", x(now())), line("end", 100));
  const names = el("span", { class: "lane-names", "aria-hidden": "true" }, el("span", {}, "host"), el("span", {}, "image"));
  return el("div", { class: "lanes" }, names, box);
}

function bar(stage, x) {
  const end = stage.ended_at ?? now();
  const title = svg("title");
  title.textContent = `${stage.name}: ${seconds(end - stage.started_at)}`;
  return svg("rect", {
    class: stage.ended_at ? "done" : "going", x: x(stage.started_at), y: stage.name === "image" ? 13 : 3,
    width: Math.max(0.8, x(end) - x(stage.started_at) - 0.35), height: 6,
  }, title);
}

function line(kind, x) {
  return svg("line", { class: kind, x1: x, x2: x, y1: 0, y2: 22, "vector-effect": "non-scaling-stroke" });
}
