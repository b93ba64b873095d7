// SPDX-License-Identifier: Apache-2.0
// The page: a picture or the webcam in, people out.

import { drawPeople, drawTimes } from "/page/draw.js";
import { model, poses, ServerError, Stream } from "/page/server.js";

const find = (id) => document.getElementById(id);
const state = { picture: null, found: null, name: "", blob: null, chosen: -1, stream: null, camera: null, opening: false, history: [] };
let skeleton = { names: [], edges: [], sides: [] };
let classes = [];

const settings = {
  get conf() { return find("conf").value; },
  get iou() { return find("iou").value; },
};

function look() {
  return { seen: Number(find("seen").value), boxes: find("boxes").checked, chosen: state.chosen };
}

function show(error) {
  find("error").hidden = !error;
  find("error").textContent = error || "";
}

/** No picture, rather than one that the people in the table are not from. */
function clear() {
  const view = find("view");
  view.getContext("2d").clearRect(0, 0, view.width, view.height);
  find("drop").classList.remove("full");
  find("save").disabled = true;
  if (state.name) view.setAttribute("aria-label", `${state.name}: cannot be shown`);
}

function redraw() {
  if (!state.picture) return clear();
  find("drop").classList.add("full");
  drawPeople(find("view"), state.picture, state.found, skeleton, look());
  const count = state.found?.poses?.length ?? 0;
  const text = `${state.name || "webcam"}: ${count === 1 ? "1 person" : `${count} people`}`;
  if (find("view").getAttribute("aria-label") !== text) find("view").setAttribute("aria-label", text);
  find("save").disabled = false;
}

function cell(text) {
  const made = document.createElement("td");
  made.textContent = text;
  return made;
}

function choose(row) {
  state.chosen = state.chosen === row ? -1 : row;
  list();
  redraw();
}

function list() {
  const people = state.found?.poses || [];
  const rows = people.map((person, number) => {
    const row = document.createElement("tr");
    const seen = person.keypoints.filter((point) => point[2] >= look().seen).length;
    const box = person.box.map((value) => Math.round(value)).join(" ");
    row.append(cell(person.id ?? number), cell(classes[person.class_id] ?? person.class_id), cell(person.score.toFixed(2)),
      cell(box), cell(`${seen}/${person.keypoints.length}`));
    row.tabIndex = 0;
    row.setAttribute("aria-selected", String(state.chosen === number));
    row.onclick = () => choose(number);
    row.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(number); find("people").rows[number].focus(); }
    };
    return row;
  });
  if (!rows.length) {
    const row = document.createElement("tr");
    const nobody = cell(state.found ? "nobody" : "nobody yet");
    nobody.colSpan = 5;
    row.append(nobody);
    rows.push(row);
  }
  find("people").replaceChildren(...rows);
}

function timed(times) {
  state.history = [...state.history.slice(-59), times];
  find("times-text").textContent = drawTimes(find("times"), state.history);
}

async function ask() {
  if (!state.blob) return;
  const asked = state.blob;
  try {
    const { found, times } = await poses(asked, state.name, settings);
    if (asked !== state.blob) return; // another picture has been chosen meanwhile
    Object.assign(state, { found, chosen: -1 });
    show("");
    timed(times);
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    if (asked !== state.blob) return;
    Object.assign(state, { found: null, chosen: -1 });
    show(error.message);
  }
  list();
  redraw();
}

async function take(file) {
  closeCamera();
  Object.assign(state, { blob: file, name: file.name, found: null });
  try {
    state.picture = await createImageBitmap(file);
  } catch {
    state.picture = null; // the server may know more formats than the browser, or says what is wrong
  }
  redraw();
  await ask();
  if (!state.picture && state.found) show("this browser cannot show the picture; the people are in the table");
}

function closeCamera() {
  state.stream?.close();
  state.camera?.getTracks().forEach((track) => track.stop());
  Object.assign(state, { stream: null, camera: null });
  find("camera").setAttribute("aria-pressed", "false");
  find("camera").textContent = "Open the webcam";
}

async function openCamera() {
  if (state.opening) return; // a second webcam would stay on unseen
  show("");
  state.opening = true;
  try {
    state.camera = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
  } catch (error) {
    show(`the webcam cannot be opened (${error.message}); allow it in the browser, or choose a picture`);
    return;
  } finally {
    state.opening = false;
  }
  const video = Object.assign(document.createElement("video"), { srcObject: state.camera, muted: true, playsInline: true });
  await video.play();
  const frame = document.createElement("canvas");
  let last = null;
  Object.assign(state, { blob: null, name: "", found: null });
  find("camera").setAttribute("aria-pressed", "true");
  find("camera").textContent = "Close the webcam";
  const stream = new Stream(settings, {
    onPoses(found, times) {
      if (state.stream !== stream) return;
      show(found.error);
      if (found.error) return;
      Object.assign(state, { found, picture: last });
      timed(times);
      list();
      redraw();
    },
    onEnd(why) {
      if (state.stream !== stream) return;
      closeCamera();
      if (why) show(why);
    },
  });
  state.stream = stream;
  const next = () => {
    if (state.stream !== stream) return;
    if (stream.ready && video.videoWidth) {
      Object.assign(frame, { width: video.videoWidth, height: video.videoHeight });
      frame.getContext("2d").drawImage(video, 0, 0);
      stream.free = false;
      createImageBitmap(frame).then((bitmap) => { last = bitmap; });
      frame.toBlob((blob) => state.stream === stream && stream.send(blob), "image/jpeg", 0.85);
    }
    requestAnimationFrame(next);
  };
  next();
}

function wire() {
  find("file").onchange = (event) => event.target.files[0] && take(event.target.files[0]);
  find("camera").onclick = () => (state.camera ? closeCamera() : openCamera());
  find("save").onclick = () => find("view").toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "people.png" });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  for (const id of ["conf", "iou", "seen"]) {
    find(id).oninput = () => { find(`${id}-value`).textContent = Number(find(id).value).toFixed(2); list(); redraw(); };
  }
  for (const id of ["conf", "iou"]) find(id).onchange = ask;
  find("boxes").onchange = redraw;
  const drop = find("drop");
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((entry) => entry.type.startsWith("image/"));
    if (file) take(file);
  });
}

wire();
try {
  const about = await model();
  skeleton = about.drawing;
  classes = about.spec.names;
  find("conf").value = about.thresholds.conf;
  find("iou").value = about.thresholds.iou;
  for (const id of ["conf", "iou"]) find(`${id}-value`).textContent = Number(find(id).value).toFixed(2);
  find("model").textContent = `${about.model} on ${about.device} (${about.backend}, ${about.precision})`;
  document.title = `${about.model} · trtpose`;
} catch (error) {
  find("model").textContent = "no answer";
  show(error.message);
}
