// Image, table and plot of one lake, linked: what is chosen in one is chosen in all, and a filter holds for all.

import { get, post } from "./api.js";
import { el, link, number, select, toast } from "./dom.js";
import { ImageView } from "./image.js";
import { CataloguePlot } from "./plot.js";
import { TableView } from "./table.js";

const OVERLAYS = ["sources", "segments", "regions", "exposures", "beams", "slits"];
const TOOLS = {
  merge: "click on the parts of one source",
  split: "click on two or more sources that are one segment",
  delete: "click on sources that are none",
  draw: "drag from the middle of a new source to its border, or click on its corners and on the first one again",
  mask: "drag from the middle of bad pixels to their border, or click on their corners and on the first one again",
};
const USUAL = ["source_id", "ra", "dec", "label", "area", "r_half", "flags"];

export class Explore {
  constructor(lake, router) {
    this.lake = lake;
    this.router = router;
    this.state = { table: "source", where: "", sort: "", descending: false, columns: [], x: "", y: "", source: "" };
    this.build();
  }

  // ---- parts of the page

  build() {
    this.canvas = el("canvas", { class: "sky", tabindex: 0, "aria-label": "Image; drag to pan, wheel to zoom" });
    this.readout = el("div", { class: "readout" });
    this.counts = el("span", { class: "faint" });
    this.controls = el("div", { class: "bar" });
    this.layers = el("div", { class: "bar" });
    this.editing = el("div", { class: "bar editing" });
    this.chosen = el("div", { class: "chosen-source" });
    this.filter = el("input", { type: "search", class: "filter", spellcheck: "false", placeholder: "filter, such as  mag_auto_f160w < 24 and not isnull(r_half)", "aria-label": "Filter" });
    this.problem = el("div", { class: "problem", role: "alert" });
    this.count = el("span", { class: "faint", id: "count" });
    this.tableBar = el("div", { class: "bar" });
    this.plotBar = el("div", { class: "bar" });
    this.table = new TableView({
      sorted: (name) => this.sort(name),
      chosen: (id) => this.choose(id, true),
      opened: (id) => this.router.go(`/source/${id}`),
      failed: (error) => this.fail(error),
    });
    this.plot = new CataloguePlot({
      boxed: (condition) => this.setFilter(this.state.where.trim() ? `(${this.state.where.trim()}) and ${condition}` : condition),
      clicked: (id) => { if (id) this.choose(id, true); },
    });
    this.view = new ImageView(this.canvas, {
      moved: () => this.keep(),
      pointed: (x, y) => this.point(x, y),
      clicked: (id) => this.choose(id, false),
      sketched: () => this.drawEditing(),
      counted: (kind, layer) => this.counted(kind, layer),
      failed: (error) => this.fail(error),
    });
    this.filter.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.setFilter(this.filter.value), 350);
    });
    this.filter.addEventListener("keydown", (event) => { if (event.key === "Enter") { clearTimeout(this.typing); this.setFilter(this.filter.value); } });
    this.node = el("div", { class: "explore" },
      el("section", { class: "left" }, this.controls, this.layers, this.editing, el("div", { class: "sky-box" }, this.canvas, this.readout, this.chosen)),
      el("section", { class: "right" }, this.filter, this.problem, this.tableBar, this.table.node, this.plotBar, this.plot.canvas));
  }

  // ---- from and to the address

  async open(query) {
    const tile = query.get("tile") || this.image?.tile || this.lake.images[0]?.tile;
    const numbers = ["x", "y", "zoom"].map((name) => Number.parseFloat(query.get(name)));
    const place = numbers.slice(0, 2).every(Number.isFinite) ? { x: numbers[0], y: numbers[1], scale: Number.isFinite(numbers[2]) ? numbers[2] : undefined } : null;
    this.asked = Object.fromEntries(["bands", "limits", "stretch", "map", "layers"].map((name) => [name, query.get(name)]));
    Object.assign(this.state, { where: query.get("where") ?? this.state.where, source: query.get("source") ?? this.state.source });
    for (const name of ["table", "sort", "x_column", "y_column"]) if (query.get(name)) this.state[name.replace("_column", "")] = query.get(name);
    if (query.get("descending")) this.state.descending = query.get("descending") === "1";
    if (query.get("columns")) this.state.columns = query.get("columns").split(",");
    this.filter.value = this.state.where;
    if (this.asked.layers !== null) for (const kind of OVERLAYS) this.view.shown[kind] = this.asked.layers.split(",").includes(kind);
    this.view.where = this.state.where;
    this.view.selected = this.state.source;
    const picture = tile ? this.showTile(tile, place) : Promise.resolve(this.readout.replaceChildren("The lake has no mosaic yet."));
    await picture.catch((error) => this.fail(error));
    // Counting rows takes the server from the tiles; it waits until they are on their way.
    const catalogue = this.tables ? Promise.resolve() : get("/api/tables").then((tables) => { this.tables = tables; });
    await catalogue.then(() => this.showTable()).catch((error) => this.fail(error));
    if (this.state.source) await this.choose(this.state.source, place === null).catch((error) => this.fail(error));
  }

  keep() {
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => {
      if (!this.image || !this.router.isAt(this)) return;
      const { centre, scale, shown, picture } = this.view;
      const state = this.state;
      this.router.keep("/image", {
        tile: this.image.tile, x: centre.x.toFixed(1), y: centre.y.toFixed(1), zoom: scale.toPrecision(4),
        bands: picture?.bands.join(","), stretch: picture?.stretch, limits: this.limitsName, map: picture?.map === "grey" ? "" : picture?.map,
        layers: OVERLAYS.filter((kind) => shown[kind]).join(","), table: state.table === "source" ? "" : state.table, where: state.where,
        sort: state.sort, descending: state.descending ? "1" : "", source: state.source, x_column: state.x, y_column: state.y,
      });
    }, 250);
  }

  fail(error) {
    if (error.name !== "AbortError") toast(error.message);
  }

  // ---- image

  async showTile(tile, place) {
    this.image = await get(`/api/image/${encodeURIComponent(tile)}`);
    const names = this.image.bands.map((one) => one.band);
    const wanted = (this.asked.bands ?? "").split(",").filter((band) => names.includes(band));
    this.bands = wanted.length === 1 || wanted.length === 3 ? wanted : names.length >= 3 ? [names.at(-1), names[Math.floor((names.length - 1) / 2)], names[0]] : [names[0]];
    this.limitsName = this.asked.limits || "noise";
    this.stretch = this.asked.stretch || "asinh";
    this.map = this.asked.map || "grey";
    this.asked = {};
    this.limits = new Map();
    this.view.show(this.image, place);
    await this.repaint();
    this.drawControls();
    this.drawLayers();
    this.drawEditing();
  }

  async repaint() {
    const known = await Promise.all(this.bands.map(async (band) => {
      if (!this.limits.has(band)) this.limits.set(band, await get(`/api/limits/${this.image.tile}/${this.image.run}/${band}`));
      return this.limits.get(band);
    }));
    const pairs = known.map((one) => this.own ?? one.choices[this.limitsName] ?? one.choices.noise);
    // Asinh bends at two sigma above black, whichever the limits are.
    const softening = Math.min(1, Math.max(1e-4, (2 * known[0].noise) / (pairs[0][1] - pairs[0][0]))) || known[0].softening;
    const text = (value) => Number(value).toPrecision(6);
    this.view.paint({ bands: this.bands, low: pairs.map((pair) => text(pair[0])), high: pairs.map((pair) => text(pair[1])), stretch: this.stretch, softening: text(softening), map: this.map });
    this.keep();
  }

  drawControls() {
    const names = this.image.bands.map((one) => one.band);
    const modes = names.length >= 2 ? ["one band", "colour"] : ["one band"];
    const isColour = this.bands.length === 3;
    const again = () => { this.repaint().catch((error) => this.fail(error)); this.drawControls(); };
    const bandsOf = isColour ? ["red", "green", "blue"] : ["band"];
    const parts = [
      select(this.lake.images.map((one) => one.tile), this.image.tile, (tile) => this.showTile(tile, null).catch((error) => this.fail(error)), { "aria-label": "Tile" }),
      select(modes, isColour ? "colour" : "one band", (mode) => {
        this.bands = mode === "colour" ? [names.at(-1), names[Math.floor((names.length - 1) / 2)], names[0]] : [this.bands[0]];
        again();
      }, { "aria-label": "One band or colour" }),
      ...bandsOf.map((what, k) => select(names, this.bands[k], (band) => { this.bands[k] = band; again(); }, { "aria-label": what, class: what })),
      select(["asinh", "log", "sqrt", "linear"], this.stretch, (name) => { this.stretch = name; again(); }, { "aria-label": "Stretch" }),
      select(["noise", "zscale", "99 %", "99.9 %", "all", ...(this.own ? ["own"] : [])], this.own ? "own" : this.limitsName, (name) => {
        if (name !== "own") [this.own, this.limitsName] = [null, name];
        again();
      }, { "aria-label": "Limits" }),
    ];
    if (!isColour) {
      const low = el("input", { type: "number", step: "any", value: this.view.picture?.low[0], "aria-label": "Black" });
      const high = el("input", { type: "number", step: "any", value: this.view.picture?.high[0], "aria-label": "White" });
      const own = () => { if (Number(low.value) < Number(high.value)) { this.own = [Number(low.value), Number(high.value)]; again(); } };
      low.addEventListener("change", own);
      high.addEventListener("change", own);
      parts.push(low, high, el("span", { class: "faint" }, this.image.unit));
      parts.push(select(["grey", "inverted", "viridis"], this.map, (name) => { this.map = name; again(); }, { "aria-label": "Colours" }));
    }
    for (const [text, run, label] of [["+", () => this.view.zoom(1.5), "Zoom in"], ["−", () => this.view.zoom(1 / 1.5), "Zoom out"], ["fit", () => this.view.go((this.image.nx - 1) / 2, (this.image.ny - 1) / 2, this.view.fitting()), "Whole image"], ["1:1", () => this.view.go(this.view.centre.x, this.view.centre.y, 1), "One pixel of the image for one of the screen"]]) {
      parts.push(el("button", { type: "button", title: label, "aria-label": label, onclick: run }, text));
    }
    this.controls.replaceChildren(...parts);
  }

  drawLayers() {
    const boxes = OVERLAYS.map((kind) => {
      const box = el("input", { type: "checkbox", id: `layer-${kind}`, onchange: () => { this.view.turn(kind, box.checked); this.keep(); } });
      box.checked = Boolean(this.view.shown[kind]);
      box.disabled = kind === "segments" && !this.image.segmentation;
      return el("label", { class: `layer ${kind}` }, box, kind);
    });
    this.layers.replaceChildren(...boxes, this.counts);
  }

  counted(kind, layer) {
    if (kind === "sources") this.counts.textContent = layer.n > layer.x.length ? `the ${layer.x.length} brightest of ${layer.n} sources in view` : `${layer.n} sources in view`;
  }

  point(x, y) {
    const place = this.view.sky(x, y);
    const where = place ? `RA ${place.ra.toFixed(6)}  Dec ${place.dec.toFixed(6)}   ` : "";
    const text = `${where}x ${x.toFixed(1)}  y ${y.toFixed(1)}`;
    this.readout.textContent = text;
    this.under = text;
    clearTimeout(this.pointing);
    this.pointing = setTimeout(async () => {
      const at = await get(`/api/at/${this.image.tile}/${this.image.run}/${this.bands[0]}`, { x, y }).catch(() => null);
      if (!at?.values || this.under !== text) return;
      const values = Object.entries(at.values).map(([band, value]) => `${band} ${value === null ? "-" : number(value, 4)}`).join("  ");
      this.readout.textContent = `${text}   ${values}${at.label ? `   segment ${at.label}` : ""}`;
    }, 150);
  }

  // ---- catalogue

  async showTable() {
    const names = this.tables.map((one) => one.name);
    if (!names.includes(this.state.table)) this.state.table = names.includes("source") ? "source" : names[0];
    if (!this.state.table) {
      this.problem.textContent = "The lake has no table yet.";
      return;
    }
    this.columns = await get(`/api/columns/${this.state.table}`);
    const all = this.columns.map((one) => one.name);
    this.state.columns = this.state.columns.filter((name) => all.includes(name));
    if (!this.state.columns.length) this.state.columns = this.usualColumns(all);
    const numbers = this.columns.filter((one) => one.kind === "number").map((one) => one.name);
    const magnitude = numbers.filter((name) => /^mag_auto_(?!err)/.test(name));
    if (!this.state.x) this.state.x = magnitude.at(-1) ?? numbers.find((name) => !name.endsWith("_id") && name !== "_healpix_29") ?? "";
    if (!this.state.y) this.state.y = numbers.includes("r_half") ? "r_half" : "";
    this.drawTableBar(names, all);
    this.drawPlotBar(numbers);
    await this.ask();
  }

  usualColumns(all) {
    const usual = [...USUAL, ...all.filter((name) => /^(mag_auto|flux|redshift|line|band|snr|status|grating)/.test(name) && !/_err|iso|aper|total/.test(name))];
    const found = usual.filter((name, i) => all.includes(name) && usual.indexOf(name) === i);
    return (found.length > 2 ? found : all).slice(0, 16);
  }

  drawTableBar(names, all) {
    const boxes = el("div", { class: "columns" });
    for (const name of all) {
      const box = el("input", { type: "checkbox", "data-column": name });
      box.checked = this.state.columns.includes(name);
      box.addEventListener("change", () => {
        this.state.columns = box.checked ? all.filter((one) => one === name || this.state.columns.includes(one)) : this.state.columns.filter((one) => one !== name);
        if (this.state.columns.length) this.ask();
      });
      boxes.append(el("label", { title: this.columns.find((one) => one.name === name)?.description ?? "" }, box, name));
    }
    this.tableBar.replaceChildren(
      select(names, this.state.table, (table) => {
        Object.assign(this.state, { table, where: "", sort: "", descending: false, columns: [], x: "", y: "" });
        this.filter.value = "";
        this.showTable().catch((error) => this.fail(error));
      }, { "aria-label": "Table" }),
      this.count,
      el("details", {}, el("summary", {}, "columns"), boxes));
  }

  drawPlotBar(numbers) {
    const axis = (name, label, empty) => {
      const list = el("datalist", { id: `list-${name}` }, ...numbers.map((one) => el("option", { value: one })));
      const input = el("input", { type: "text", list: `list-${name}`, value: this.state[name], placeholder: empty, "aria-label": label });
      input.addEventListener("change", () => { this.state[name] = input.value.trim(); this.askPlot(); this.keep(); });
      return [el("span", {}, label), input, list];
    };
    this.plotBar.replaceChildren(...axis("x", "x", "a column"), ...axis("y", "y", "empty: histogram"), el("span", { class: "faint" }, "drag a box to filter"));
  }

  setFilter(text) {
    if (text === this.state.where) return;
    this.state.where = text;
    if (this.filter.value !== text) this.filter.value = text;
    this.ask();
  }

  sort(name) {
    this.state.descending = this.state.sort === name ? !this.state.descending : false;
    this.state.sort = name;
    this.ask();
  }

  async ask() {
    const { table, where, sort, descending, columns } = this.state;
    const started = performance.now();
    try {
      const n = await this.table.ask({ table, where, sort, descending, columns }, this.columns);
      this.problem.textContent = "";
      const whole = this.tables.find((one) => one.name === table)?.n_rows ?? n;
      this.count.textContent = `${n.toLocaleString("en")} of ${whole.toLocaleString("en")} rows`;
      performance.measure("skymere-filter", { start: started, end: performance.now() });
    } catch (error) {
      if (error.name !== "AbortError") this.problem.textContent = error.message;
      return;
    }
    this.view.where = table === "source" ? where : "";
    this.view.refresh();
    this.keep();
    await this.askPlot();
  }

  async askPlot() {
    const { table, where, x, y } = this.state;
    if (!x) return;
    try {
      const data = await get(`/api/plot/${table}`, { x, y, where });
      this.plot.selected = this.state.source;
      const unit = (name) => this.columns.find((one) => one.name === name)?.unit;
      const said = (name) => (unit(name) ? `${name} [${unit(name)}]` : name);
      this.plot.show(data, x, y, [said(x), said(y)]);
    } catch (error) {
      if (error.name !== "AbortError") this.problem.textContent = error.message;
    }
  }

  async choose(id, isCentred) {
    this.state.source = id;
    this.view.selected = id;
    this.plot.selected = id;
    this.plot.draw();
    this.view.draw();
    this.chosen.replaceChildren();
    this.keep();
    if (!id) {
      await this.table.choose("");
      return;
    }
    this.chosen.replaceChildren(el("span", {}, id), link(`/source/${id}`, "open its page"));
    if (isCentred) {
      const found = await get("/api/find", { text: id });
      await this.goTo(found);
    }
    await this.table.choose(id);
  }

  async goTo(found) {
    const scale = Math.max(this.view.scale, 2);
    if (found.tile === this.image?.tile) this.view.go(found.x, found.y, scale);
    else await this.showTile(found.tile, { x: found.x, y: found.y, scale });
  }

  // ---- editing

  drawEditing() {
    if (!this.lake.can_edit) {
      this.editing.replaceChildren();
      return;
    }
    const { tool } = this.view;
    const pick = select(["look", ...Object.keys(TOOLS)], tool?.kind ?? "look", (kind) => {
      this.view.tool = kind === "look" ? null : { kind, isRound: kind === "draw" || kind === "mask" };
      this.view.sketch = kind === "look" ? null : [];
      this.view.draw();
      this.drawEditing();
    }, { "aria-label": "Tool" });
    if (!tool) {
      this.editing.replaceChildren(pick, el("span", { class: "faint" }, "choose a tool to edit segments"));
      return;
    }
    const n = this.view.sketch?.length ?? 0;
    const kept = this.editing.querySelector("[name=reason]")?.value ?? "";
    const reason = el("input", { name: "reason", type: "text", placeholder: "why", value: kept, "aria-label": "Reason" });
    const author = el("input", { name: "author", type: "text", placeholder: "who", value: this.lake.author, "aria-label": "Author" });
    author.addEventListener("change", () => { this.lake.author = author.value; });
    this.editing.replaceChildren(pick, el("span", { class: "faint" }, TOOLS[tool.kind]), el("span", { id: "marks" }, `${n} marked`), reason, author,
      el("button", { type: "button", disabled: n === 0 || this.view.sketch.some((shape) => shape.corners?.length < 3), onclick: () => this.save(tool.kind, reason.value, author.value) }, "save"),
      el("button", { type: "button", disabled: n === 0, onclick: () => { this.view.sketch = []; this.view.draw(); this.drawEditing(); } }, "clear"));
  }

  async save(kind, reason, author) {
    try {
      const sky = async ({ x, y }) => {
        const at = await get(`/api/at/${this.image.tile}/${this.image.run}/${this.bands[0]}`, { x, y });
        return [at.ra, at.dec];
      };
      const shapes = await Promise.all(this.view.sketch.map(async (shape) => {
        if (shape.corners) return { vertices: await Promise.all(shape.corners.map(sky)) };
        return { at: await sky(shape), ...(shape.radius ? { radius_arcsec: shape.radius * this.image.scale_arcsec } : {}) };
      }));
      const { edits } = await post("edit", { kind, shapes, reason, author });
      const ids = [...new Set(edits.map((one) => one.edit_id))];
      this.view.sketch = [];
      this.view.shown.regions = true;
      this.drawLayers();
      this.drawEditing();
      this.view.refresh();
      toast(`${kind}: saved as ${ids.join(", ")}; the next run of the plan detects with it`, {
        text: "undo",
        run: async () => {
          await post("edit/undo", { edit_ids: ids, author }).then(() => toast(`${ids.join(", ")}: taken back`)).catch((error) => this.fail(error));
          this.view.refresh();
        },
      });
    } catch (error) {
      toast(error.message);
    }
  }
}
