// One finding after another, to be decided by key or click. Python sends `card` and takes `answer`.
const KEYS = { a: "accept", Enter: "accept", k: "keep", u: "unsure", d: "drop", ArrowLeft: "back", ArrowRight: "on" };

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function picture({ src, width, height, alt, caption, small }) {
  const figure = make("figure");
  const image = make("img", undefined, { src, width, height, alt });
  if (small) image.className = "pixels";
  figure.append(image, make("figcaption", caption));
  return figure;
}

function table(rows) {
  const body = make("table");
  for (const [name, ...values] of rows) {
    const row = make("tr");
    row.append(make("th", name), ...values.map((value) => make("td", value)));
    body.append(row);
  }
  return body;
}

function render({ model, el }) {
  const root = make("div", undefined, { class: "ambiguity-review", tabindex: 0, role: "group", "aria-label": "review of findings" });
  el.append(root);
  const send = (decision, label = "") => {
    model.set("answer", { decision, label, index: model.get("card").index, count: (model.get("answer").count ?? 0) + 1 });
    model.save_changes();
  };

  function draw() {
    const card = model.get("card"), focused = root.contains(document.activeElement);
    root.replaceChildren();
    root.append(make("p", card.progress, { class: "ambiguity-progress", role: "status" }));
    if (!card.id) return;
    const head = make("h4", card.given);
    if (card.suggested) head.append(" → ", make("bdi", card.suggested));
    root.append(head, make("p", `${card.kind}; ${card.numbers}`, { class: "numbers" }));
    const shown = make("div", undefined, { class: "pictures" });
    shown.append(...card.pictures.map(picture));
    root.append(shown);
    if (card.features.length) root.append(table(card.features));
    root.append(make("p", card.reason), make("p", `id ${card.id}`, { class: "id" }));
    const buttons = make("div", undefined, { class: "buttons" });
    const button = (decision, text) => {
      const one = make("button", text, { type: "button", "data-decision": decision });
      if (card.decision === decision) one.setAttribute("aria-pressed", "true");
      one.addEventListener("click", () => send(decision));
      buttons.append(one);
    };
    if (card.suggested) button("accept", `accept ${card.suggested} (a)`);
    button("keep", `keep ${card.given} (k)`);
    const other = make("select", undefined, { "aria-label": "other label" });
    other.append(make("option", "other label …", { value: "" }), ...card.classes.map((name) => make("option", name, { value: name })));
    if (card.decision === "other") other.value = card.label;
    other.addEventListener("change", () => { if (other.value) send("other", other.value); });
    buttons.append(other);
    button("unsure", "unsure (u)");
    button("drop", "drop (d)");
    button("back", "← back");
    button("on", "on →");
    root.append(buttons);
    if (focused) root.focus();
  }

  root.addEventListener("keydown", (event) => {
    const card = model.get("card"), inside = event.target !== root;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    if (inside && event.key === "Enter") return; // a button's own
    const decision = KEYS[event.key];
    if (!decision || !card.id || (decision === "accept" && !card.suggested)) return;
    event.preventDefault();
    event.stopPropagation();
    send(decision);
  });
  root.addEventListener("keyup", (event) => event.stopPropagation());
  model.on("change:card", draw);
  draw();
  return () => model.off("change:card", draw);
}

export default { render };
