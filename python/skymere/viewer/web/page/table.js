// A table of any length: only the rows that are seen are asked for and made.

import { get } from "./api.js";
import { el, number } from "./dom.js";

const ROW = 22;
const BLOCK = 100;
const MOST_HEIGHT = 2e7;

export class TableView {
  constructor(listener) {
    this.listener = listener;
    this.head = el("div", { class: "table-head", role: "row" });
    this.space = el("div", { class: "table-space" });
    this.body = el("div", { class: "table-body", tabindex: 0 }, this.space);
    this.node = el("div", { class: "table", role: "table" }, this.head, this.body);
    this.body.addEventListener("scroll", () => {
      this.head.scrollLeft = this.body.scrollLeft;
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(this.body);
    this.question = null;
    this.blocks = new Map();
    this.selected = "";
    this.n = 0;
  }

  // `question` has table, where, sort, descending and columns; `columns` says what each column is.
  async ask(question, columns) {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const first = await get(`/api/rows/${question.table}`, { ...this.query(question), first: 0, n: BLOCK }, signal);
    this.question = question;
    this.columns = columns;
    this.blocks = new Map([[0, first.rows]]);
    this.n = first.n_matching;
    this.body.scrollTop = 0;
    this.drawHead();
    this.draw();
    return this.n;
  }

  query(question) {
    return { where: question.where, sort: question.sort, descending: question.descending ? "1" : "", columns: question.columns.join(",") };
  }

  drawHead() {
    const { sort, descending } = this.question;
    this.head.replaceChildren(...this.question.columns.map((name) => {
      const column = this.columns.find((one) => one.name === name);
      const mark = name === sort ? (descending ? " ▼" : " ▲") : "";
      const title = `${column?.description ?? ""}${column?.unit ? ` [${column.unit}]` : ""}`;
      return el("button", { type: "button", class: "cell", title, "data-column": name, onclick: () => this.listener.sorted(name) }, name + mark);
    }));
  }

  get height() {
    return Math.min(this.n * ROW, MOST_HEIGHT);
  }

  // First row on the screen; where all rows would be higher than a browser allows, a step of the bar is many rows.
  get first() {
    const seen = Math.ceil(this.body.clientHeight / ROW);
    if (this.n * ROW <= MOST_HEIGHT) return Math.floor(this.body.scrollTop / ROW);
    const end = Math.max(1, this.height - this.body.clientHeight);
    return Math.round((this.body.scrollTop / end) * Math.max(0, this.n - seen + 1));
  }

  draw() {
    if (!this.question) return;
    const first = this.first;
    const last = Math.min(this.n, first + Math.ceil(this.body.clientHeight / ROW) + 1);
    this.space.style.height = `${this.height}px`;
    const key = this.question.columns.indexOf("source_id");
    const rows = [];
    for (let i = first; i < last; i += 1) {
      const values = this.row(i);
      const top = this.n * ROW <= MOST_HEIGHT ? i * ROW : this.body.scrollTop + (i - first) * ROW;
      const id = values && key >= 0 ? values[key] : "";
      const line = el("div", { class: id && id === this.selected ? "row chosen" : "row", role: "row", "data-row": i });
      line.style.top = `${top}px`;
      for (const value of values ?? this.question.columns.map(() => "…")) {
        const name = this.question.columns[line.childElementCount];
        const text = value === null ? "" : name === "ra" || name === "dec" ? Number(value).toFixed(6) : number(value);
        line.append(el("span", { class: typeof value === "number" ? "cell number" : "cell", role: "cell" }, text));
      }
      if (id) {
        line.addEventListener("click", () => this.listener.chosen(id));
        line.addEventListener("dblclick", () => this.listener.opened(id));
      }
      rows.push(line);
    }
    this.space.replaceChildren(...rows);
  }

  row(i) {
    const block = Math.floor(i / BLOCK);
    if (!this.blocks.has(block)) {
      this.blocks.set(block, null);
      const { question } = this;
      get(`/api/rows/${question.table}`, { ...this.query(question), first: block * BLOCK, n: BLOCK }, this.asking.signal)
        .then((part) => { if (this.question === question) { this.blocks.set(block, part.rows); this.draw(); } })
        .catch((error) => { this.blocks.delete(block); if (error.name !== "AbortError") this.listener.failed(error); });
    }
    return this.blocks.get(block)?.[i % BLOCK];
  }

  async choose(id) {
    this.selected = id;
    this.draw();
    if (!id || !this.question || !this.question.columns.includes("source_id")) return;
    const { place } = await get(`/api/place/${this.question.table}`, { ...this.query(this.question), key: id });
    if (place === null || this.selected !== id) return;
    const seen = Math.floor(this.body.clientHeight / ROW);
    if (place < this.first || place >= this.first + seen) {
      const exact = Math.max(0, place - Math.floor(seen / 2)) * ROW;
      const end = Math.max(1, this.height - this.body.clientHeight);
      this.body.scrollTop = this.n * ROW <= MOST_HEIGHT ? exact : (place / Math.max(1, this.n - seen + 1)) * end;
    }
    this.draw();
  }
}
