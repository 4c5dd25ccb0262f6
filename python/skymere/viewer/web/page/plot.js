// Curves, points and counts.

import { el, number, svg } from "./dom.js";

const PALETTE = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00"];
const MARGIN = { left: 62, right: 12, top: 12, bottom: 36 };

export function ticks(low, high, n = 5) {
  const raw = (high - low) / n;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * size).find((one) => one >= raw) ?? raw;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  return found;
}

function extent(values, pad = 0.05) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) if (value !== null && Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (low > high) return [0, 1];
  const more = (high - low || Math.abs(low) || 1) * pad;
  return [low - more, high + more];
}

// Curves as SVG: of a spectrum, a p(z), an SED.
export function curvesPlot(plot, { width = 620, height = 260 } = {}) {
  const hasErrors = plot.curves.some((curve) => curve.error);
  const robust = plot.curves.flatMap((curve) => (hasErrors ? clipped(curve) : curve.y));
  const [x0, x1] = extent(plot.curves.flatMap((curve) => curve.x), 0.02);
  const [y0, y1] = extent([...robust, 0], 0.08);
  const px = (x) => MARGIN.left + ((x - x0) / (x1 - x0)) * (width - MARGIN.left - MARGIN.right);
  const py = (y) => height - MARGIN.bottom - ((Math.min(Math.max(y, y0), y1) - y0) / (y1 - y0)) * (height - MARGIN.top - MARGIN.bottom);
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": plot.title });
  axes(node, { x0, x1, y0, y1, px, py, width, height, plot });
  plot.curves.forEach((curve, k) => drawCurve(node, curve, PALETTE[k % PALETTE.length], px, py));
  for (const mark of plot.marks ?? []) {
    if (mark.x < x0 || mark.x > x1) continue;
    node.append(svg("line", { x1: px(mark.x), x2: px(mark.x), y1: MARGIN.top, y2: height - MARGIN.bottom, class: "mark" }));
    const text = svg("text", { x: 0, y: 0, class: "mark-text", transform: `translate(${px(mark.x) - 2} ${MARGIN.top + 4}) rotate(-90)`, "text-anchor": "end" });
    text.textContent = mark.text;
    node.append(text);
  }
  const legend = el("div", { class: "legend" });
  plot.curves.forEach((curve, k) => {
    const dot = el("span", { class: "dot" });
    dot.style.background = PALETTE[k % PALETTE.length];
    legend.append(dot, el("span", {}, curve.label));
  });
  if (plot.without?.length) legend.append(el("span", { class: "faint" }, `no wavelength known: ${plot.without.join(", ")}`));
  return el("figure", {}, el("figcaption", {}, plot.title), node, legend);
}

// A spectrum's ends are often wild; the middle of it says how high the plot is, and what stands out of its noise.
function clipped(curve) {
  const known = curve.y.filter((value) => value !== null).sort((a, b) => a - b);
  if (known.length < 50) return known;
  const [low, high] = [known[Math.floor(known.length * 0.01)], known[Math.ceil(known.length * 0.99) - 1]];
  const sure = curve.y.filter((value, i) => value !== null && curve.error?.[i] > 0 && Math.abs(value) > 5 * curve.error[i]);
  return [low - 0.2 * (high - low), high + 0.2 * (high - low), ...sure];
}

function drawCurve(node, curve, colour, px, py) {
  const isLine = curve.style !== "points";
  if (curve.error) {
    const step = Math.max(1, Math.floor(curve.x.length / 300));
    for (let i = 0; i < curve.x.length; i += isLine ? step : 1) {
      if (curve.y[i] === null || !curve.error[i]) continue;
      const [a, b] = [py(curve.y[i] - curve.error[i]), py(curve.y[i] + curve.error[i])];
      node.append(svg("line", { x1: px(curve.x[i]), x2: px(curve.x[i]), y1: a, y2: b, stroke: colour, "stroke-opacity": isLine ? 0.35 : 1 }));
    }
  }
  if (!isLine) {
    curve.x.forEach((x, i) => {
      const dot = svg("circle", { cx: px(x), cy: py(curve.y[i]), r: 4, fill: colour });
      const title = svg("title");
      title.textContent = `${curve.names?.[i] ?? ""} ${number(curve.y[i])} ± ${number(curve.error?.[i])}`;
      dot.append(title);
      node.append(dot);
    });
    return;
  }
  let path = "";
  curve.x.forEach((x, i) => {
    if (curve.y[i] === null) return;
    path += `${path && curve.y[i - 1] !== null ? "L" : "M"}${px(x).toFixed(1)} ${py(curve.y[i]).toFixed(1)}`;
  });
  node.append(svg("path", { d: path, fill: "none", stroke: colour, "stroke-width": 1.2 }));
}

