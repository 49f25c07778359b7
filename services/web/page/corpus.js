// Documents: written, listed, deleted; and those that no index holds.

import { call, conditions, query } from "./api.js";
import { element, failed, find, once } from "./dom.js";

const PAGE = 20;

let next = "";

export function offerCorpus() {
  find("write-form").addEventListener("submit", (event) => {
    event.preventDefault();
    once(event.target, write);
  });
  find("list-form").addEventListener("submit", (event) => {
    event.preventDefault();
    once(event.target, list);
  });
  find("more").addEventListener("click", more);
  list();
}

const place = (id) => `/v1/documents/${encodeURIComponent(id)}`;

async function write() {
  const id = find("document-id").value;
  const lines = find("document-metadata").value.split("\n").filter((line) => line.includes("="));
  const parted = lines.map((line) => [line.split("=", 1)[0].trim(), line.slice(line.indexOf("=") + 1).trim()]);
  await tell(async () => {
    const written = await call("PUT", place(id), {
      title: find("document-title").value,
      text: find("document-text").value,
      metadata: Object.fromEntries(parted),
    });
    find("write-form").reset();
    return `${id} is written: corpus version ${written.corpus_version}`;
  });
}

async function remove(id) {
  await tell(async () => {
    const gone = await call("DELETE", place(id));
    return `${id} is deleted: corpus version ${gone.corpus_version}`;
  });
}

// What a write did; then the list as it is now.
async function tell(work) {
  try {
    find("written").replaceChildren(await work());
    await list();
  } catch (error) {
    find("written").replaceChildren(failed(error));
  }
}

async function list() {
  next = "";
  find("documents").replaceChildren();
  await more();
}

async function more() {
  const terms = [["page_size", PAGE], ["page_token", next], ...conditions(find("list-where").value)];
  try {
    const page = await call("GET", query("/v1/documents", terms));
    next = page.next_page_token;
    find("documents").append(...page.documents.map(item));
  } catch (error) {
    next = "";
    find("documents").replaceChildren(element("li", {}, failed(error)));
  }
  find("more").hidden = !next;
}

function item({ document: shown, document_version: version }) {
  const metadata = Object.entries(shown.metadata).map((each) => each.join("="));
  const button = element("button", { type: "button", className: "quiet" }, "Delete");
  button.setAttribute("aria-label", `Delete ${shown.id}`);
  button.addEventListener("click", () => remove(shown.id));
  return element(
    "li",
    {},
    element(
      "span",
      {},
      shown.title ? `${shown.title} ` : "",
      element("span", { className: "dim" }, [shown.id, `version ${version}`, ...metadata].join(", ")),
    ),
    button,
  );
}

export function showParked({ parked, parked_documents: all }) {
  if (Number(all) === 0) {
    find("parked").replaceChildren();
    return;
  }
  find("parked").replaceChildren(
    element("h3", {}, `Parked, as no embedder gets through them: ${all}`),
    element(
      "ul",
      {},
      ...parked.map((each) =>
        element("li", {}, `${each.document_id}, version ${each.version}: ${each.reason}`),
      ),
    ),
  );
}
