// An image of a lake on a canvas: tiles at the resolution of the screen, and what lies over them.
//
// Places are in pixels of the image, 0-based, integer at a pixel's centre; `edge` adds the half pixel to its corner.

import { get } from "./api.js";

const MOST_TILES = 600;
const MOST_REQUESTS = 6;
const COLOURS = { sources: "#56b4e9", regions: "#e69f00", exposures: "#f0e442", beams: "#cc79a7", slits: "#009e73" };
const KEPT_MEASURES = 4000;

export class ImageView {
  constructor(canvas, listener) {
    this.canvas = canvas;
    this.listener = listener;
    this.context = canvas.getContext("2d");
    this.image = null;
    this.layers = new Map();
    this.tiles = new Map();
    this.waiting = [];
    this.running = new Map();
    this.asked = new Map();
    this.shown = { sources: true };
    this.where = "";
    this.selected = "";
    this.sketch = null;
    this.tool = null;
    this.centre = { x: 0, y: 0 };
    this.scale = 1;
    this.pictured = false;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
  }

  // ---- what is shown

  show(image, place) {
    this.image = image;
    this.drop();
    this.layers.clear();
    this.pictured = false;
    this.centre = place ? { x: place.x, y: place.y } : { x: (image.nx - 1) / 2, y: (image.ny - 1) / 2 };
    this.scale = place?.scale ?? this.fitting();
    this.resize();
    this.settle();
  }

  // `picture` has bands, limits, stretch, softening and map: all that is in the address of a tile.
  paint(picture) {
    this.picture = picture;
    this.drop();
    this.draw();
  }

  drop() {
    for (const request of this.running.values()) request.abort();
    this.running.clear();
    this.waiting = [];
    this.asked.clear();
    this.tiles.clear();
  }

  go(x, y, scale = this.scale) {
    this.centre = { x, y };
    this.scale = this.clamped(scale);
    this.draw();
    this.settle();
  }

  fitting() {
    const box = this.canvas.getBoundingClientRect();
    return Math.min((box.width || 800) / this.image.nx, (box.height || 600) / this.image.ny);
  }