function axes(node, { x0, x1, y0, y1, px, py, width, height, plot }) {
  for (const x of ticks(x0, x1, 7)) {
    node.append(svg("line", { x1: px(x), x2: px(x), y1: height - MARGIN.bottom, y2: height - MARGIN.bottom + 4, class: "axis" }));
    const text = svg("text", { x: px(x), y: height - MARGIN.bottom + 16, "text-anchor": "middle" });
    text.textContent = number(x, 4);
    node.append(text);
  }
  for (const y of ticks(y0, y1, 5)) {
    node.append(svg("line", { x1: MARGIN.left - 4, x2: width - MARGIN.right, y1: py(y), y2: py(y), class: y === 0 ? "axis" : "grid" }));
    const text = svg("text", { x: MARGIN.left - 6, y: py(y) + 4, "text-anchor": "end" });
    text.textContent = number(y, 3).replace(/\.?0+e/, "e");
    node.append(text);
  }
  node.append(svg("rect", { x: MARGIN.left, y: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom, class: "frame" }));
  const below = svg("text", { x: (width + MARGIN.left) / 2, y: height - 4, "text-anchor": "middle" });
  below.textContent = plot.x_label;
  const beside = svg("text", { transform: `translate(11 ${height / 2}) rotate(-90)`, "text-anchor": "middle" });
  beside.textContent = plot.y_label;
  node.append(below, beside);
}

// Two columns, or the counts of one, on a canvas; a box that is drawn over them becomes a filter.
export class CataloguePlot {
  constructor(listener) {
    this.listener = listener;
    this.canvas = el("canvas", { class: "scatter", "aria-label": "Plot of columns" });
    this.context = this.canvas.getContext("2d");
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.listen();
  }

  show(data, x, y, said = [x, y]) {
    [this.data, this.x, this.y, this.said] = [data, x, y, said];
    this.draw();
  }

  get ranges() {
    const { data } = this;
    const wide = ([low, high]) => [low - 0.03 * (high - low), high + 0.03 * (high - low)];
    if (data.counts) return { x: [data.edges[0], data.edges.at(-1)], y: [0, 1.05 * Math.max(1, ...data.counts)] };
    return data.cells ? { x: data.x_range, y: data.y_range } : { x: wide(data.x_range), y: wide(data.y_range) };
  }

