// SPDX-License-Identifier: Apache-2.0
// Skeletons on a canvas, in the colours of trtpose's own drawings.

const SIDES = { left: "#ff8c28", right: "#3cbeff", "": "#78e678" };
const PEOPLE = ["#4caf50", "#2196f3", "#e74c3c", "#9c27b0", "#ffc107", "#00bcd4", "#e91e63", "#8bc34a", "#795548", "#3f51b5"];

function width(box) {
  return Math.min(Math.max(Math.sqrt((box[2] - box[0]) * (box[3] - box[1])) / 45, 1), 8);
}

function drawPerson(context, person, number, skeleton, look) {
  const [left, top, right, bottom] = person.box;
  const line = width(person.box);
  const color = PEOPLE[(person.id ?? number) % PEOPLE.length];
  const seen = person.keypoints.map((point) => point[2] >= look.seen);
  context.lineCap = "round";
  if (look.boxes || look.chosen === number) {
    context.strokeStyle = color;
    context.lineWidth = look.chosen === number ? line * 2 : line * 0.7;
    context.strokeRect(left, top, right - left, bottom - top);
  }
  for (const [a, b, side] of skeleton.edges) {
    if (!seen[a] || !seen[b]) continue;
    context.strokeStyle = SIDES[side];
    context.lineWidth = line;
    context.beginPath();
    context.moveTo(person.keypoints[a][0], person.keypoints[a][1]);
    context.lineTo(person.keypoints[b][0], person.keypoints[b][1]);
    context.stroke();
  }
  person.keypoints.forEach(([x, y], index) => {
    if (!seen[index]) return;
    context.fillStyle = "#ffffff";
    context.beginPath();
    context.arc(x, y, line * 1.1, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = SIDES[skeleton.sides[index]];
    context.beginPath();
    context.arc(x, y, line * 0.75, 0, 2 * Math.PI);
    context.fill();
  });
  if (look.boxes) {
    const size = Math.max(Math.min((right - left) / 4, 24), 11);
    context.font = `600 ${size}px system-ui, sans-serif`;
    const text = `${person.id === undefined || person.id === null ? "" : `#${person.id} `}${person.score.toFixed(2)}`;
    const above = top - size * 1.35 >= 0 ? top - size * 1.35 : top;
    context.fillStyle = color;
    context.fillRect(left, above, context.measureText(text).width + size * 0.6, size * 1.35);
    context.fillStyle = "#ffffff";
    context.fillText(text, left + size * 0.3, above + size);
  }
}

/** The people of an answer on top of a picture. */
export function drawPeople(canvas, picture, found, skeleton, look) {
  const [across, down] = [found?.width || picture.width, found?.height || picture.height];
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, across, down);
  (found?.poses || []).forEach((person, number) => drawPerson(context, person, number, skeleton, look));
}

const STAGES = ["decode", "wait", "infer", "way"];

/** The last answers' times as stacked bars. */
export function drawTimes(canvas, history) {
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const most = Math.max(...history.map((times) => STAGES.reduce((sum, stage) => sum + (times[stage] || 0), 0)), 1);
  const step = canvas.width / 60;
  history.forEach((times, index) => {
    let bottom = canvas.height;
    for (const stage of STAGES) {
      const height = ((times[stage] || 0) / most) * (canvas.height - 4);
      context.fillStyle = style.getPropertyValue(`--${stage}`);
      context.fillRect(index * step, bottom - height, Math.max(step - 1, 1), height);
      bottom -= height;
    }
  });
  const last = history[history.length - 1];
  return STAGES.map((stage) => `${stage} ${(last[stage] || 0).toFixed(1)} ms`).join(", ");
}
