"use strict";
// entries: [{name, split, scenario, numbers, titles, pictures, depth}], set by the page; where predictions are compared
// also {captions, across, scores}: pictures then stand in rows of `across` behind the first, false leaves a place empty.
// compared: null, or {names, metrics: {name: {unit, grows}}, means}; scores and means: {metric: [number or null]}.
// depth: {levels, least_m, most_m, near_m, far_m}: a grey PNG whose 0 is invalid and whose 1 .. 255 are least .. most.
const MOST_ZOOM = 16;
const byId = (id) => document.getElementById(id);
const opened = location.hash;
const chosen = { split: "", scenario: "" };
let shown = entries;
let at = 0;
let zoom = 1;
let levels = null; // of the depth shown: {width, height, data}, once the browser has decoded it

function element(tag, content = {}) {
  return Object.assign(document.createElement(tag), content);
}

function show(place) {
  at = Math.max(0, Math.min(shown.length - 1, place));
  const entry = shown[at];
  byId("pictures").replaceChildren();
  byId("numbers").replaceChildren();
  byId("place").textContent = entry ? `${entry.name}   ${at + 1} of ${shown.length}` : "nothing matches";
  look(1);
  read(entry?.depth);
  if (!entry) return;
  arrange(entry);
  entry.pictures.forEach((source, index) => {
    const figure = element("figure"), frame = element("div"), told = element("figcaption");
    if (source) frame.append(element("img", { src: source, alt: entry.titles[index] }));
    told.append(entry.titles[index]);
    if (entry.captions?.[index]) told.append(element("b", { textContent: entry.captions[index] }));
    if (entry.depth && index === 1) told.append(scale(entry.depth));
    figure.append(frame, told);
    byId("pictures").append(figure);
  });
  score(entry);
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

// Rows of a field each behind the first picture, which is as high as all of them.
function arrange(entry) {
  const style = byId("pictures").style, rows = entry.across ? (entry.pictures.length - 1) / entry.across : 0;
  byId("pictures").classList.toggle("rows", rows > 0);
  style.setProperty("--columns", 1 + (entry.across ?? 0));
  style.setProperty("--rows", Math.max(1, rows));
}

// A line for each metric: of each who is compared its number, the best of them bold, and the mean over all samples.
function score(entry) {
  const table = byId("scores");
  table.replaceChildren();
  if (!compared || !Object.keys(entry.scores).length) return;
  const head = table.insertRow();
  for (const name of ["", ...compared.names, "mean of all:", ...compared.names, ""])
    head.append(element("th", { textContent: name }));
  for (const [name, values] of Object.entries(entry.scores)) {
    const { unit, grows } = compared.metrics[name], row = table.insertRow();
    row.append(element("th", { textContent: name }));
    const put = (numbers) => {
      const known = numbers.filter((one) => one !== null), best = (grows ? Math.max : Math.min)(...known);
      const apart = known.some((one) => one !== best);
      for (const one of numbers) {
        const text = one === null ? "" : Number(one.toPrecision(4)).toString();
        row.append(element("td", { textContent: text, className: apart && one === best ? "best" : "" }));
      }
    };
    put(values);
    row.append(element("td"));
    put(compared.means[name]);
    row.append(element("th", { textContent: `${unit}, ${grows ? "higher" : "lower"} is better` }));
  }
}

// A length for people, in centimetres where all of the picture is within reach.
function length(metres, depth) {
  return depth.most_m < 3 ? `${(100 * metres).toFixed(1)} cm` : `${metres.toFixed(2)} m`;
}

function scale(depth) {
  const line = element("span", { className: "scale" });
  line.append(`${length(depth.near_m, depth)} `, element("i"), ` ${length(depth.far_m, depth)}`);
  return line;
}

function read(depth) {
  levels = null;
  byId("readout").textContent = "";
  if (!depth) return;
  const image = element("img");
  image.onload = () => {
    const canvas = element("canvas", { width: image.width, height: image.height });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    if (shown[at]?.depth === depth) levels = context.getImageData(0, 0, image.width, image.height);
  };
  image.src = depth.levels;
}

function look(times, place) {
  zoom = Math.max(1, Math.min(MOST_ZOOM, times));
  byId("pictures").style.setProperty("--zoom", zoom);
  if (place) byId("pictures").style.setProperty("--origin", `${100 * place[0]}% ${100 * place[1]}%`);
  byId("pictures").classList.toggle("near", zoom > 1);
}

// Where the cursor is, as shares of width and height. Pictures grow around it, so zoom does not move what is under it.
function point(event) {
  if (event.target.tagName !== "IMG") return;
  const frame = event.target.parentNode.getBoundingClientRect();
  const place = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  if (levels) {
    const [x, y] = [Math.floor(place[0] * levels.width), Math.floor(place[1] * levels.height)];
    const level = levels.data[4 * (y * levels.width + x)], depth = shown[at].depth;
    const metres = depth.least_m + (level - 1) / 254 * (depth.most_m - depth.least_m);
    byId("readout").textContent = `column ${x}, row ${y}: ${level ? length(metres, depth) : "no depth"}`;
  }
  return place;
}

function filter() {
  const text = byId("search").value.trim().toLowerCase();
  const told = (entry) => [entry.name, entry.split, entry.scenario, entry.numbers?.from].join(" ").toLowerCase();
  const matches = (entry) => Object.entries(chosen).every(([field, value]) => !value || entry[field] === value);
  const current = shown[at];
  shown = entries.filter((entry) => matches(entry) && told(entry).includes(text));
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
  if (event.key === "Escape") { look(1); document.activeElement?.blur(); return; }
  if (["INPUT", "SELECT"].includes(document.activeElement?.tagName)) return;
  if (event.key === "/") byId("search").focus();
  else if (event.key === "+" || event.key === "-") look(event.key === "+" ? zoom * 2 : zoom / 2);
  else if (keys[event.key]) show(keys[event.key]());
  else return;
  event.preventDefault();
});
byId("search").oninput = filter;
byId("pictures").onmousemove = (event) => look(zoom, point(event));
byId("pictures").onclick = (event) => { if (event.target.tagName === "IMG") look(zoom > 1 ? 1 : 4, point(event)); };

filter();
show(Math.max(0, entries.findIndex((entry) => `#${entry.name}` === opened)));