  clamped(scale) {
    return Math.min(64, Math.max(0.5 * this.fitting(), scale));
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(box.width * ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * ratio));
    this.size = { width: box.width, height: box.height };
    this.draw();
  }

  // ---- between screen and image

  toScreen(x, y) {
    return { x: this.size.width / 2 + (x - this.centre.x) * this.scale, y: this.size.height / 2 - (y - this.centre.y) * this.scale };
  }

  toImage(sx, sy) {
    return { x: this.centre.x + (sx - this.size.width / 2) / this.scale, y: this.centre.y - (sy - this.size.height / 2) / this.scale };
  }

  window(margin = 0) {
    const half = { x: (this.size.width / 2 / this.scale) * (1 + margin), y: (this.size.height / 2 / this.scale) * (1 + margin) };
    return { x0: this.centre.x - half.x, y0: this.centre.y - half.y, x1: this.centre.x + half.x, y1: this.centre.y + half.y };
  }

  // Position on the sky of a place on a tangent plane [deg], null on other projections.
  sky(x, y) {
    const plane = this.image?.tangent;
    if (!plane) return null;
    const [dx, dy] = [x - plane.pixel[0], y - plane.pixel[1]];
    const radian = Math.PI / 180;
    const xi = (plane.matrix[0][0] * dx + plane.matrix[0][1] * dy) * radian;
    const eta = (plane.matrix[1][0] * dx + plane.matrix[1][1] * dy) * radian;
    const [ra0, dec0] = [plane.sky[0] * radian, plane.sky[1] * radian];
    const below = Math.cos(dec0) - eta * Math.sin(dec0);
    const ra = ra0 + Math.atan2(xi, below);
    const dec = Math.atan2(Math.sin(dec0) + eta * Math.cos(dec0), Math.hypot(xi, below));
    return { ra: (((ra / radian) % 360) + 360) % 360, dec: dec / radian };
  }

  // ---- tiles

  level() {
    const ratio = window.devicePixelRatio || 1;
    const level = Math.floor(Math.log2(1 / (this.scale * ratio)) + 1e-6);
    return Math.min(this.image.n_levels, Math.max(0, level));
  }

  seen(level) {
    const side = this.image.tile_pix * 2 ** level;
    const view = this.window();
    const last = { x: Math.ceil(this.image.nx / side) - 1, y: Math.ceil(this.image.ny / side) - 1 };
    const from = { x: Math.max(0, Math.floor((view.x0 + 0.5) / side)), y: Math.max(0, Math.floor((view.y0 + 0.5) / side)) };
    const to = { x: Math.min(last.x, Math.floor((view.x1 + 0.5) / side)), y: Math.min(last.y, Math.floor((view.y1 + 0.5) / side)) };
    const found = [];
    for (let y = from.y; y <= to.y; y += 1) for (let x = from.x; x <= to.x; x += 1) found.push({ level, x, y });
    const middle = { x: (this.centre.x + 0.5) / side - 0.5, y: (this.centre.y + 0.5) / side - 0.5 };
    return found.sort((a, b) => Math.hypot(a.x - middle.x, a.y - middle.y) - Math.hypot(b.x - middle.x, b.y - middle.y));
  }

  address(tile, kind) {
    if (kind === "segments") return `/segments/${this.image.tile}/${this.image.segmentation}/${tile.level}/${tile.x}/${tile.y}.png`;
    const picture = this.picture;
    const words = new URLSearchParams({
      band: picture.bands.join(","), low: picture.low.join(","), high: picture.high.join(","), stretch: picture.stretch, softening: picture.softening, map: picture.map,
    });
    return `/tile/${this.image.tile}/${this.image.run}/${tile.level}/${tile.x}/${tile.y}.png?${words}`;
  }

  want(tiles, kind) {
    const missing = [];
    for (const tile of tiles) {
      const address = this.address(tile, kind);
      const known = this.tiles.get(address);
      if (known) {
        this.tiles.delete(address);
        this.tiles.set(address, known);
      } else {
        if (!this.asked.has(address)) this.asked.set(address, performance.now());
        if (!this.running.has(address)) missing.push(address);
      }
    }
    return missing;
  }

  fetchNext() {
    while (this.running.size < MOST_REQUESTS && this.waiting.length) {
      const address = this.waiting.shift();
      if (this.running.has(address) || this.tiles.has(address)) continue;
      const control = new AbortController();
      this.running.set(address, control);
      this.load(address, control);
    }
  }

  async load(address, control) {
    const asked = this.asked.get(address) ?? performance.now();
    try {
      const response = await fetch(address, { signal: control.signal, credentials: "same-origin" });
      if (!response.ok) throw new Error(await response.text());
      const picture = await createImageBitmap(await response.blob());
      if (control.signal.aborted) return;
      this.tiles.set(address, { picture, asked });
      this.asked.delete(address);
      while (this.tiles.size > MOST_TILES) {
        const [oldest, tile] = this.tiles.entries().next().value;
        tile.picture?.close();
        this.tiles.delete(oldest);
      }
    } catch (error) {
      if (control.signal.aborted) return;
      this.tiles.set(address, { picture: null, asked });
      this.listener.failed?.(error);
    } finally {
      if (this.running.get(address) === control) this.running.delete(address);
      this.fetchNext();
      this.draw();
    }
  }

  // ---- drawing

  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      if (this.image && this.picture && this.size) this.drawNow();
    });
  }

  drawNow() {
    const ratio = window.devicePixelRatio || 1;
    const context = this.context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#101820";
    context.fillRect(0, 0, this.size.width, this.size.height);
    context.imageSmoothingEnabled = this.scale < 2;
    const level = this.level();
    const tiles = this.seen(level);
    // The coarsest level is small and stands in for whatever is not there yet.
    const coarse = this.seen(this.image.n_levels);
    const wanted = [...this.want(coarse), ...this.want(tiles)];
    let missing = 0;
    for (const tile of coarse) this.drawTile(tile);
    for (let above = Math.min(level + 1, this.image.n_levels - 1); above > level; above -= 1) {
      for (const tile of this.seen(above)) this.drawTile(tile);
    }
    for (const tile of tiles) if (!this.drawTile(tile, null, true)) missing += 1;
    if (this.shown.segments && this.image.segmentation && level <= 3) {
      const segments = this.want(tiles, "segments");
      wanted.push(...segments);
      for (const tile of tiles) this.drawTile(tile, "segments");
    }
    // What has left the screen is not worth its way.
    const current = new Set([...tiles, ...coarse].flatMap((tile) => [this.address(tile), this.image.segmentation ? this.address(tile, "segments") : ""]));
    for (const [address, control] of this.running) if (!current.has(address)) { control.abort(); this.running.delete(address); }
    for (const address of this.asked.keys()) if (!current.has(address)) this.asked.delete(address);
    this.waiting = wanted;
    this.fetchNext();
    this.drawLayers();
    this.drawFrame();
    if (!missing && tiles.length && !this.pictured) {
      this.pictured = true;
      performance.mark("skymere-first-picture");
      this.listener.pictured?.();
    }
  }

  drawTile(tile, kind = null, isMeasured = false) {
    const known = this.tiles.get(this.address(tile, kind));
    if (!known) return false;
    if (known.picture) {
      const step = 2 ** tile.level;
      const side = this.image.tile_pix * step;
      const [x0, y0] = [tile.x * side - 0.5, tile.y * side - 0.5];
      const corner = this.toScreen(x0, y0 + known.picture.height * step);
      this.context.drawImage(known.picture, corner.x, corner.y, known.picture.width * step * this.scale, known.picture.height * step * this.scale);
    }
    if (isMeasured && known.asked) {
      performance.measure("skymere-tile", { start: known.asked, end: performance.now() });
      known.asked = 0;
      if (performance.getEntriesByName("skymere-tile").length > KEPT_MEASURES) performance.clearMeasures("skymere-tile");
    }
    return true;
  }

  drawLayers() {
    const context = this.context;
    context.lineWidth = 1.2;
    for (const [kind, layer] of this.layers) {
      if (!this.shown[kind]) continue;
      context.strokeStyle = COLOURS[kind];
      if (kind === "sources") this.drawSources(layer);
      else for (const outline of layer.outlines) this.drawOutline(outline, kind === "regions");
    }
    if (this.sketch) this.drawSketch();
  }

  drawSources(layer) {
    const context = this.context;
    for (let i = 0; i < layer.x.length; i += 1) {
      const at = this.toScreen(layer.x[i], layer.y[i]);
      if (at.x < -50 || at.y < -50 || at.x > this.size.width + 50 || at.y > this.size.height + 50) continue;
      const isChosen = layer.source_id[i] === this.selected;
      context.strokeStyle = isChosen ? "#ff5c5c" : COLOURS.sources;
      context.lineWidth = isChosen ? 2.5 : 1.2;
      context.beginPath();
      const [a, b] = [(layer.a[i] ?? 0) * this.scale, (layer.b[i] ?? 0) * this.scale];
      if (a > 4 && b > 1) context.ellipse(at.x, at.y, a, b, (-(layer.theta[i] ?? 0) * Math.PI) / 180, 0, 2 * Math.PI);
      else context.arc(at.x, at.y, isChosen ? 7 : 3.5, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  drawOutline(outline, isLabelled) {
    const context = this.context;
    context.beginPath();
    outline.x.forEach((x, i) => {
      const at = this.toScreen(x, outline.y[i]);
      if (i) context.lineTo(at.x, at.y);
      else context.moveTo(at.x, at.y);
    });
    context.closePath();
    context.stroke();
    if (isLabelled && outline.text) {
      const at = this.toScreen(Math.max(...outline.x), Math.max(...outline.y));
      context.font = "12px sans-serif";
      context.fillStyle = context.strokeStyle;
      context.fillText(outline.text.slice(0, 80), at.x + 3, at.y - 3);
    }
  }

  drawSketch() {
    const context = this.context;
    context.strokeStyle = "#ff5c5c";
    context.fillStyle = "#ff5c5c";
    context.lineWidth = 2;
    for (const shape of this.sketch) {
      context.beginPath();
      if (shape.corners) {
        for (const corner of shape.corners) {
          const at = this.toScreen(corner.x, corner.y);
          context.lineTo(at.x, at.y);
        }
        if (shape.isClosed) context.closePath();
        const first = this.toScreen(shape.corners[0].x, shape.corners[0].y);
        context.fillRect(first.x - 3, first.y - 3, 6, 6);
        context.stroke();
        continue;
      }
      const at = this.toScreen(shape.x, shape.y);
      if (shape.radius) context.arc(at.x, at.y, shape.radius * this.scale, 0, 2 * Math.PI);
      else {
        context.moveTo(at.x - 6, at.y);
        context.lineTo(at.x + 6, at.y);
        context.moveTo(at.x, at.y - 6);
        context.lineTo(at.x, at.y + 6);
      }
      context.stroke();
    }
  }

  drawFrame() {
    const context = this.context;
    const arcsec = this.image.scale_arcsec;
    const most = (this.size.width / 5 / this.scale) * arcsec;
    const length = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600].filter((one) => one <= most).pop();
    if (!length) return;
    const wide = (length / arcsec) * this.scale;
    const [x, y] = [16, this.size.height - 16];
    context.strokeStyle = "#ffffff";
    context.fillStyle = "#ffffff";
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + wide, y);
    context.stroke();
    context.font = "12px sans-serif";
    context.fillText(length >= 60 ? `${length / 60}′` : `${length}″`, x + wide + 6, y + 4);
    if (!this.image.tangent) return;
    const middle = this.centre;
    const here = this.sky(middle.x, middle.y);
    for (const [name, d] of [["N", this.towards(here, 0, 1)], ["E", this.towards(here, 1, 0)]]) {
      if (!d) continue;
      const from = { x: this.size.width - 46, y: this.size.height - 46 };
      context.beginPath();
      context.moveTo(from.x, from.y);
      context.lineTo(from.x + 28 * d.x, from.y + 28 * d.y);
      context.stroke();
      context.fillText(name, from.x + 38 * d.x - 4, from.y + 38 * d.y + 4);
    }
  }

  // Direction on the screen of a step to the east or north.
  towards(here, east, north) {
    const plane = this.image.tangent.matrix;
    const det = plane[0][0] * plane[1][1] - plane[0][1] * plane[1][0];
    if (!here || !det) return null;
    const dx = (plane[1][1] * east - plane[0][1] * north) / det;
    const dy = (-plane[1][0] * east + plane[0][0] * north) / det;
    const size = Math.hypot(dx, dy);
    return { x: dx / size, y: -dy / size };
  }

  // ---- what lies over it

  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.refresh(), 120);
    this.listener.moved?.();
  }

  refresh() {
    if (!this.image || !this.size) return;
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const view = this.window(0.25);
    const band = this.image.bands[0].band;
    for (const kind of Object.keys(COLOURS)) {
      if (!this.shown[kind]) continue;
      const query = kind === "sources" ? { ...view, where: this.where } : view;
      get(`/api/overlay/${kind}/${this.image.tile}/${this.image.run}/${band}`, query, signal)
        .then((layer) => { this.layers.set(kind, layer); this.listener.counted?.(kind, layer); this.draw(); })
        .catch((error) => { if (!signal.aborted) this.listener.failed?.(error); });
    }
  }

  turn(kind, isOn) {
    this.shown[kind] = isOn;
    if (isOn && kind !== "segments") this.refresh();
    this.draw();
  }

  nearest(sx, sy, reach = 12) {
    const layer = this.layers.get("sources");
    if (!layer || !this.shown.sources) return "";
    let best = "";
    let least = reach;
    for (let i = 0; i < layer.x.length; i += 1) {
      const at = this.toScreen(layer.x[i], layer.y[i]);
      const distance = Math.hypot(at.x - sx, at.y - sy);
      if (distance < least) [least, best] = [distance, layer.source_id[i]];
    }
    return best;
  }

  // ---- hands

  listen() {
    const canvas = this.canvas;
    let grip = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.image) return;
      canvas.setPointerCapture(event.pointerId);
      const at = this.toImage(event.offsetX, event.offsetY);
      grip = { x: event.offsetX, y: event.offsetY, centre: { ...this.centre }, moved: false, at };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.image) return;
      const at = this.toImage(event.offsetX, event.offsetY);
      this.listener.pointed?.(at.x, at.y);
      if (!grip) return;
      const [dx, dy] = [event.offsetX - grip.x, event.offsetY - grip.y];
      if (!grip.moved && Math.hypot(dx, dy) > 3) {
        grip.moved = true;
        if (this.tool?.isRound) this.sketch = [...(this.sketch ?? []), { ...grip.at, radius: 0 }];
      }
      if (!grip.moved) return;
      if (this.tool?.isRound) {
        this.sketch[this.sketch.length - 1].radius = Math.hypot(at.x - grip.at.x, at.y - grip.at.y);
        this.draw();
      } else {
        this.centre = { x: grip.centre.x - dx / this.scale, y: grip.centre.y + dy / this.scale };
        this.draw();
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!grip) return;
      const { moved } = grip;
      grip = null;
      const at = this.toImage(event.offsetX, event.offsetY);
      if (this.tool) {
        if (this.tool.isRound && !moved) this.corner(at);
        else if (!this.tool.isRound && !moved) this.sketch = [...(this.sketch ?? []), at];
        else if (!this.tool.isRound) this.settle();
        this.draw();
        this.listener.sketched?.();
      } else if (moved) this.settle();
      else this.listener.clicked?.(this.nearest(event.offsetX, event.offsetY), at);
    });
    canvas.addEventListener("pointercancel", () => { grip = null; });
    canvas.addEventListener("wheel", (event) => {
      if (!this.image) return;
      event.preventDefault();
      this.zoom(2 ** (-event.deltaY / 300), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = 120 / this.scale;
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (moves[event.key]) this.go(this.centre.x + moves[event.key][0], this.centre.y + moves[event.key][1]);
      else if (event.key === "+" || event.key === "=") this.zoom(1.5);
      else if (event.key === "-") this.zoom(1 / 1.5);
      else if (event.key === "0") this.go((this.image.nx - 1) / 2, (this.image.ny - 1) / 2, this.fitting());
      else return;
      event.preventDefault();
    });
  }

  // A corner of a polygon; a click on the first one closes it.
  corner(at) {
    const sketch = this.sketch ?? [];
    const open = sketch.find((shape) => shape.corners && !shape.isClosed);
    if (!open) {
      this.sketch = [...sketch, { corners: [at] }];
      return;
    }
    const { x, y } = open.corners[0];
    if (open.corners.length > 2 && Math.hypot(at.x - x, at.y - y) * this.scale < 8) open.isClosed = true;
    else open.corners.push(at);
  }

  zoom(factor, sx = this.size.width / 2, sy = this.size.height / 2) {
    const at = this.toImage(sx, sy);
    this.scale = this.clamped(this.scale * factor);
    this.centre = { x: at.x - (sx - this.size.width / 2) / this.scale, y: at.y + (sy - this.size.height / 2) / this.scale };
    this.draw();
    this.settle();
  }
}