  draw() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = [Math.max(1, box.width * ratio), Math.max(1, box.height * ratio)];
    if (!this.data || !box.width) return;
    const context = this.context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, box.width, box.height);
    const { x: [x0, x1], y: [y0, y1] } = this.ranges;
    const inner = { left: MARGIN.left, top: MARGIN.top, width: box.width - MARGIN.left - MARGIN.right, height: box.height - MARGIN.top - MARGIN.bottom };
    this.inner = inner;
    const px = (x) => inner.left + ((x - x0) / (x1 - x0)) * inner.width;
    const py = (y) => inner.top + (1 - (y - y0) / (y1 - y0)) * inner.height;
    this.px = px;
    this.py = py;
    context.save();
    context.beginPath();
    context.rect(inner.left, inner.top, inner.width, inner.height);
    context.clip();
    context.fillStyle = PALETTE[0];
    if (this.data.counts) {
      this.data.counts.forEach((n, i) => context.fillRect(px(this.data.edges[i]) + 0.5, py(n), Math.max(1, px(this.data.edges[i + 1]) - px(this.data.edges[i]) - 1), py(0) - py(n)));
    } else if (this.data.cells) this.drawCells(inner);
    else this.data.x.forEach((x, i) => context.fillRect(px(x) - 1.2, py(this.data.y[i]) - 1.2, 2.4, 2.4));
    const chosen = this.data.key?.indexOf(this.selected) ?? -1;
    if (chosen >= 0) {
      context.strokeStyle = "#ff5c5c";
      context.lineWidth = 2;
      context.beginPath();
      context.arc(px(this.data.x[chosen]), py(this.data.y[chosen]), 6, 0, 2 * Math.PI);
      context.stroke();
    }
    if (this.box) {
      context.strokeStyle = "#ffffff";
      context.lineWidth = 1;
      context.strokeRect(this.box.x0, this.box.y0, this.box.x1 - this.box.x0, this.box.y1 - this.box.y0);
    }
    context.restore();
    this.drawAxes(inner, { x0, x1, y0, y1 }, px, py);
  }

  drawCells(inner) {
    const { cells } = this.data;
    const most = Math.log1p(Math.max(1, ...cells.map((row) => Math.max(...row))));
    const [wide, high] = [inner.width / cells[0].length, inner.height / cells.length];
    cells.forEach((row, j) => row.forEach((n, i) => {
      if (!n) return;
      this.context.globalAlpha = 0.15 + (0.85 * Math.log1p(n)) / most;
      this.context.fillRect(inner.left + i * wide, inner.top + inner.height - (j + 1) * high, wide + 0.5, high + 0.5);
    }));
    this.context.globalAlpha = 1;
  }

  drawAxes(inner, { x0, x1, y0, y1 }, px, py) {
    const context = this.context;
    context.strokeStyle = "#8fa3b8";
    context.fillStyle = "#c8d4e0";
    context.lineWidth = 1;
    context.font = "11px sans-serif";
    context.strokeRect(inner.left, inner.top, inner.width, inner.height);
    context.textAlign = "center";
    for (const x of ticks(x0, x1, 6)) context.fillText(number(x, 4), px(x), inner.top + inner.height + 14);
    context.fillText(this.said[0], inner.left + inner.width / 2, inner.top + inner.height + 30);
    context.textAlign = "right";
    for (const y of ticks(y0, y1, 5)) context.fillText(number(y, 3), inner.left - 4, py(y) + 4);
    context.save();
    context.translate(11, inner.top + inner.height / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillText(this.said[1] || "number", 0, 0);
    context.restore();
  }

  listen() {
    let grip = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (!this.data) return;
      this.canvas.setPointerCapture(event.pointerId);
      grip = { x: event.offsetX, y: event.offsetY };
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!grip) return;
      this.box = { x0: Math.min(grip.x, event.offsetX), x1: Math.max(grip.x, event.offsetX), y0: Math.min(grip.y, event.offsetY), y1: Math.max(grip.y, event.offsetY) };
      this.draw();
    });
    this.canvas.addEventListener("pointerup", (event) => {
      if (!grip) return;
      const box = this.box;
      [grip, this.box] = [null, null];
      if (box && box.x1 - box.x0 > 4) this.listener.boxed(this.condition(box));
      else this.listener.clicked(this.nearest(event.offsetX, event.offsetY));
      this.draw();
    });
  }

  condition(box) {
    const { x: [x0, x1], y: [y0, y1] } = this.ranges;
    const at = (p, start, size, low, high) => number(low + ((p - start) / size) * (high - low), 7);
    const parts = [
      `${this.x} >= ${at(box.x0, this.inner.left, this.inner.width, x0, x1)}`,
      `${this.x} <= ${at(box.x1, this.inner.left, this.inner.width, x0, x1)}`,
    ];
    if (this.y && box.y1 - box.y0 > 4) {
      parts.push(`${this.y} >= ${at(box.y1, this.inner.top + this.inner.height, -this.inner.height, y0, y1)}`);
      parts.push(`${this.y} <= ${at(box.y0, this.inner.top + this.inner.height, -this.inner.height, y0, y1)}`);
    }
    return parts.join(" and ");
  }

  nearest(sx, sy) {
    if (!this.data.key) return "";
    let [best, least] = ["", 10];
    this.data.x.forEach((x, i) => {
      const distance = Math.hypot(this.px(x) - sx, this.py(this.data.y[i]) - sy);
      if (distance < least) [least, best] = [distance, this.data.key[i]];
    });
    return best;
  }
}
