// Elements, and figures as words.

export const find = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const failed = (error) => element("p", { className: "error" }, error.message);

export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(hours / 24)} days`;
}

// "1.5s", as protobuf writes a duration.
export const seconds = (text) => (text ? Number.parseFloat(text) : 0);

export const share = (number) => Number(number).toFixed(3);

export function origin(version) {
  const words = version.words_alone ? " of words alone" : "";
  const damaged = version.damaged ? ", damaged" : "";
  return (
    `generation ${version.generation}${words}, snapshot ${version.snapshot} (step ${version.step}),` +
    ` corpus version ${version.corpus_version}${damaged}`
  );
}

// Runs once at a time: its button waits meanwhile.
export async function once(form, work) {
  const buttons = form.querySelectorAll("button");
  for (const each of buttons) each.disabled = true;
  try {
    await work();
  } finally {
    for (const each of buttons) each.disabled = false;
  }
}
