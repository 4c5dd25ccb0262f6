// Which view an address shows; addresses are links that can be sent.

import { get } from "./api.js";
import { el, link, toast } from "./dom.js";
import { Explore } from "./explore.js";

const TABS = [["/image", "Image and catalogue"], ["/edits", "Edits"], ["/runs", "Runs"]];

class Router {
  constructor(lake) {
    this.main = document.getElementById("main");
    this.lake = lake;
    this.explore = new Explore(lake, this);
    document.getElementById("tabs").replaceChildren(...TABS.map(([path, text]) => link(path, text)));
    const name = document.getElementById("lake-name");
    name.textContent = `${lake.name.split("/").slice(-2).join("/")}${lake.release ? `, release ${lake.release}` : ""}${lake.can_edit ? "" : ", read only"}`;
    name.title = lake.name;
    document.addEventListener("click", (event) => {
      const target = event.target instanceof Element ? event.target.closest("a[data-local]") : null;
      if (!target || event.metaKey || event.ctrlKey || event.button) return;
      event.preventDefault();
      this.go(target.getAttribute("href"));
    });
    document.getElementById("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.find(document.getElementById("find-text").value.trim()).catch((error) => toast(error.message));
    });
    window.addEventListener("popstate", () => this.show());
  }

  isAt(view) {
    return this.current === view;
  }

  go(address) {
    history.pushState(null, "", address);
    this.show();
  }

  // The address follows what is shown, without a step to go back to for each move.
  keep(path, query) {
    const words = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value !== "" && value !== null && value !== undefined) words.set(name, value);
    history.replaceState(null, "", `${path}?${words}`);
  }

  async find(text) {
    if (!text) return;
    const found = await get("/api/find", { text });
    if (this.current !== this.explore) {
      this.go(`/image?tile=${encodeURIComponent(found.tile)}&x=${found.x}&y=${found.y}&zoom=2${found.source_id ? `&source=${found.source_id}` : ""}`);
      return;
    }
    await this.explore.goTo(found);
    if (found.source_id) await this.explore.choose(found.source_id, false);
  }

  show() {
    this.open().catch((error) => this.main.replaceChildren(el("p", { class: "problem" }, error.message)));
  }

  async open() {
    // Until the new view is there nobody keeps an address: the old one would write its own over this one.
    const opening = this.opening = {};
    this.current = null;
    const { pathname, search } = window.location;
    document.title = "skymere";
    for (const tab of document.querySelectorAll("#tabs a")) tab.classList.toggle("here", pathname.startsWith(tab.getAttribute("href")) || (pathname === "/" && tab.getAttribute("href") === "/image"));
    const source = pathname.match(/^\/source\/(\d+)$/);
    if (source) {
      const { SourceView } = await import("./source.js");
      if (this.opening !== opening) return;
      await this.put(this.source ??= new SourceView(this.lake), source[1]);
    } else if (pathname === "/edits" || pathname === "/runs") {
      const { EditsView, RunsView } = await import("./lists.js");
      if (this.opening !== opening) return;
      if (pathname === "/edits") await this.put(this.edits ??= new EditsView(this.lake));
      else await this.put(this.runs ??= new RunsView());
    } else await this.put(this.explore, new URLSearchParams(search));
  }

  async put(view, given) {
    this.current = view;
    if (view.node.parentNode !== this.main) this.main.replaceChildren(view.node);
    await view.open(given);
  }
}

get("/api/lake")
  .then((lake) => new Router(lake).show())
  .catch((error) => document.getElementById("main").replaceChildren(el("p", { class: "problem" }, error.message)));
