// Elements without HTML: whatever a lake says becomes text, never markup.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

// A link that changes the view without loading the page again.
export function link(path, ...children) {
  return el("a", { href: path, "data-local": true }, ...children);
}

export function number(value, digits = 6) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e6 || size < 1e-3 ? value.toExponential(Math.min(4, digits - 1)) : String(Number(value.toPrecision(digits)));
}

export function select(values, chosen, change, attributes = {}) {
  const node = el("select", { ...attributes, onchange: () => change(node.value) });
  for (const value of values) node.append(el("option", { value, selected: value === chosen }, value));
  return node;
}

let hiding = 0;

export function toast(text, action = null) {
  const node = document.getElementById("toast");
  node.replaceChildren(el("span", {}, text));
  if (action) node.append(el("button", { type: "button", onclick: () => { node.hidden = true; action.run(); } }, action.text));
  node.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { node.hidden = true; }, action ? 15000 : 6000);
}
