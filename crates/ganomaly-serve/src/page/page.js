"use strict";
// The page: sends images to /v1/score one after the other, and shows what comes back.

const at = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
const SVG = "http://www.w3.org/2000/svg";
const draw = (parent, tag, attributes, text) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
};
const short = (number) => Number(number.toPrecision(3)).toString();

let token = "";
let models = [];
const ask = (path, options = {}) =>
  fetch(path, { ...options, headers: token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers });
const chosen = () => models.find((model) => model.name === at("model").value);

async function start() {
  const response = await ask("/v1/models").catch(() => null);
  const locked = response?.status === 401;
  at("access").hidden = !locked;
  at("choose").hidden = !response?.ok;
  if (!response?.ok) {
    const why = locked ? "" : ((await response?.json().catch(() => null))?.error ?? "it does not answer");
    at("status").textContent = locked ? (token ? "That is not the token." : "") : `The service: ${why}`;
    if (locked) at("token").focus();
    return;
  }
  ({ models } = await response.json());
  at("model").replaceChildren(...models.map((model) => make("option", {}, model.name)));
  at("which").hidden = models.length < 2;
  at("status").textContent = "";
  about();
}

function about() {
  const model = chosen();
  at("details").hidden = !model;
  if (!model) return;
  at("text").textContent = model.text;
  at("about").textContent = model.threshold === null
    ? `${model.name} gives scores and no verdicts, as it was not calibrated.`
    : `${model.name}: is an image normal? At most ${short(100 * model.false_alarms)} % of normal images are called anomalous.`;
}

async function send(file) {
  const model = chosen();
  const query = new URLSearchParams({ model: model.name, heat_map: true, reconstruction: true });
  // A type that every browser gives an image that it does not know.
  const headers = { "Content-Type": "application/octet-stream" };
  const response = await ask(`/v1/score?${query}`, { method: "POST", body: file, headers });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return card(file, model, answer.images[0]);
}

function card(file, model, image) {
  const heading = make("h3", {}, file.name || "image");
  const element = make("article", { class: "card" }, heading);
  if (image.verdict) {
    element.append(make("p", { class: `verdict ${image.verdict}` }, image.verdict));
    const above = image.score > image.threshold ? "above" : "not above";
    const numbers = `${model.score} ${short(image.score)}, ${above} the threshold ${short(image.threshold)}; `
      + `${short(100 * image.p_value)} % of normal images score as high`;
    element.append(make("p", { class: "numbers" }, numbers));
  } else {
    const all = Object.entries(image.scores).map(([name, score]) => `${name} ${short(score)}`);
    element.append(make("p", { class: "numbers" }, all.join(", ")));
  }
  const url = URL.createObjectURL(file);
  const view = (src, title) => {
    const picture = make("img", { src, alt: `${title} of ${file.name || "the image"}` });
    const figure = make("figure", {}, picture, make("figcaption", {}, title));
    // A browser may not know the format; the others are PNG.
    picture.addEventListener("error", () => figure.remove());
    return figure;
  };
  element.append(make("div", { class: "views" },
    view(url, "image"), view(image.reconstruction, "reconstruction"), view(image.heat_map, "heat map")));
  if (image.verdict) element.append(chart(model, image));
  return element;
}

// The normal images' scores, the threshold, and where this image is.
function chart(model, image) {
  const [width, height, foot] = [400, 130, 34];
  const rising = [...model.normal_scores].sort((a, b) => a - b);
  const low = Math.min(rising[0], image.score);
  const high = Math.max(rising[rising.length - 1], image.score, image.threshold);
  const span = high - low || 1;
  const x = (score) => 8 + ((score - low) / span) * (width - 16);
  const bins = new Array(48).fill(0);
  for (const score of rising) bins[Math.min(47, Math.floor(((score - low) / span) * 48))] += 1;
  const most = Math.max(...bins);
  const label = `score ${short(image.score)}, threshold ${short(image.threshold)}, and the scores of ${rising.length} normal images`;
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label })) {
    svg.setAttribute(name, value);
  }
  bins.forEach((count, bin) => {
    const tall = (count / most) * (height - foot - 8);
    const left = x(low + (bin * span) / 48);
    draw(svg, "rect", { class: "bar", x: left, y: height - foot - tall, width: (width - 16) / 48 - 1, height: tall });
  });
  const line = (score, name) => draw(svg, "line", { class: name, x1: x(score), x2: x(score), y1: 4, y2: height - foot });
  draw(svg, "line", { class: "axis", x1: 8, x2: width - 8, y1: height - foot, y2: height - foot });
  line(image.threshold, "threshold");
  line(image.score, `mark ${image.verdict}`);
  const text = (score, words, y) => {
    const anchor = x(score) > width / 2 ? "end" : "start";
    draw(svg, "text", { x: x(score), y, "text-anchor": anchor }, words);
  };
  text(image.threshold, `threshold ${short(image.threshold)}`, height - 20);
  text(image.score, `this image ${short(image.score)}`, height - 5);
  return svg;
}

async function all(files) {
  const list = [...files];
  at("results").hidden = list.length === 0 && at("cards").childElementCount === 0;
  let failed = 0;
  for (const [index, file] of list.entries()) {
    at("status").textContent = `Scoring ${index + 1} of ${list.length}: ${file.name}`;
    let element;
    try {
      element = await send(file);
    } catch (error) {
      failed += 1;
      const why = make("p", { class: "failed" }, error.message);
      element = make("article", { class: "card" }, make("h3", {}, file.name), why);
    }
    at("cards").prepend(element);
  }
  const done = `${list.length - failed} scored`;
  at("status").textContent = failed ? `${done}, ${failed} failed` : done;
}

at("files").addEventListener("change", async (event) => {
  await all(event.target.files);
  // The same file may be chosen again.
  event.target.value = "";
});
at("model").addEventListener("change", about);
at("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  start();
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && !at("choose").hidden) all(event.dataTransfer.files);
  });
}
start();
