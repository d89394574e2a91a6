// Finds sections of the series. All words of the question must be there, as the beginning of a word;
// titles count more than text, and the words side by side more than apart.
const MOST = 30;
const status = document.getElementById("search-status");
const list = document.getElementById("search-results");
const field = document.querySelector("article form.bd-search input, main form.bd-search input");
const question = new URLSearchParams(location.search).get("q")?.trim() ?? "";

const plain = text => text.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "");
const stem = word => (word.length > 5 ? word.replace(/(ings?|ions?|ed|es|s)$/, "") : word.replace(/s$/, ""));
const found = word => new RegExp(`(?<![\\p{L}\\p{N}])${word.replace(/\W/g, "\\$&")}`, "gu");

function score(section, words) {
  const [page, title, text] = [section.page, section.title, section.text].map(plain);
  let sum = 0;
  for (const word of words) {
    const pattern = found(word);
    const count = text.match(pattern)?.length ?? 0;
    const titles = 8 * (title.match(pattern) ? 1 : 0) + 2 * (page.match(pattern) ? 1 : 0);
    if (!count && !titles) return 0;
    sum += titles + Math.min(count, 5);
  }
  const phrase = words.length > 1 ? new RegExp(words.map(w => found(w).source + "[\\p{L}\\p{N}]*").join("\\W+"), "u") : null;
  return sum + (phrase?.test(title) ? 20 : 0) + (phrase?.test(text) ? 12 : 0);
}

// Some words around the first one found, which are marked.
function excerpt(section, words) {
  const paragraph = document.createElement("p");
  const pieces = section.text.split(/(\s+)/);
  const hits = pieces.map(piece => words.some(word => plain(piece).match(found(word))));
  const from = Math.max(0, hits.indexOf(true) - 24);
  if (from) paragraph.append("… ");
  pieces.slice(from, from + 70).forEach((piece, i) => {
    const mark = hits[from + i] ? document.createElement("mark") : null;
    mark?.append(piece);
    paragraph.append(mark ?? piece);
  });
  if (from + 70 < pieces.length) paragraph.append(" …");
  return paragraph;
}

function entry(section, words) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = section.link;
  link.append(section.title);
  item.append(link);
  if (section.title !== section.page) {
    const page = document.createElement("span");
    page.className = "quiet";
    page.append(` ${section.page}`);
    item.append(page);
  }
  item.append(excerpt(section, words));
  return item;
}

async function search() {
  field.value = question;
  const words = plain(question).split(/[^\p{L}\p{N}@]+/u).filter(Boolean).map(stem);
  if (!words.length) return field.focus();
  document.title = `${question} - ${document.title}`;
  const answer = await fetch("sections.json");
  const scored = (await answer.json()).map(section => ({ section, points: score(section, words) }));
  const best = scored.filter(one => one.points).sort((a, b) => b.points - a.points);
  status.textContent = best.length
    ? `${best.length} section${best.length > 1 ? "s" : ""} with “${question}”${best.length > MOST ? `, the best ${MOST} of them` : ""}`
    : `No section has “${question}”. Try fewer words, or the beginning of one.`;
  list.replaceChildren(...best.slice(0, MOST).map(one => entry(one.section, words)));
}
search().catch(() => { status.textContent = "The search could not be loaded. Is the page online?"; });
