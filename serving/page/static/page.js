"use strict";
// What comes from the service is set as text, never as markup: titles are written by others.

const $ = (id) => document.getElementById(id);
let key = "";
let charts = [];

function made(tag, text, className) {
  const one = document.createElement(tag);
  if (text !== undefined && text !== null) one.textContent = text;
  if (className) one.className = className;
  return one;
}

async function ask(path, body, headers = {}) {
  const sent = { ...headers };
  if (key) sent.authorization = `Bearer ${key}`;
  if (body !== undefined) sent["content-type"] = "application/json";
  const options = { method: body === undefined ? "GET" : "POST", headers: sent, credentials: "omit", cache: "no-store" };
  if (body !== undefined) options.body = JSON.stringify(body);
  const response = await fetch(path, options);
  const found = await response.json();
  if (!response.ok) {
    const error = new Error(`${found.title}: ${found.detail} (request ${response.headers.get("x-request-id")})`);
    error.status = response.status;
    throw error;
  }
  return found;
}

function complain(error) {
  if (error.status === 401 || error.status === 403) {
    $("key-section").hidden = false;
    $("key").focus();
  }
  $("problem").textContent = error.message;
  $("problem").hidden = false;
}

function fill(select, first, values) {
  const chosen = select.value;
  select.replaceChildren();
  if (first !== null) select.append(new Option(first, ""));
  for (const [value, text] of values) select.append(new Option(text, value));
  if ([...select.options].some((one) => one.value === chosen)) select.value = chosen;
}

async function lookAtModel() {
  const model = await ask("v1/model");
  const deployed = model.deployment;
  const roles = new Map();
  const add = (bundle, role) => bundle && !(bundle in deployed.quarantined) && roles.set(bundle, [...(roles.get(bundle) || []), role]);
  add(deployed.champion, "champion");
  add(deployed.previous, "previous");
  add(deployed.shadow, "shadow");
  for (const [experiment, arms] of Object.entries(deployed.arms)) {
    for (const [arm, bundle] of Object.entries(arms)) add(bundle, `${experiment}/${arm}`);
  }
  const named = [...roles].map(([bundle, held]) => [bundle, `${held.join(", ")}: ${bundle}`]);
  fill($("left-bundle"), null, named);
  fill($("right-bundle"), "nothing", named);
  fill($("domain"), "any", model.domains.map((one) => [one, one]));
  const trouble = [model.swap.error, ...Object.values(deployed.quarantined)].filter(Boolean);
  const counts = `${model.counts.items.toLocaleString("en")} items, ${model.counts.users.toLocaleString("en")} people`;
  $("state").textContent = `${model.name} (${model.kind}, dim ${model.dim}), ${counts}, bundle ${model.bundle_id}${trouble.length ? `. Trouble: ${trouble.join("; ")}` : ""}`;
}

function question() {
  const body = { k: Number($("k").value), reasons: Number($("k").value) };
  const clicks = $("clicks").value.split("\n").map((one) => one.trim()).filter(Boolean);
  if ($("person").value) body.user_id = $("person").value;
  if (clicks.length) body.history = clicks.map((one) => ({ item_id: one }));
  if ($("domain").value) body.domain = $("domain").value;
  return body;
}

function show(answer, others, role) {
  const card = made("article", undefined, "answer");
  card.append(made("h3", role), made("span", answer.source, "source"), made("p", answer.why, "why"));
  const list = made("ol");
  for (const item of answer.items) {
    const row = made("li", undefined, others && !others.has(item.item_id) ? "differs" : "");
    row.append(made("div", item.title ?? item.item_id));
    if (item.reason) row.append(made("div", item.reason));
    row.append(made("div", `${item.item_id} · ${item.score.toPrecision(4)}${row.className ? " · only here" : ""}`, "id"));
    list.append(row);
  }
  card.append(list);
  if (!answer.items.length) card.append(made("p", "Nothing is answered."));
  if (answer.ignored.length) card.append(made("p", `Ignored, not in the bundle: ${answer.ignored.join(", ")}`, "id"));
  return card;
}

async function answerForm(event) {
  event.preventDefault();
  $("problem").hidden = true;
  const button = $("ask-form").querySelector("button");
  button.disabled = true;
  try {
    const body = question();
    const chosen = [$("left-bundle").value, $("right-bundle").value].filter(Boolean);
    const answers = await Promise.all(
      (chosen.length ? chosen : ["1"]).map((bundle) => ask("v1/recommend", body, { "x-recsys-shadow": bundle }))
    );
    const ids = answers.map((answer) => new Set(answer.items.map((item) => item.item_id)));
    const role = (answer) => [...$("left-bundle").options].find((one) => one.value === answer.bundle_id)?.text ?? answer.bundle_id;
    $("answers").replaceChildren(...answers.map((answer, at) => show(answer, answers.length > 1 ? ids[1 - at] : null, role(answer))));
  } catch (error) {
    $("answers").replaceChildren();
    complain(error);
  } finally {
    button.disabled = false;
  }
}

