// SPDX-License-Identifier: MIT
//
// What the pages of hvhost and hvguestd have in common: amounts as text, light and dark, and charts.
"use strict";

const $ = (id) => document.getElementById(id);

// MiB for people.
function size(mib) {
  if (mib < 0 || Number.isNaN(mib)) return "–";
  if (mib >= 1024 * 1024) return (mib / 1024 / 1024).toFixed(2) + " TiB";
  if (mib >= 1024) return (mib / 1024).toFixed(mib >= 102400 ? 0 : 1) + " GiB";
  return Math.round(mib) + " MiB";
}

const bytes = (n) => size(n / 1048576);

function duration(s) {
  if (Number.isNaN(s)) return "–";
  if (s <= 0) return "0 s";
  if (s < 1e-3) return (s * 1e6).toFixed(0) + " µs";
  if (s < 1) return (s * 1e3).toFixed(s < 0.1 ? 1 : 0) + " ms";
  if (s < 120) return s.toFixed(1) + " s";
  return s < 7200 ? Math.round(s / 60) + " min" : Math.round(s / 3600) + " h";
}

// A moment as people here write it; with the day if that is not today.
function moment(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "–";
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
}

// make("td", "text", "class"): an element; what comes from outside is text and nothing else.
function make(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
}

function showFactList(list, rows) {
  list.replaceChildren(...rows.flatMap(([what, value]) => [make("dt", what), make("dd", value)]));
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* then it is for now only */ }
  redraw();
}

try {
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* as the browser has it */ }

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

// The canvas in the pixels of its screen, cleared.
function fit(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
  }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  return { c, w, h };
}

const SECONDS = 600;   // of history
let ticks = 0;         // seconds that have been seen

// The last SECONDS of some series, one value a second. All histories go by the same ticks.
class History {
  constructor(series) {
    this.series = series;
    this.data = new Float32Array(SECONDS * series).fill(NaN);
  }
  put(values) { this.data.set(values, (ticks % SECONDS) * this.series); }
  // i: 0 is the oldest of the last n.
  at(series, i, n) { return this.data[((ticks - n + i) % SECONDS) * this.series + series]; }
}

// A chart of lines over time:
//   lines: [{ name, colour: "--demand", series, dashes, hidden }], history, format(value), top: at least
const hover = new Map();   // canvas -> x of the mouse

function watchMouse(canvas) {
  canvas.addEventListener("mousemove", (e) => { hover.set(canvas, e.offsetX); redraw(); });
  canvas.addEventListener("mouseleave", () => { hover.delete(canvas); redraw(); });
}

// Round numbers for an axis up to top, in steps of 1, 2 or 5 times a power of ten, or of two for MiB.
function stepOf(top, binary) {
  const unit = binary ? 2 ** Math.floor(Math.log2(top / 4)) : 10 ** Math.floor(Math.log10(top / 4));
  for (const k of binary ? [1, 2] : [1, 2, 5, 10]) if (unit * k * 5 >= top) return unit * k;
  return unit * 10;
}

