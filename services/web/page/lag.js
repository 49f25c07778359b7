// The index lag over the last minutes: a line of steps and one of seconds, with the swaps.

import { drawn, duration, find } from "./dom.js";

const KEPT_SECONDS = 600;
const HEIGHT = 96, LEFT = 4, BOTTOM = 16, TOP = 18;
const LINES = [
  { name: "steps", words: String },
  { name: "seconds", words: duration },
];

const samples = [];

export function sample(at, steps, seconds, generation) {
  samples.push({ at, steps, seconds, generation });
  while (samples[0].at < at - KEPT_SECONDS) samples.shift();
}

export function draw() {
  if (!samples.length) return;
  const place = find("lag");
  place.replaceChildren(...LINES.map((line) => plot(line, place.clientWidth)));
}

function plot({ name, words }, width) {
  const newest = samples.at(-1);
  const most = Math.max(...samples.map((each) => each[name]));
  const x = (at) => LEFT + (1 - (newest.at - at) / KEPT_SECONDS) * (width - 2 * LEFT);
  const y = (value) => HEIGHT - BOTTOM - (value / Math.max(1, most)) * (HEIGHT - BOTTOM - TOP);
  const path = samples.map((each) => `${x(each.at).toFixed(1)},${y(each[name]).toFixed(1)}`);
  const swaps = samples.filter((each, at) => at && each.generation !== samples[at - 1].generation);
  return drawn(
    "svg",
    {
      viewBox: `0 0 ${width} ${HEIGHT}`,
      role: "img",
      "aria-label": `Index lag in ${name}: now ${words(newest[name])}, at most ${words(most)}`,
    },
    drawn("line", { class: "axis", x1: LEFT, x2: width - LEFT, y1: y(0), y2: y(0) }),
    ...swaps.map(({ at }) =>
      drawn("line", { class: "swap", x1: x(at), x2: x(at), y1: TOP, y2: y(0) }),
    ),
    drawn("polyline", { class: `trace ${name}`, points: path.join(" ") }),
    drawn("text", { x: LEFT, y: 12 }, `${name}: now ${words(newest[name])}, most ${words(most)}`),
    drawn("text", { x: LEFT, y: HEIGHT - 3 }, "10 min ago"),
    drawn("text", { x: width - LEFT, y: HEIGHT - 3, "text-anchor": "end" }, "now"),
  );
}
