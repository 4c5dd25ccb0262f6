// All that a lake knows of one source.

import { get, post } from "./api.js";
import { el, link, number, toast } from "./dom.js";
import { curvesPlot } from "./plot.js";

export class SourceView {
  constructor(lake) {
    this.lake = lake;
    this.node = el("div", { class: "source" });
  }

  async open(id) {
    this.id = id;
    this.node.replaceChildren(el("p", { class: "faint" }, "reading …"));
    const facts = await get(`/api/source/${id}`);
    if (this.id !== id) return;
    document.title = `${id} - skymere`;
    const { source } = facts;
    const place = source.ra === null ? "" : `RA ${source.ra.toFixed(6)}  Dec ${source.dec.toFixed(6)}  tile ${source.tile}`;
    this.node.replaceChildren(
      el("h1", {}, `Source ${id}`),
      el("p", {}, place, " ", link(`/image?source=${id}`, "show it on the image")),
      ...facts.problems.map((text) => el("p", { class: "problem" }, text)),
      this.notes(facts),
      ...facts.pictures.map((group) => this.pictures(group)),
      el("section", { class: "plots" }, ...facts.plots.map((plot) => curvesPlot(plot))),
      ...[this.beams(facts)].filter(Boolean),
      this.measurements(facts.measurements),
      this.provenance(id));
  }

  pictures(group) {
    const shown = group.stamps.map((stamp) => {
      const zoom = Math.max(1, Math.min(3, Math.floor(220 / Math.max(stamp.ny, 1)), Math.floor(640 / Math.max(stamp.nx, 1))));
      const range = stamp.low === undefined ? "" : `${number(stamp.low, 3)} to ${number(stamp.high, 3)} ${stamp.unit ?? ""}`;
      const picture = el("img", { src: stamp.url, width: stamp.nx * zoom, height: stamp.ny * zoom, alt: `${group.title}: ${stamp.title}`, title: range, loading: "lazy" });
      return el("figure", {}, picture, el("figcaption", {}, stamp.title));
    });
    return el("section", {}, el("h2", {}, group.title), el("div", { class: "stamps" }, ...shown));
  }

  notes(facts) {
    const rows = facts.notes.filter((note) => !note.is_withdrawn).map((note) => el("li", { "data-note": note.note_id },
      `${note.author}, ${note.created.slice(0, 16)}: ${[note.kind === "comment" ? "" : `${note.kind} ${note.name}`, note.comment].filter(Boolean).join(" - ")} `,
      this.lake.can_edit ? el("button", { type: "button", onclick: () => this.change("note/undo", { note_ids: [note.note_id] }) }, "withdraw") : null));
    const section = el("section", {}, el("h2", {}, "Notes"), el("ul", { class: "notes" }, ...rows));
    if (!rows.length) section.append(el("p", { class: "faint" }, "nobody has said anything"));
    if (!this.lake.can_edit) return section;
    const kind = el("select", { "aria-label": "Kind of note" }, ...["comment", "flag", "class"].map((one) => el("option", { value: one }, one)));
    const name = el("input", { type: "text", maxlength: 32, placeholder: "flag or class, such as star", "aria-label": "Name of the flag" });
    const comment = el("input", { type: "text", placeholder: "in words", "aria-label": "Comment", class: "wide" });
    section.append(el("div", { class: "bar" }, kind, name, comment, this.author(),
      el("button", { type: "button", onclick: () => this.change("note", { source_id: this.id, kind: kind.value, name: name.value, comment: comment.value }) }, "add")));
    return section;
  }

