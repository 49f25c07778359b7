// Questions: answers with the passages that support them, or passages alone.

import { call, conditions, query } from "./api.js";
import { element, failed, find, once, origin, share } from "./dom.js";

export function offerAsking() {
  find("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const how = event.submitter?.value ?? "ask";
    const shown = find("answers");
    shown.setAttribute("aria-busy", "true");
    once(event.target, async () => {
      shown.replaceChildren(...(await found(how)));
      shown.setAttribute("aria-busy", "false");
    });
  });
}

async function found(how) {
  const question = find("question").value;
  const path = query(`/v1/${how}`, conditions(find("ask-where").value));
  try {
    const response = await call("POST", path, { question });
    const said = how === "ask" ? answers(response) : passages(response);
    const from = element("p", { className: "origin" }, origin(response.index_version));
    return [...said, from];
  } catch (error) {
    return [failed(error)];
  }
}

function answers(response) {
  if (!response.answers.length) {
    const sure = response.no_answer_probability;
    const words = sure ? `The passages do not answer this: p ${share(sure)}` : "No passage answers.";
    return [element("p", {}, words)];
  }
  return response.answers.map((answer) =>
    element(
      "article",
      { className: "found" },
      element(
        "p",
        { className: "answer" },
        answer.text,
        element("span", { className: "dim" }, ` p(y|x) ${share(answer.probability)}`),
      ),
      ...answer.sources.map((source) =>
        passage(
          source.passage,
          `p(z|x) ${share(source.retrieval_probability)},` +
            ` p(y|z,x) ${share(source.reading_probability)}`,
          answer.stored ? null : [source.start, source.end],
        ),
      ),
    ),
  );
}

function passages(response) {
  if (!response.passages.length) return [element("p", {}, "No passage matched.")];
  return response.passages.map((each) =>
    passage(each.passage, `p(z|x) ${share(each.probability)}, f ${share(each.score)}`, null),
  );
}

function passage(shown, figures, span) {
  const name = shown.title || shown.document_id;
  return element(
    "article",
    { className: "passage" },
    element("h3", {}, name),
    element(
      "p",
      { className: "dim" },
      `${shown.document_id}, version ${shown.document_version}, ${shown.start}–${shown.end}; ${figures}`,
    ),
    element("blockquote", {}, ...marked(shown, span)),
  );
}

// Offsets count characters, which may be two units of a string here.
function marked(shown, span) {
  if (span === null) return [shown.text];
  const characters = [...shown.text];
  const [begin, end] = span.map((place) => Number(place) - Number(shown.start));
  const cut = (from, to) => characters.slice(from, to).join("");
  return [cut(0, begin), element("mark", {}, cut(begin, end)), cut(end)];
}
