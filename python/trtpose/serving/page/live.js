// SPDX-License-Identifier: Apache-2.0
// The live view of a run: every source's newest frame, newest first, and what is to be said of it.

import { drawPeople } from "/page/draw.js";
import { model, Watch } from "/page/server.js";

const STATES = { waiting: "waiting for the first frame", connected: "connected", reconnecting: "reconnecting", ended: "ended" };

const find = (id) => document.getElementById(id);
const tiles = new Map();
let skeleton = { names: [], edges: [], sides: [] };
let watch = null;
let alone = null; // the source that is looked at alone
let paused = false;
let over = "";

function show(error) {
  find("error").hidden = !error;
  find("error").textContent = error || "";
}

/** Text that is only set when it is another one, so that it is not read out again. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function look() {
  return { seen: Number(find("seen").value), boxes: find("boxes").checked, chosen: -1 };
}

/** The people of a picture in the pixels in which it is shown. */
function scaled(found, picture) {
  const [x, y] = [picture.width / found.width, picture.height / found.height];
  const poses = found.poses.map((person) => ({
    ...person,
    box: [person.box[0] * x, person.box[1] * y, person.box[2] * x, person.box[3] * y],
    keypoints: person.keypoints.map(([left, top, confidence]) => [left * x, top * y, confidence]),
  }));
  return { width: picture.width, height: picture.height, poses };
}

function redraw(tile) {
  if (!tile.picture) return;
  const found = scaled(tile.found, tile.picture);
  if (!find("skeletons").checked) found.poses = found.poses.map((person) => ({ ...person, keypoints: person.keypoints.map(() => [0, 0, -1]) }));
  const shown = find("skeletons").checked || find("boxes").checked ? found : { ...found, poses: [] };
  drawPeople(tile.canvas, tile.picture, shown, skeleton, look());
  tile.root.classList.add("full");
}

function counted(count, one, many) { return `${count} ${count === 1 ? one : many}`; }

function ago(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

function tell(tile, source) {
  const before = tile.source?.state;
  tile.source = source;
  if (before && before !== source.state) say(find("news"), `${source.name}: ${STATES[source.state]}`);
  tile.root.dataset.state = source.state;
  say(tile.name, source.name);
  say(tile.state, STATES[source.state] + (source.why ? `: ${source.why}` : ""));
  const people = source.people === null ? "" : counted(source.people, "person", "people");
  say(tile.people, people + (source.ids.length ? `, id${source.ids.length > 1 ? "s" : ""} ${source.ids.join(" ")}` : ""));
  const figures = [counted(source.read, "frame read", "frames read"), `${source.dropped} dropped`];
  if (source.reconnects) figures.push(counted(source.reconnects, "reconnect", "reconnects"));
  if (source.age !== null) figures.push(`results ${(source.age * 1000).toFixed(0)} ms after reading`);
  if (source.since !== null) figures.push(`newest ${ago(source.since)} ago`);
  say(tile.figures, figures.join(" · "));
  const label = `${source.name}: ${people || "no picture yet"}`;
  if (tile.canvas.getAttribute("aria-label") !== label) tile.canvas.setAttribute("aria-label", label);
}

function made(position) {
  const root = find("source").content.firstElementChild.cloneNode(true);
  const part = (name) => root.querySelector(name);
  const tile = {
    root, position, picture: null, found: null, source: null, name: part("h2"), state: part(".state"), people: part(".people"),
    figures: part(".figures"), canvas: part("canvas"), button: part("button"),
  };
  tile.button.onclick = () => choose(alone === position ? null : position);
  tiles.set(position, tile);
  return tile;
}

/** Look at one source alone, or at all of them again. */
function choose(position) {
  alone = position;
  find("sources").classList.toggle("alone", alone !== null);
  for (const tile of tiles.values()) {
    tile.root.hidden = alone !== null && tile.position !== alone;
    tile.button.setAttribute("aria-expanded", String(tile.position === alone));
  }
  want();
}

/** Nothing is asked for that nobody sees. */
function want() {
  if (paused || document.hidden) watch?.want([], false);
  else watch?.want(alone === null ? null : [alone], alone !== null);
}

function onSources(sources) {
  const listed = new Set(sources.map((source) => source.position));
  for (const [position, tile] of tiles) {
    if (listed.has(position)) continue;
    tile.root.remove();
    tiles.delete(position);
    if (alone === position) choose(null);
  }
  let before = null;
  for (const source of sources) {
    const tile = tiles.get(source.position) || made(source.position);
    tell(tile, source);
    // What stands where it belongs is not moved: it would lose the focus.
    const place = before ? before.nextElementSibling : find("sources").firstElementChild;
    if (place !== tile.root) find("sources").insertBefore(tile.root, place);
    tile.root.hidden = alone !== null && tile.position !== alone;
    before = tile.root;
  }
  const there = sources.filter((source) => source.state === "connected").length;
  const people = sources.reduce((sum, source) => sum + (source.state === "ended" ? 0 : source.people || 0), 0);
  say(find("summary"), over || `${counted(sources.length, "source", "sources")}, ${there} connected, ${counted(people, "person", "people")}`);
}

async function onPicture(head, jpeg) {
  let picture = null;
  try {
    picture = await createImageBitmap(jpeg);
  } finally {
    const tile = tiles.get(head.position);
    if (tile && picture) {
      tile.picture?.close();
      Object.assign(tile, { picture, found: head });
      redraw(tile);
    }
    watch?.shown(head.position); // the next may come
  }
}

function onEnd(why, ended) {
  over = ended ? why : "";
  watch = null;
  show(ended ? "" : why);
  say(find("summary"), why);
  document.body.classList.add("over");
  find("pause").disabled = true;
}

function wire() {
  for (const id of ["skeletons", "boxes"]) find(id).onchange = () => tiles.forEach(redraw);
  find("seen").oninput = () => {
    find("seen-value").textContent = Number(find("seen").value).toFixed(2);
    tiles.forEach(redraw);
  };
  find("pause").onclick = () => {
    paused = !paused;
    find("pause").setAttribute("aria-pressed", String(paused));
    find("pause").textContent = paused ? "Go on" : "Pause";
    want();
  };
  find("settings").onsubmit = (event) => event.preventDefault();
  document.addEventListener("visibilitychange", want);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || alone === null || find("ask").open) return;
    const tile = tiles.get(alone);
    choose(null);
    tile?.button.focus();
  });
}

wire();
try {
  const about = await model();
  skeleton = about.drawing;
  say(find("model"), `${about.model} on ${about.device} (${about.backend}, ${about.precision})`);
  document.title = `${about.model} · trtpose`;
  watch = new Watch({ onSources, onPicture, onEnd });
  watch.onOpen = want;
} catch (error) {
  say(find("model"), "no answer");
  show(error.message);
}