  beams(facts) {
    const live = facts.beam_actions.filter((one) => !one.is_retracted);
    const gratings = [...new Set(facts.measurements.filter((one) => one.table === "beam" && one.name === "grating").map((one) => one.value))];
    if (!gratings.length && !live.length) return null;
    const rows = live.map((one) => el("li", {},
      `${one.author}: ${one.action} ${one.grating} ${one.exposure_id} ${number(one.wavelength_min)} to ${number(one.wavelength_max)} um - ${one.reason} `,
      this.lake.can_edit ? el("button", { type: "button", onclick: () => this.change("beam/undo", { action_ids: [one.action_id] }) }, "take back") : null));
    const section = el("section", {}, el("h2", {}, "Left out of its beams"), el("ul", {}, ...rows));
    if (!this.lake.can_edit || !gratings.length) return section;
    const grating = el("select", { "aria-label": "Grating" }, ...gratings.map((one) => el("option", { value: one }, one)));
    const low = el("input", { type: "number", step: "any", placeholder: "from [um]", "aria-label": "From" });
    const high = el("input", { type: "number", step: "any", placeholder: "to [um]", "aria-label": "To" });
    const reason = el("input", { type: "text", placeholder: "why", "aria-label": "Reason", class: "wide" });
    section.append(el("div", { class: "bar" }, grating, low, high, reason, this.author(),
      el("button", { type: "button", onclick: () => this.change("beam", { source_id: this.id, grating: grating.value, wavelength_min: low.valueAsNumber, wavelength_max: high.valueAsNumber, reason: reason.value }) }, "mask the range")));
    return section;
  }

  author() {
    const input = el("input", { type: "text", placeholder: "who", value: this.lake.author, "aria-label": "Author" });
    input.addEventListener("change", () => { this.lake.author = input.value; });
    return input;
  }

  async change(what, change) {
    try {
      await post(what, { ...change, author: this.lake.author });
      await this.open(this.id);
    } catch (error) {
      toast(error.message);
    }
  }

  measurements(rows) {
    const head = el("tr", {}, ...["table", "row", "name", "value", "1 sigma", "unit", "meaning"].map((text) => el("th", {}, text)));
    const lines = rows.map((row) => el("tr", {}, el("td", {}, row.table), el("td", {}, row.key), el("td", {}, row.name),
      el("td", { class: "number" }, shown(row.value)), el("td", { class: "number" }, shown(row.error)), el("td", {}, row.unit), el("td", { class: "faint" }, row.description)));
    const body = el("tbody", {}, ...lines);
    const filter = el("input", { type: "search", placeholder: "names with these letters", "aria-label": "Choose measurements" });
    filter.addEventListener("input", () => {
      const text = filter.value.toLowerCase();
      rows.forEach((row, i) => { lines[i].hidden = !`${row.table} ${row.key} ${row.name}`.toLowerCase().includes(text); });
    });
    return el("section", {}, el("h2", {}, "Measurements"), filter, el("div", { class: "scroll" }, el("table", { class: "measurements" }, el("thead", {}, head), body)));
  }

  provenance(id) {
    const box = el("div");
    const details = el("details", {}, el("summary", {}, "where it comes from: runs, exposures, files"), box);
    details.addEventListener("toggle", async () => {
      if (!details.open || box.childElementCount) return;
      box.replaceChildren(el("p", { class: "faint" }, "reading …"));
      try {
        const tree = await get(`/api/provenance/${id}`);
        const covering = Object.entries(tree.covering).map(([band, names]) => el("p", {}, `${band}: ${names.length} exposures saw its place: ${names.join(", ")}`));
        const rows = tree.runs.map((run) => el("tr", {}, ...[run.uri, run.stage, run.run || run.sha256.slice(0, 16), run.code, run.finished.slice(0, 19)].map((text) => el("td", {}, text))));
        const head = el("tr", {}, ...["product or file", "stage", "run or sha256", "code", "finished"].map((text) => el("th", {}, text)));
        box.replaceChildren(...covering, el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows))), el("details", {}, el("summary", {}, "with all parameters"), el("pre", {}, tree.text)));
      } catch (error) {
        box.replaceChildren(el("p", { class: "problem" }, error.message));
      }
    });
    return el("section", {}, el("h2", {}, "Provenance"), details);
  }
}

function shown(value) {
  return value === null || value === undefined ? "" : number(value).slice(0, 200);
}