const short = (value) => (value === null || value === undefined ? "none" : String(Number(value.toPrecision(3))));
const COLOURS = ["#2f7ed8", "#c8541d", "#4b9e4b", "#9457c4"];
const CHARTS = [
  ["Requests per second", ["requests", "errors", "shed"]],
  ["Latency, milliseconds", ["p50_ms", "p99_ms"]],
  ["Lists per second, by source", ["known", "history", "features", "fallback"]],
  ["Swaps and lost exposures", ["swaps", "lost"]],
];

const share = (part, whole) => (whole ? `${(100 * part / whole).toFixed(1)} %` : "none");

function tell(watched) {
  const of = (row, name) => row[watched.columns.indexOf(name)];
  const rows = watched.rows.slice(-60).reverse().map((row) => [
    of(row, "day"),
    of(row, "placement") || "nowhere said",
    of(row, "arm") || "none",
    of(row, "lists").toLocaleString("en"),
    of(row, "impressions").toLocaleString("en"),
    of(row, "outcomes").toLocaleString("en"),
    share(of(row, "outcomes"), of(row, "impressions") || of(row, "lists")),
    share(of(row, "joined_impressions") + of(row, "joined_outcomes"), of(row, "impressions") + of(row, "outcomes")),
  ]);
  const body = document.createElement("tbody");
  for (const cells of rows) {
    const line = document.createElement("tr");
    for (const cell of cells) line.append(made("td", cell));
    body.append(line);
  }
  $("followed").querySelector("tbody").replaceWith(body);
  $("followed").hidden = !rows.length;
  $("followed-note").textContent = rows.length
    ? "By day (UTC). The rate is outcomes by impressions, or by lists where no impression was told; joined are events whose list is known."
    : "Nothing was served or told yet that is kept in the event store.";
}

function draw(stats) {
  tell(stats.watched);
  for (const chart of charts) chart.destroy();
  charts = [];
  $("charts").replaceChildren();
  const columns = stats.columns.map((_, at) => stats.rows.map((row) => row[at]));
  const of = (name) => columns[stats.columns.indexOf(name)];
  $("time-note").textContent = stats.rows.length
    ? `${stats.rows.length.toLocaleString("en")} points, one each ${stats.step_s} s, over all workers.`
    : `The first point comes ${stats.step_s} s after the start.`;
  if (!stats.rows.length) return;
  const ink = getComputedStyle(document.body).color;
  const grid = { stroke: "rgba(128,128,128,.25)", width: 1 };
  const places = CHARTS.map(([title, names]) => {
    const place = made("figure", undefined, "chart");
    const latest = names.map((name) => `${name.replace("_ms", "")} ${short(of(name).at(-1))}`).join(", ");
    place.append(made("figcaption", `${title}. Now: ${latest}.`), made("div"));
    return place;
  });
  $("charts").append(...places);
  for (const [at, [, names]] of CHARTS.entries()) {
    const canvas = places[at].lastChild;
    charts.push(new uPlot(
      {
        width: Math.max(200, canvas.clientWidth),
        height: 220,
        series: [{}, ...names.map((name, at) => ({ label: name, stroke: COLOURS[at], width: 1.5, spanGaps: false }))],
        axes: [{ stroke: ink, grid }, { stroke: ink, grid, size: 60 }],
        scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.05] } },
      },
      [of("time"), ...names.map(of)],
      canvas
    ));
    for (const head of canvas.querySelectorAll("th")) head.scope = "row";
  }
  document.body.dataset.drawn = String(stats.rows.length);
}

async function lookAtTime() {
  draw(await ask(`v1/stats?points=${$("span").value}`));
}

async function lookAtAll() {
  $("problem").hidden = true;
  try {
    await lookAtModel();
    await lookAtTime();
  } catch (error) {
    if (error.status === 401) $("state").textContent = "The service asks for a key.";
    complain(error);
  }
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  $("key").value = "";
  lookAtAll();
});
$("ask-form").addEventListener("submit", answerForm);
$("span").addEventListener("change", () => lookAtTime().catch(complain));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.length && lookAtTime().catch(complain));
let resized;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => charts.forEach((chart) => chart.setSize({ width: chart.root.parentElement.clientWidth, height: 220 })), 100);
});
setInterval(() => document.visibilityState === "visible" && charts.length && lookAtTime().catch(() => {}), 10000);
lookAtAll();