function showChart(canvas, { lines, history, format, top: least, binary }) {
  const { c, w, h } = fit(canvas), left = 66, right = 10, bottom = 18, upper = 8;
  const n = Math.min(ticks, SECONDS), span = [60, 120, 300, 600].find((s) => s >= n) || SECONDS;
  const shown = lines.filter((line) => !line.hidden);
  let top = least;
  for (const line of shown)
    for (let i = 0; i < n; i++) { const v = history.at(line.series, i, n); if (v > top) top = v; }
  const step = stepOf(top, binary);
  top = Math.ceil(top / step - 1e-9) * step;
  const x = (i) => left + (w - left - right) * (span - n + i) / (span - 1);
  const y = (v) => upper + (h - bottom - upper) * (1 - v / top);
  c.font = "11px system-ui, sans-serif";
  c.lineWidth = 1;
  c.textAlign = "right";
  for (let v = 0; v <= top + step / 2; v += step) {
    c.strokeStyle = colour("--line");
    c.beginPath(); c.moveTo(left, y(v)); c.lineTo(w - right, y(v)); c.stroke();
    c.fillStyle = colour("--faint");
    c.fillText(format(v), left - 6, y(v) + 4);
  }
  const minutes = span / 60;
  for (let k = 0; k <= 4; k++) {
    const ago = minutes * (4 - k) / 4, at = left + (w - left - right) * k / 4;
    c.textAlign = k === 0 ? "left" : k === 4 ? "right" : "center";
    c.fillText(ago === 0 ? "now" : ago < 1 ? `−${Math.round(ago * 60)} s` : `−${ago % 1 ? ago.toFixed(1) : ago} min`, at, h - 4);
  }
  for (const line of shown) {
    c.strokeStyle = colour(line.colour);
    c.lineWidth = line.dashes ? 1.5 : 2;
    c.setLineDash(line.dashes || []);
    c.beginPath();
    let pen = false, last = null;
    for (let i = 0; i < n; i++) {
      const v = history.at(line.series, i, n);
      if (Number.isNaN(v)) { pen = false; continue; }
      if (pen) c.lineTo(x(i), y(v)); else c.moveTo(x(i), y(v));
      pen = true;
      last = i;
    }
    c.stroke();
    c.setLineDash([]);
    if (last !== null) {
      c.fillStyle = colour(line.colour);
      c.beginPath(); c.arc(x(last), y(history.at(line.series, last, n)), 2.5, 0, 7); c.fill();
    }
  }
  if (!hover.has(canvas) || n === 0) return;
  // What was, where the mouse is.
  const i = Math.round((hover.get(canvas) - left) / (w - left - right) * (span - 1)) - (span - n);
  if (i < 0 || i >= n) return;
  const texts = shown.map((line) => [line, history.at(line.series, i, n)]).filter(([, v]) => !Number.isNaN(v))
    .map(([line, v]) => [line, `${line.name} ${format(v)}`]);
  const width = Math.max(60, ...texts.map(([, t]) => c.measureText(t).width)) + 26;
  const height = texts.length * 16 + 24, at = x(i) + width + 12 > w ? x(i) - width - 8 : x(i) + 8;
  c.strokeStyle = colour("--faint");
  c.lineWidth = 1;
  c.beginPath(); c.moveTo(x(i), upper); c.lineTo(x(i), h - bottom); c.stroke();
  c.fillStyle = colour("--panel");
  c.strokeStyle = colour("--line");
  c.fillRect(at, upper, width, height);
  c.strokeRect(at, upper, width, height);
  c.textAlign = "left";
  c.fillStyle = colour("--faint");
  c.fillText(`${n - 1 - i} s ago`, at + 8, upper + 15);
  texts.forEach(([line, text], k) => {
    c.fillStyle = colour(line.colour);
    c.fillRect(at + 8, upper + 23 + k * 16, 8, 8);
    c.fillStyle = colour("--text");
    c.fillText(text, at + 21, upper + 31 + k * 16);
  });
}

// A legend whose entries show and hide their lines.
function makeLegend(list, lines) {
  list.replaceChildren(...lines.map((line) => {
    const button = make("button", line.name);
    button.type = "button";
    button.style.setProperty("--c", `var(${line.colour})`);
    button.setAttribute("aria-pressed", !line.hidden);
    button.addEventListener("click", () => {
      line.hidden = !line.hidden;
      button.setAttribute("aria-pressed", !line.hidden);
      redraw();
    });
    return button;
  }));
}

// A page says by drawPage() what it draws, and by redraw() that something has changed.
let dirty = true;
function redraw() { dirty = true; }
function drawLoop() {
  if (dirty && typeof drawPage === "function") {
    dirty = false;
    drawPage();
  }
  requestAnimationFrame(drawLoop);
}
window.addEventListener("resize", redraw);
requestAnimationFrame(drawLoop);

// Live: on.name(data) for each event; the element tells whether it is.
function listen(live, on, lostText) {
  const events = new EventSource("/v1/events");
  events.onopen = () => { live.textContent = "live"; live.className = "state live"; };
  events.onerror = () => { live.textContent = lostText; live.className = "state lost"; };
  for (const name of Object.keys(on)) events.addEventListener(name, (e) => on[name](JSON.parse(e.data)));
}
