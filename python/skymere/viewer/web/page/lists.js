// Pages that are lists: edits of people, and how far the runs are.

import { get, post } from "./api.js";
import { el, number, toast } from "./dom.js";

function tableOf(columns, rows) {
  const head = el("tr", {}, ...columns.map((name) => el("th", {}, name.replaceAll("_", " "))));
  const lines = rows.map((row) => el("tr", {}, ...columns.map((name) => (row[name] instanceof Node ? el("td", {}, row[name]) : el("td", { class: typeof row[name] === "number" ? "number" : "" }, row[name] === null ? "" : number(row[name], 5))))));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines)));
}

export class EditsView {
  constructor(lake) {
    this.lake = lake;
    this.node = el("div", { class: "list" });
  }

  async open() {
    const { edits } = await get("/api/edits");
    const rows = edits.map((edit) => ({
      ...edit,
      created: edit.created.slice(0, 19),
      state: edit.is_retracted ? "taken back" : edit.replayed || edit.status || "waits for a run",
      undo: edit.is_retracted || !this.lake.can_edit ? "" : el("button", { type: "button", "data-edit": edit.edit_id, onclick: () => this.undo(edit.edit_id) }, "undo"),
    }));
    const columns = ["edit_id", "tile", "role", "band", "n_regions", "author", "reason", "created", "state", "message", "undo"];
    this.node.replaceChildren(el("h1", {}, "Edits of segments"),
      el("p", { class: "faint" }, "Every later detection replays them; one that is taken back stays in the list and is left out."),
      rows.length ? tableOf(columns, rows) : el("p", {}, "There are none."));
  }

  async undo(name) {
    try {
      await post("edit/undo", { edit_ids: [name], author: this.lake.author });
      toast(`${name}: taken back`);
      await this.open();
    } catch (error) {
      toast(error.message);
    }
  }
}

export class RunsView {
  constructor() {
    this.node = el("div", { class: "list" });
  }

  async open() {
    clearTimeout(this.again);
    const told = await get("/api/progress");
    const stages = told.stages.map((stage) => ({
      ...stage,
      progress: this.bar(stage),
      seconds: stage.seconds === null ? null : Number(stage.seconds.toFixed(1)),
      "peak memory [MiB]": stage.peak_memory === null ? null : Math.round(stage.peak_memory),
      last: (stage.last ?? "").slice(0, 19),
    }));
    const lost = told.unfinished.map((row) => ({ ...row, recorded: (row.recorded ?? "").slice(0, 19) }));
    this.node.replaceChildren(
      el("h1", {}, "Runs"),
      tableOf(["stage", "progress", "published", "failed", "held", "seconds", "peak memory [MiB]", "last"], stages),
      el("h2", {}, told.n_unfinished ? `${told.n_unfinished} failed or held` : "Nothing failed, nothing is held"),
      ...(lost.length ? [tableOf(["stage", "tile", "product", "status", "error_class", "message", "run_id", "recorded"], lost)] : []),
      el("h2", {}, "The latest"),
      tableOf(["recorded", "stage", "tile", "product", "status", "seconds"], told.latest.map((row) => ({ ...row, recorded: (row.recorded ?? "").slice(0, 19) }))));
    this.again = setTimeout(() => { if (this.node.isConnected) this.open().catch((error) => toast(error.message)); }, 4000);
  }

  bar(stage) {
    const all = Math.max(1, stage.published + stage.failed + stage.held);
    const part = (n, kind) => {
      const box = el("span", { class: kind, title: `${n} ${kind}` });
      box.style.width = `${(100 * n) / all}%`;
      return box;
    };
    return el("div", { class: "progress" }, part(stage.published, "published"), part(stage.held, "held"), part(stage.failed, "failed"));
  }
}
