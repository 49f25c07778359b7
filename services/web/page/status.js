// The index as it changes: what is live, what is built, how far it lags, its generations.

import { call, events } from "./api.js";
import { duration, element, failed, find, origin, seconds, share } from "./dom.js";
import { draw, sample } from "./lag.js";
import { offerGenerations } from "./ask.js";
import { showParked } from "./corpus.js";

const AGAIN_MS = 2000;
const DRAW_MS = 1000;
const PHASES = ["queue", "embed", "load", "validate", "swap", "flip"];
const RECALL = "probe_recall@5";

let status = null;
let since = 0;
let listed = "";

export async function followIndex() {
  setInterval(tick, DRAW_MS);
  for (;;) {
    try {
      for await (const { name, data } of events("/v1/index/events")) {
        if (name !== "status") break;
        show(data.status);
      }
    } catch (error) {
      say(error.http === 403 ? "this key does not see the index" : error.message);
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

const say = (words) => {
  if (find("state").textContent !== words) find("state").textContent = words;
};

function show(now) {
  [status, since] = [now, performance.now()];
  say(now.live ? `generation ${now.live.generation} answers` : "nothing is live yet");
  find("facts").replaceChildren(
    ...facts(now).flatMap(([name, words]) => [
      element("dt", {}, name),
      element("dd", {}, words),
    ]),
  );
  find("build").replaceChildren(...build(now.refresh));
  showParked(now);
  listGenerations(now);
  tick();
}

// Seconds of lag go on between two changes.
function tick() {
  if (!status?.live) return;
  const passed = (performance.now() - since) / 1000;
  const lagging = seconds(status.live.lag);
  sample(
    performance.now() / 1000,
    Number(status.live.lag_steps),
    lagging ? lagging + passed : 0,
    status.live.generation,
  );
  if (!document.hidden) draw();
}

function facts(now) {
  const newest = now.newest_snapshot;
  const last = now.last_refresh;
  return [
    ["live", now.live ? origin(now.live) : "nothing yet"],
    ["newest snapshot", newest ? `${newest.number} (step ${newest.step})` : "none yet"],
    ["corpus", `version ${now.corpus_version}`],
    ["refresh", now.paused ? "paused" : now.refresh ? "under way" : "none under way"],
    ...(last ? [["last refresh", ended(last)]] : []),
    ...(now.damage ? [["damage", now.damage]] : []),
    ["gateways", now.gateways.map(gateway).join("; ") || "none"],
  ];
}

const gateway = (each) =>
  `${each.gateway_id}: ${each.ready ? `generation ${each.generation}` : "not ready"}`;

const words = (state) => state.replace("GENERATION_STATE_", "").toLowerCase();

function ended(refresh) {
  const total = refresh.phase_seconds.total;
  const lasted = total ? ` in ${duration(total)}` : "";
  return `generation ${refresh.generation} ${words(refresh.state)}${lasted}${because(refresh)}`;
}

const because = ({ reason }) => (reason ? `: ${reason}` : "");

function build(refresh) {
  if (!refresh) return [];
  const [done, all] = [refresh.shards_completed, refresh.shards_expected];
  const phase = PHASES.findLast((name) => name in refresh.phase_seconds) ?? "queue";
  const left = refresh.remaining ? `, ${duration(seconds(refresh.remaining))} to go` : "";
  const said = `generation ${refresh.generation} is ${words(refresh.state)}: ${phase}, ${done} of ${all} shards${left}`;
  const bar = element("progress", { max: Math.max(1, all), value: done });
  bar.setAttribute("aria-label", "Shards embedded");
  return [element("p", {}, said), bar];
}

async function listGenerations(now) {
  const seen = JSON.stringify([now.live?.generation, now.refresh?.generation, now.refresh?.state]);
  if (seen === listed) return;
  listed = seen;
  const body = find("generations").tBodies[0];
  try {
    const { generations } = await call("GET", "/v1/generations?limit=20");
    body.replaceChildren(...generations.map(row));
    offerGenerations(generations);
  } catch (error) {
    body.replaceChildren(element("tr", {}, element("td", { colSpan: 4 }, failed(error))));
  }
}

function row(generation) {
  const recall = generation.gate[RECALL];
  const shown = recall === undefined ? ["not measured"] : [meter(recall), ` ${share(recall)}`];
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, generation.generation),
    element("td", {}, words(generation.state) + because(generation)),
    element("td", {}, generation.snapshot?.step ?? ""),
    element("td", {}, ...shown),
  );
}

function meter(value) {
  const made = element("meter", { value: Number(value) });
  made.setAttribute("aria-label", "Recall@5");
  return made;
}
