// The OpenAPI document, to be read.

import { element, find } from "../dom.js";

const document_ = await (await fetch("/openapi.json")).json();
find("about").textContent = document_.info.description;

const kind = (schema) => {
  const inner = schema.allOf?.[0] ?? schema;
  if (inner.$ref) {
    const name = inner.$ref.split("/").at(-1);
    return element("a", { href: `#${name}` }, name);
  }
  if (inner.type === "array") return element("span", {}, "list of ", kind(inner.items));
  if (inner.additionalProperties?.type || inner.additionalProperties?.$ref) {
    return element("span", {}, "map to ", kind(inner.additionalProperties));
  }
  return element("span", {}, inner.enum ? inner.enum.join(" | ") : (inner.format ?? inner.type));
};

const field = (name, schema, words) => [
  element("dt", {}, element("code", {}, name)),
  element("dd", {}, kind(schema), words ? `. ${words}` : ""),
];

function operation(path, method, described) {
  const content = described.requestBody?.content["application/json"];
  const [answer] = Object.values(described.responses[200].content);
  return element(
    "details",
    {},
    element("summary", {}, element("code", {}, `${method.toUpperCase()} ${path}`), ` ${described.summary}`),
    element("p", {}, described.description ?? ""),
    element(
      "dl",
      {},
      ...(content ? field("body", content.schema) : []),
      ...described.parameters.flatMap((each) =>
        field(`${each.name} (${each.in})`, each.schema, each.description),
      ),
      ...field("answer", answer.schema),
    ),
  );
}

function message(name, schema) {
  return element(
    "details",
    { id: name },
    element("summary", {}, element("code", {}, name)),
    element("p", {}, schema.description ?? ""),
    element(
      "dl",
      {},
      ...Object.entries(schema.properties).flatMap(([each, inner]) =>
        field(each, inner, inner.description),
      ),
    ),
  );
}

find("operations").append(
  ...Object.entries(document_.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => operation(path, method, described)),
  ),
);
find("schemas").append(
  ...Object.entries(document_.components.schemas).map(([name, schema]) => message(name, schema)),
);

function openNamed() {
  const named = find(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
  }
}
addEventListener("hashchange", openNamed);
openNamed();
