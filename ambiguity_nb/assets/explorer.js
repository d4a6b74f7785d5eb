// The map of `PatternExplorer`: points on a canvas, chosen by click, lasso or keyboard.
// Python gives the points (0..4095, y upwards), their labels and colors; `selected` is shared both ways.

const MARGIN = 14, REACH = 14, LASSO = 6, SHARPNESS = 2;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const distance = ([a, b], [c, d]) => Math.hypot(a - c, b - d);

// Whether a place lies inside a closed path: a line to its right crosses the path an odd number of times.
function inside(path, [x, y]) {
  let hit = false;
  path.forEach(([a, b], i) => {
    const [c, d] = path[(i || path.length) - 1];
    if ((b > y) !== (d > y) && x < ((c - a) * (y - b)) / (d - b) + a) hit = !hit;
  });
  return hit;
}

// The point nearest to a place, within reach: none or one.
function nearest(points, place) {
  let found = [], least = REACH;
  points.forEach((point, i) => {
    if (distance(point, place) < least) [found, least] = [[i], distance(point, place)];
  });
  return found;
}

// The next point in a direction: near, and rather ahead than aside.
function ahead(points, from, [dx, dy]) {
  let found = [], least = Infinity;
  points.forEach(([x, y], i) => {
    const [right, down] = [x - from[0], y - from[1]];
    const along = right * dx + down * dy, aside = Math.abs(right * dy - down * dx);
    if (along > 0 && along + 2 * aside < least) [found, least] = [[i], along + 2 * aside];
  });
  return found;
}

function draw(canvas, map, path) {
  const g = canvas.getContext("2d"), chosen = new Set(map.selected);
  const circle = ([x, y], radius) => { g.beginPath(); g.arc(x, y, radius, 0, 7); };
  g.setTransform(SHARPNESS, 0, 0, SHARPNESS, 0, 0);
  g.fillStyle = "#fff";
  g.fillRect(0, 0, map.width, map.height);
  g.fillStyle = "#c4c4c4";
  for (const [x, y] of map.others) g.fillRect(x - 1.5, y - 1.5, 3, 3);
  map.points.forEach((point, i) => {
    g.fillStyle = map.colors[map.labels[i]] || "#777";
    g.globalAlpha = chosen.size && !chosen.has(i) ? 0.35 : 0.9;
    circle(point, chosen.has(i) ? 4.5 : 3);
    g.fill();
  });
  g.globalAlpha = 1;
  g.strokeStyle = "#000";
  g.lineWidth = 1.2;
  for (const i of chosen) { circle(map.points[i], 5); g.stroke(); }
  for (const i of map.prototypes) g.strokeRect(map.points[i][0] - 5, map.points[i][1] - 5, 10, 10);
  if (!path) return;
  g.setLineDash([4, 3]);
  g.beginPath();
  path.forEach(([x, y]) => g.lineTo(x, y));
  g.stroke();
  g.setLineDash([]);
}

function render({ model, el }) {
  const [width, height] = model.get("size");
  const at = ([x, y]) => [MARGIN + (x / 4095) * (width - 2 * MARGIN), height - MARGIN - (y / 4095) * (height - 2 * MARGIN)];
  const map = { width, height, points: model.get("points").map(at), others: model.get("others").map(at),
                labels: model.get("labels"), colors: model.get("colors"), prototypes: model.get("prototypes"), selected: model.get("selected") };
  const canvas = document.createElement("canvas");
  canvas.className = "ambiguity-map";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", `map of ${map.points.length} ambiguous inputs; arrow keys go from point to point`);
  [canvas.width, canvas.height, canvas.points] = [width * SHARPNESS, height * SHARPNESS, map.points];
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  el.append(canvas);

  let path = null;
  const choose = (found, more) => {
    model.set("selected", [...new Set(more ? [...map.selected, ...found] : found)].sort((a, b) => a - b));
    model.save_changes();
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * width) / box.width, ((event.clientY - box.top) * height) / box.height];
  };
  const redraw = () => { map.selected = model.get("selected"); draw(canvas, map, path); };

  canvas.addEventListener("pointerdown", (event) => {
    path = [place(event)];
    try { canvas.setPointerCapture(event.pointerId); } catch (_) { /* a pointer that has gone */ }
    canvas.focus();
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (path) { path.push(place(event)); draw(canvas, map, path); }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!path) return;
    const lasso = path;
    path = null;
    if (lasso.every((p) => distance(p, lasso[0]) <= LASSO)) choose(nearest(map.points, place(event)), event.shiftKey);
    else choose([...map.points.keys()].filter((i) => inside(lasso, map.points[i])), event.shiftKey);
    redraw();
  });
  canvas.addEventListener("keydown", (event) => {
    const last = map.selected.length ? map.points[map.selected[map.selected.length - 1]] : [0, 0];
    if (event.key === "Escape") choose([], false);
    else if (event.key in ARROWS) {
      const found = ahead(map.points, last, ARROWS[event.key]);
      if (found.length) choose(found, event.shiftKey);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  model.on("change:selected", redraw);
  redraw();
  return () => model.off("change:selected", redraw);
}

export default { render };
