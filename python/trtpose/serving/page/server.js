// SPDX-License-Identifier: Apache-2.0
// What the page asks of its server.

const KEY = "trtpose-token";

/** An error with a sentence for the user. */
export class ServerError extends Error {}

/** The token that the user types into the page's dialog. */
function askForToken() {
  const dialog = document.getElementById("ask");
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(document.getElementById("token").value);
    dialog.showModal();
  });
}

function headers() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function ask(path, options = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: { ...options.headers, ...headers() } });
    } catch {
      throw new ServerError("the server does not answer; is it still running?");
    }
    if (answer.status !== 401) return answer;
    // Signs that no header can hold are in no token; with them nothing would be sent.
    sessionStorage.setItem(KEY, (await askForToken()).replace(/[^!-~]/g, ""));
  }
}

/** The JSON of an answer, which may break off. */
async function content(answer) {
  try {
    return await answer.json();
  } catch {
    throw new ServerError("the server's answer broke off; is it still running?");
  }
}

async function sentence(answer) {
  try {
    return (await answer.json()).error || answer.statusText;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

/** What runs, with the skeleton to draw. */
export async function model() {
  const answer = await ask("/v1/model");
  if (!answer.ok) throw new ServerError(await sentence(answer));
  return content(answer);
}

function query(settings) {
  return new URLSearchParams({ conf: settings.conf, iou: settings.iou }).toString();
}

/** The people in a picture, a Blob, and the milliseconds of each stage. */
export async function poses(picture, name, settings) {
  const begin = performance.now();
  const answer = await ask(`/v1/poses?${query(settings)}&name=${encodeURIComponent(name)}`, {
    method: "POST", body: picture, headers: { "Content-Type": "application/octet-stream" },
  });
  if (!answer.ok) throw new ServerError(await sentence(answer));
  const times = {};
  for (const part of (answer.headers.get("Server-Timing") || "").split(", ")) {
    const [stage, duration] = part.split(";dur=");
    if (duration) times[stage] = Number(duration);
  }
  return { found: await content(answer), times: withWay(times, performance.now() - begin) };
}

function withWay(times, whole) {
  const inside = Object.values(times).reduce((sum, value) => sum + value, 0);
  return { ...times, way: Math.max(whole - inside, 0) };
}

function socketTo(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const token = sessionStorage.getItem(KEY);
  return new WebSocket(url, token ? ["trtpose", `trtpose-token.${token}`] : ["trtpose"]);
}

/** Frames to the server one after the other: the next goes when the last is answered, so that none waits. */
export class Stream {
  constructor(settings, { onPoses, onEnd }) {
    this.socket = socketTo("/v1/stream");
    this.settings = settings;
    this.sent = 0;
    this.free = false;
    this.socket.onopen = () => { this.free = true; };
    this.socket.onmessage = (event) => {
      this.free = true;
      const found = JSON.parse(event.data);
      onPoses(found, withWay(found.times || {}, performance.now() - this.sent));
    };
    this.socket.onclose = (event) => onEnd(event.wasClean && event.code === 1000 ? "" : event.reason || "the stream broke off");
  }

  /** Whether a frame may be sent now. */
  get ready() { return this.free && this.socket.readyState === WebSocket.OPEN; }

  send(picture) {
    this.free = false;
    this.sent = performance.now();
    this.socket.send(JSON.stringify({ conf: Number(this.settings.conf), iou: Number(this.settings.iou) }));
    this.socket.send(picture);
  }

  close() { this.socket.close(1000); }
}

/** What a run sees: its sources' states and newest frames as they come. */
export class Watch {
  constructor({ onSources, onPicture, onEnd }) {
    this.socket = socketTo("/v1/live");
    this.socket.binaryType = "arraybuffer";
    this.onOpen = () => {};
    this.socket.onopen = () => this.onOpen();
    this.socket.onmessage = (event) => {
      if (typeof event.data === "string") { onSources(JSON.parse(event.data).sources); return; }
      const length = new DataView(event.data).getUint32(0, true);
      const head = JSON.parse(new TextDecoder().decode(new Uint8Array(event.data, 4, length)));
      onPicture(head, new Blob([new Uint8Array(event.data, 4 + length)], { type: "image/jpeg" }));
    };
    this.socket.onclose = (event) => {
      const ended = event.wasClean && event.code === 1000;
      onEnd(event.reason || "the view broke off; is the run still going on?", ended);
    };
  }

  send(value) { if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(value)); }

  /** The picture of a source is on the screen: the next may come. */
  shown(position) { this.send({ shown: position }); }

  /** Say what is looked at: numbers of sources or null for all, and whether larger. */
  want(only, large) { this.send({ only, large }); }
}
