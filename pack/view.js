"use strict";
// entries: [{name, split, scenario, numbers, titles, pictures}], set by the page.
const byId = (id) => document.getElementById(id);
const opened = location.hash;
const chosen = { split: "", scenario: "" };
let shown = entries;
let at = 0;

function element(tag, content = {}) {
  return Object.assign(document.createElement(tag), content);
}

function show(place) {
  at = Math.max(0, Math.min(shown.length - 1, place));
  const entry = shown[at];
  byId("pictures").replaceChildren();
  byId("numbers").replaceChildren();
  byId("place").textContent = entry ? `${entry.name}   ${at + 1} of ${shown.length}` : "nothing matches";
  if (!entry) return;
  entry.pictures.forEach((source, index) => {
    const figure = element("figure");
    figure.append(element("img", { src: source, alt: entry.titles[index] }));
    figure.append(element("figcaption", { textContent: entry.titles[index] }));
    byId("pictures").append(figure);
  });
  const numbers = { split: entry.split, scenario: entry.scenario, ...entry.numbers };
  for (const [name, value] of Object.entries(numbers)) {
    if (!value) continue;
    const row = byId("numbers").insertRow();
    row.append(element("th", { textContent: name }), element("td", { textContent: value }));
  }
  [...byId("strip").children].forEach((image, index) => image.classList.toggle("here", index === at));
  byId("strip").children[at]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  history.replaceState(null, "", `#${entry.name}`);
}

function filter() {
  const matches = (entry) => Object.entries(chosen).every(([field, value]) => !value || entry[field] === value);
  const current = shown[at];
  shown = entries.filter(matches);
  byId("strip").replaceChildren(...shown.map((entry, index) =>
    element("img", { src: entry.pictures[0], title: entry.name, onclick: () => show(index) })));
  show(Math.max(0, shown.indexOf(current)));
}

for (const field of Object.keys(chosen)) {
  const values = [...new Set(entries.map((entry) => entry[field]))].filter(Boolean).sort();
  if (values.length < 2) continue;
  const select = element("select", { id: field, onchange: () => { chosen[field] = select.value; filter(); } });
  select.append(element("option", { value: "", textContent: `every ${field}` }));
  values.forEach((value) => select.append(element("option", { value, textContent: value })));
  byId("filters").append(select);
}

const keys = { ArrowRight: () => at + 1, ArrowLeft: () => at - 1, Home: () => 0, End: () => shown.length - 1 };
document.addEventListener("keydown", (event) => {
  if (event.key === "/") document.querySelector("select")?.focus();
  else if (keys[event.key]) show(keys[event.key]());
  else return;
  event.preventDefault();
});

filter();
show(Math.max(0, entries.findIndex((entry) => `#${entry.name}` === opened)));
