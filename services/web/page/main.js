// The page: asking, the index as it changes, the corpus.

import { key } from "./api.js";
import { offerAsking } from "./ask.js";
import { offerCorpus } from "./corpus.js";
import { find } from "./dom.js";
import { followIndex } from "./status.js";

find("key").value = key.get();
find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(find("key").value.trim());
  location.reload();
});
offerAsking();
offerCorpus();
followIndex();
