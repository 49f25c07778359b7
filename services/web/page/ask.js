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

// What a question may be asked of beside what is live.
export function offerGenerations(generations) {
  const retained = generations.filter((each) => each.state === "GENERATION_STATE_RETAINED");
  const beside = find("beside");
  const chosen = beside.value;
  beside.replaceChildren(
    element("option", { value: "" }, "nothing"),
    ...retained.map((each) => {
      const step = each.words_alone ? "of words alone" : `step ${each.snapshot?.step}`;
      return element("option", { value: each.generation }, `generation ${each.generation}, ${step}`);
    }),
  );
  beside.value = retained.some((each) => each.generation === chosen) ? chosen : "";
  find("beside-row").hidden = retained.length === 0;
}

async function found(how) {
  const beside = find("beside").value;
  if (!beside) {
    const { shown } = await side(how, "0");
    return shown;
  }
  const sides = await Promise.all([side(how, "0"), side(how, beside)]);
  return [
    element(
      "div",
      { className: "columns" },
      ...sides.map(({ shown, name, passages }, at) => {
        const other = sides[1 - at];
        const both = passages.filter((each) => other.passages.includes(each)).length;
        const said = `${both} of ${passages.length} passages are ${other.name}’s too`;
        const common = element("p", { className: "dim" }, said);
        return element("section", { className: "side", ariaLabel: name }, ...shown, common);
      }),
    ),
  ];
}

// What one generation makes of it.
async function side(how, generation) {
  const question = find("question").value;
  const path = query(`/v1/${how}`, conditions(find("ask-where").value));
  try {
    const response = await call("POST", path, { question, generation });
    const version = response.index_version;
    const said = how === "ask" ? answers(response) : passages(response);
    const from = element("p", { className: "origin" }, origin(version));
    const name = `generation ${version.generation}`;
    return { shown: [...said, from], name, passages: ids(response) };
  } catch (error) {
    return { shown: [failed(error)], name: `generation ${generation}`, passages: [] };
  }
}

function ids({ answers = [], passages = [] }) {
  const found = [...answers.flatMap(({ sources }) => sources), ...passages];
  return [...new Set(found.map((each) => each.passage.passage_id))];
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
