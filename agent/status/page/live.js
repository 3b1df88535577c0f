// Asks the agent again and again, keeps the clocks going in between, and says when it is silent.
import { $, say, span } from "/text.js";

const HURRY_SECONDS = 30;
let skew = 0; // seconds the server's clock is ahead of this browser's
let silentSince = null;

export const now = () => Date.now() / 1000 + skew;

// Calls `draw` with what `url()` answers, every `seconds`; the function it gives asks at once.
export function follow(url, every, draw, failed = silent) {
  let waiting = null;
  let newest = 0;
  async function ask() {
    clearTimeout(waiting);
    const number = ++newest;
    if (!document.hidden) {
      try {
        const answer = await fetch(url(), { cache: "no-store" });
        const found = await answer.json();
        if (number !== newest) return; // asked again meanwhile
        if (!answer.ok) throw Object.assign(new Error(found.error ?? String(answer.status)), { status: answer.status });
        if (found.now) skew = found.now - Date.now() / 1000;
        back();
        draw(found);
        tick();
      } catch (error) {
        if (number !== newest) return;
        failed(error);
      }
    }
    waiting = setTimeout(ask, every() * 1000);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  ask();
  return ask;
}

function back() {
  silentSince = null;
  document.body.classList.remove("offline");
}

// The agent says why it can't tell, or nothing at all.
export function silent(error) {
  document.body.classList.add("offline");
  if (error?.status) return health("bad", `the agent can't tell just now: ${error.message}`);
  silentSince ??= new Date();
  health("bad", `agent does not answer since ${silentSince.toLocaleTimeString()}`);
}

const WORDS = { stalled: "bad", "not ready": "bad", serving: "good" };

// The one word of health, which /readyz and `status` say too.
export function healthWord(word) {
  health(WORDS[word] ?? "warn", word === "look" ? "serving, but look" : word);
}

export function health(kind, words) {
  const node = $("health");
  say(node, words);
  node.className = `pill ${kind}`;
}

export function tick() {
  for (const node of document.querySelectorAll("[data-clock]")) {
    const at = Number(node.dataset.clock);
    const left = at < 0 ? now() + at : at - now();
    say(node, at < 0 ? span(left) : left < 0 ? "passed" : span(left));
    const big = node.closest(".left");
    if (big) big.classList.toggle("hurry", at > 0 && left < HURRY_SECONDS);
  }
}

setInterval(tick, 1000);
