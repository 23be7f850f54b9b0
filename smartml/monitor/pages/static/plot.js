// One plot: a picture of the server on the axes of uPlot, and the gestures that move it.
"use strict";

// Of the view, per notch of a wheel.
const ZOOM_STEP = 1.25;
// A drag shorter than this, in pixels, is a click.
const SHORTEST_DRAG = 5;
// Entries of a legend; the rest is counted.
const LONGEST_LEGEND = 60;
// How near to the pointer a point is that is read out, in pixels.
const NEAR = 24;
const DASHES = { dashed: [6, 4], dotted: [2, 4], dotdash: [2, 4, 6, 4], dashdot: [6, 4, 2, 4] };
// Of a line, stroked as one path. Browsers without a GPU need ten times as long for one path of thousands of points that
// go up and down as for many short ones.
const LONGEST_PIECE = 32;
// Circles filled as one path, for the same reason.
const MOST_CIRCLES = 64;
const FONT = "system-ui, sans-serif";

const darkness = matchMedia("(prefers-color-scheme: dark)");

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className || "";
  // Never as markup: labels come from whoever logs.
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Read the bytes of a picture; frames.py describes them. */
function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const picture = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = 4 + length;
  const take = (count) => {
    const values = new Float32Array(buffer, offset, count);
    offset += 4 * count;
    return values;
  };
  for (const trace of picture.traces || []) {
    trace.x = take(trace.count);
    trace.y = take(trace.count);
  }
  for (const field of picture.fields || []) field.values = take(field.rows * field.columns);
  return picture;
}

/** Return the colour, moved away from the page's background where it could hardly be seen on it. */
function legible(color) {
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  if (parts.some(Number.isNaN)) return color;
  const light = (0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2]) / 255;
  const [wanted, towards] = darkness.matches ? [Math.max(light, 0.4), 255] : [Math.min(light, 0.72), 0];
  if (wanted === light) return color;
  const share = darkness.matches ? (wanted - light) / (1 - light) : 1 - wanted / light;
  return `rgb(${parts.map((part) => Math.round(part + (towards - part) * share)).join(",")})`;
}

class Plot {
  /** `ask` is called with what the plot wants to be sent. */
  constructor(config, ask) {
    this.config = config;
    this.ask = ask;
    this.picture = null;
    // What the user has chosen to see of either axis; null follows the data.
    this.chosen = { x: null, y: null };
    this.hidden = new Set();
    this.position = undefined;
    this.build();
  }

  build() {
    const { figure, name } = this.config;
    const title = { text: name, ...figure.title };
    this.root = element("figure", "plot");
    this.heading = element("figcaption", "title", title.text);
    this.heading.hidden = title.visible === false;
    const style = this.heading.style;
    style.color = title.text_color || "";
    style.fontSize = title.text_font_size || "";
    style.textAlign = title.align || "";
    const words = (title.text_font_style || "").split(" ");
    style.fontWeight = words.includes("bold") ? "bold" : words.includes("normal") ? "normal" : "";
    style.fontStyle = words.includes("italic") ? "italic" : "";
    this.canvas = element("div", "canvas");
    this.legend = element("div", "legend");
    this.legend.hidden = (figure.legend || {}).visible === false;
    this.legend.style.fontSize = (figure.legend || {}).label_text_font_size || "";
    this.slider = element("label", "slider");
    this.sliderName = element("span");
    this.sliderInput = element("input");
    this.sliderInput.type = "range";
    this.sliderInput.min = 0;
    this.slider.append(this.sliderName, this.sliderInput);
    this.slider.hidden = true;
    this.status = element("div", "status", "waiting for data");
    this.readout = element("div", "readout");
    const foot = element("div", "foot");
    foot.append(this.status, this.readout);
    this.root.append(this.heading, this.canvas, this.legend, this.slider, foot);
    this.sliderInput.addEventListener("input", () => {
      this.position = Number(this.sliderInput.value);
      this.request();
    });
  }

  /** Begin to draw; the plot must be in the document. */
  start() {
    const box = this.canvas;
    this.chart = new uPlot(this.chartOptions(box.clientWidth, box.clientHeight), [null, [[], []]], box);
    this.bindGestures(this.chart.over);
    new ResizeObserver(() => this.resize()).observe(box);
    this.request();
  }

  chartOptions(width, height) {
    const { figure, log } = this.config;
    const scale = (axis, isLog) => ({
      time: this.isTime(axis),
      auto: false,
      distr: isLog ? 3 : 1,
      range: () => this.view[axis],
    });
    this.view = { x: log[0] ? [1, 10] : [0, 1], y: log[1] ? [1, 10] : [0, 1] };
    return {
      mode: 2,
      width: Math.max(width, 60),
      height: Math.max(height, 60),
      // It has no point: pictures are drawn on top of axes and grid, by `draw`.
      series: [{}, { facets: [{ scale: "x", auto: false }, { scale: "y", auto: false }], paths: () => null, points: { show: false } }],
      scales: { x: scale("x", log[0]), y: scale("y", log[1]) },
      axes: [this.axis("x", figure.xaxis, figure.x_axis_label), this.axis("y", figure.yaxis, figure.y_axis_label)],
      legend: { show: false },
      padding: [8, 12, 0, 0],
      cursor: {
        drag: { x: true, y: true, uni: 24, dist: SHORTEST_DRAG, setScale: false },
        points: { show: false },
        bind: { dblclick: () => () => this.follow() },
      },
      hooks: {
        drawClear: [(chart) => this.drawGround(chart)],
        draw: [(chart) => this.draw(chart)],
        setSelect: [(chart) => this.zoomToSelection(chart)],
        setCursor: [(chart) => this.readOut(chart)],
      },
    };
  }

  isTime(axis) {
    const index = axis === "x" ? 0 : 1;
    return this.config.figure[`${axis}_axis_type`] === "datetime" && !this.config.log[index];
  }

  axis(name, given = {}, label = undefined) {
    const color = (chosen) => () => chosen || getComputedStyle(this.root).getPropertyValue("--ink").trim();
    const grid = () => getComputedStyle(this.root).getPropertyValue("--grid").trim();
    const text = given.axis_label || label;
    const room = name === "x" ? 80 : 36;
    // uPlot's own do not end where numbers are very large or small.
    const ticksOf = (chart, low, high) => {
      const { width, height } = chart.over.getBoundingClientRect();
      const count = Math.max(2, (name === "x" ? width : height) / room);
      return chart.scales[name].distr === 3 ? logTicks(low, high, count) : linearTicks(low, high, count);
    };
    const numbers = {
      // Any distance that uPlot accepts: it draws an axis only where it has found one itself, up to values of 1e17.
      incrs: (chart, axis, low, high) => [Math.max(5, high - low)],
      splits: (chart, axis, low, high) => ticksOf(chart, low, high).map((tick) => tick.value),
      values: (chart) => ticksOf(chart, ...this.view[name]).map(({ value, step }) => (step ? numberText(value, step) : "")),
      filter: (chart, splits) => splits,
    };
    const times = {
      values: (chart, splits) => splits.map((value) => timeText(value, splits.length > 1 ? splits[1] - splits[0] : 60)),
      space: 90,
    };
    const rows = {
      splits: () => this.traces().map((_, row) => row),
      values: () => withoutCommon(this.traces().map((trace) => trace.label)),
      grid: { show: false },
      ticks: { show: false },
    };
    const isRows = this.config.glyph === "states" && name === "y";
    return {
      scale: name,
      side: name === "x" ? 2 : 3,
      show: given.visible !== false,
      label: text,
      labelSize: text ? 20 : 0,
      labelFont: `${given.axis_label_text_font_size || "12px"} ${FONT}`,
      font: `${given.major_label_text_font_size || "11px"} ${FONT}`,
      stroke: color(given.major_label_text_color || given.axis_label_text_color),
      grid: { stroke: grid, width: 1 },
      ticks: { stroke: grid, width: 1 },
      size: name === "x" ? 28 : (chart, values) => this.axisWidth(chart, values, given),
      ...(isRows ? rows : this.isTime(name) ? times : numbers),
    };
  }

  /** Return room for the longest number beside an axis. */
  axisWidth(chart, values, given) {
    if (!values) return 44;
    const longest = values.reduce((length, text) => Math.max(length, String(text ?? "").length), 0);
    const size = parseFloat(given.major_label_text_font_size) || 11;
    return Math.max(36, Math.ceil(longest * size * 0.62) + 14);
  }

  traces() {
    return (this.picture && this.picture.traces) || [];
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height || (width === this.chart.width && height === this.chart.height)) return;
    this.chart.setSize({ width, height });
    this.request();
  }

  /** Say what this plot wants to be sent. */
  request() {
    const { width, height } = this.chart.bbox;
    const wish = { width, height, x: this.chosen.x, y: this.chosen.y };
    if (this.position !== undefined) wish.position = this.position;
    this.ask(wish);
  }

  /** Say it again, to a server that knows nothing of this page. */
  resume() {
    const { slider } = this.picture || {};
    if (slider && slider.position < slider.count - 1) this.position = slider.position;
    this.request();
  }

  /** Take what the server sent, and draw it. */
  show(picture) {
    this.picture = picture;
    for (const trace of picture.traces || []) this.prepare(trace);
    if (picture.fields) picture.fields.forEach((field) => this.paint(field, picture));
    this.setView(this.chosen.x || picture.x, this.chosen.y || picture.y);
    this.showLegend();
    this.showSlider(picture.slider);
    this.showStatus(picture);
  }

  prepare(trace) {
    const { options } = this.config;
    const given = options.line_color || options.fill_color || options.color;
    trace.given = given;
    trace.paintColor = () => given || legible(trace.color);
  }

  setView(x, y) {
    this.view = { x, y };
    this.chart.batch(() => {
      this.chart.setScale("x", { min: x[0], max: x[1] });
      this.chart.setScale("y", { min: y[0], max: y[1] });
    });
    // The same view with other points is nothing new to uPlot.
    this.chart.redraw(false, true);
  }

  drawGround(chart) {
    const color = this.config.figure.background_fill_color;
    if (!color) return;
    const { left, top, width, height } = chart.bbox;
    chart.ctx.fillStyle = color;
    chart.ctx.fillRect(left, top, width, height);
  }

  /** Return a function from a value, less its origin, to a pixel. */
  projection(chart, axis, origin) {
    const { left, top, width, height } = chart.bbox;
    const [low, high] = this.view[axis];
    const isLog = this.config.log[axis === "x" ? 0 : 1];
    const [from, to] = isLog ? [Math.log(low), Math.log(high)] : [low, high];
    const [start, size] = axis === "x" ? [left, width] : [top + height, -height];
    const scale = size / (to - from);
    if (isLog) return (value) => start + (Math.log(value + origin) - from) * scale;
    const shift = start + (origin - from) * scale;
    return (value) => shift + value * scale;
  }

  draw(chart) {
    const { picture } = this;
    if (!picture) return;
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    if (picture.fields) {
      for (const field of picture.fields) this.drawField(chart, field, picture.fields.length > 1);
    } else {
      const toX = this.projection(chart, "x", picture.origin[0]);
      const toY = this.projection(chart, "y", picture.origin[1]);
      const drawOne = { line: this.drawLine, scatter: this.drawPoints, states: this.drawStates }[this.config.glyph];
      picture.traces.forEach((trace, row) => {
        if (!this.hidden.has(trace.label)) drawOne.call(this, chart, trace, toX, toY, row);
      });
    }
    ctx.restore();
  }

  drawLine({ ctx }, trace, toX, toY) {
    const { options } = this.config;
    const { x, y } = trace;
    const alpha = options.line_alpha ?? options.alpha ?? 1;
    const dash = DASHES[options.line_dash];
    // Pieces would show where they meet when they can be seen through, and each would begin its dashes anew.
    const longest = alpha < 1 || dash ? Infinity : LONGEST_PIECE;
    ctx.strokeStyle = trace.paintColor();
    ctx.globalAlpha = alpha;
    ctx.lineWidth = (options.line_width ?? 1.5) * devicePixelRatio;
    ctx.lineJoin = "round";
    ctx.lineCap = dash ? "butt" : "round";
    ctx.setLineDash((dash || []).map((length) => length * devicePixelRatio));
    ctx.beginPath();
    // Points of the piece so far; none after a gap.
    let length = 0;
    for (let i = 0; i < x.length; i++) {
      const across = toX(x[i]);
      const up = toY(y[i]);
      if (!(Number.isFinite(across) && Number.isFinite(up))) {
        length = 0;
        continue;
      }
      // A line to where it begins is a dot: a point between two gaps is seen, too.
      if (length === 0) ctx.moveTo(across, up);
      ctx.lineTo(across, up);
      length += 1;
      if (length >= longest) {
        ctx.stroke();
        ctx.beginPath();
        ctx.moveTo(across, up);
        length = 1;
      }
    }
    ctx.stroke();
  }

  drawStates({ ctx, bbox }, trace, toX, toY, row) {
    const ratio = devicePixelRatio;
    const [originX, originY] = this.picture.origin;
    const middle = toY(row - originY);
    const height = Math.min(22 * ratio, Math.abs(toY(1) - toY(0)) * 0.7);
    const edge = toX(this.picture.x[1] - originX);
    ctx.font = `${11 * ratio}px ${FONT}`;
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    trace.x.forEach((x, i) => {
      const left = Math.max(bbox.left, toX(x));
      const right = i + 1 < trace.x.length ? toX(trace.x[i + 1]) : Math.max(edge, left + 3 * ratio);
      const { label, color } = this.state(trace.y[i] + originY);
      ctx.fillStyle = color;
      ctx.fillRect(left, middle - height / 2, right - left, height);
      if (ctx.measureText(label).width + 8 * ratio < right - left && height > 10 * ratio) {
        ctx.fillStyle = "#fff";
        ctx.fillText(label, left + 4 * ratio, middle);
      }
    });
  }

  /** Return name and colour of a state by its number. */
  state(number) {
    const { labels = [], colors = [] } = this.config.options;
    const at = Math.round(number);
    return { label: labels[at] ?? String(at), color: colors[at] ?? "#667080" };
  }

  drawPoints({ ctx, bbox }, trace, toX, toY) {
    const { options } = this.config;
    const { x, y } = trace;
    const inData = options.radius && Math.abs(toX(options.radius) - toX(0));
    const radius = Math.max(0.5, inData || ((options.size ?? 4) / 2) * devicePixelRatio);
    ctx.fillStyle = trace.paintColor();
    ctx.globalAlpha = options.fill_alpha ?? options.alpha ?? 1;
    // Corners of so small a square nobody sees, and it is drawn much faster.
    const isSquare = options.marker === "square" || radius < 2;
    ctx.beginPath();
    let circles = 0;
    for (let i = 0; i < x.length; i++) {
      const across = toX(x[i]);
      const up = toY(y[i]);
      if (across < bbox.left - radius || across > bbox.left + bbox.width + radius) continue;
      if (isSquare) {
        ctx.fillRect(across - radius, up - radius, 2 * radius, 2 * radius);
      } else {
        ctx.moveTo(across + radius, up);
        ctx.arc(across, up, radius, 0, 2 * Math.PI);
        circles += 1;
        if (circles % MOST_CIRCLES === 0) {
          ctx.fill();
          ctx.beginPath();
        }
      }
    }
    if (!isSquare) ctx.fill();
  }

  /** Paint the cells of a field on a canvas of its own, a pixel each. */
  paint(field, { limits, shades }) {
    const { rows, columns, values } = field;
    const lookup = shades.map((shade) => [1, 3, 5].map((at) => parseInt(shade.slice(at, at + 2), 16)));
    const scale = limits[1] > limits[0] ? lookup.length / (limits[1] - limits[0]) : 0;
    const cells = new ImageData(columns, rows);
    for (let row = 0; row < rows; row++) {
      const target = (this.config.options.origin === "upper" ? row : rows - 1 - row) * columns;
      for (let column = 0; column < columns; column++) {
        const value = values[row * columns + column];
        // No number, no colour.
        if (Number.isNaN(value)) continue;
        const shade = Math.floor((value - limits[0]) * scale);
        const at = 4 * (target + column);
        cells.data.set(lookup[Math.max(0, Math.min(lookup.length - 1, shade))], at);
        cells.data[at + 3] = 255;
      }
    }
    field.cells = element("canvas");
    field.cells.width = columns;
    field.cells.height = rows;
    field.cells.getContext("2d").putImageData(cells, 0, 0);
  }

  drawField(chart, field, isNamed) {
    const { ctx } = chart;
    const [left, right] = field.x.map(this.projection(chart, "x", 0));
    const [bottom, top] = field.y.map(this.projection(chart, "y", 0));
    ctx.globalAlpha = this.config.options.alpha ?? 1;
    // Cells are seen as cells; smoothing would invent values between them.
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(field.cells, left, top, right - left, bottom - top);
    if (isNamed) {
      ctx.globalAlpha = 1;
      ctx.font = `${12 * devicePixelRatio}px ${FONT}`;
      ctx.textAlign = "left";
      ctx.textBaseline = "alphabetic";
      ctx.setLineDash([]);
      ctx.lineWidth = 3 * devicePixelRatio;
      ctx.strokeStyle = "#000c";
      ctx.fillStyle = "#fff";
      const place = [left + 6 * devicePixelRatio, top + 16 * devicePixelRatio];
      ctx.strokeText(field.label, ...place);
      ctx.fillText(field.label, ...place);
    }
  }

  showLegend() {
    const { picture } = this;
    const entries = picture.fields
      ? [`${picture.limits}`, ...picture.shades]
      : picture.traces.map((trace) => `${trace.label}\n${trace.color}`);
    const key = JSON.stringify([entries, darkness.matches]);
    if (key === this.legendKey) return;
    this.legendKey = key;
    this.legend.replaceChildren();
    const title = (this.config.figure.legend || {}).title;
    if (title) this.legend.append(element("span", "legend-title", title));
    if (picture.fields) this.addScale(picture);
    else this.addEntries(picture.traces);
  }

  addScale({ limits, shades }) {
    const bar = element("span", "bar");
    bar.style.background = `linear-gradient(to right, ${shades.join(",")})`;
    const span = limits[1] - limits[0] || 1;
    this.legend.append(element("span", "", rounded(limits[0], span)), bar, element("span", "", rounded(limits[1], span)));
  }

  addEntries(traces) {
    // States are named where they are.
    if (this.config.glyph === "states") return;
    // Groups of one label share an entry.
    const byLabel = new Map(traces.map((trace) => [trace.label, trace]).reverse());
    const entries = [...byLabel.values()].reverse();
    const names = withoutCommon(entries.map((trace) => trace.label));
    entries.slice(0, LONGEST_LEGEND).forEach((trace, i) => {
      const entry = element("button", "entry");
      entry.type = "button";
      const swatch = element("span", "swatch");
      swatch.style.background = trace.paintColor();
      entry.append(swatch, element("span", "", names[i]));
      entry.title = trace.label;
      entry.setAttribute("aria-pressed", String(!this.hidden.has(trace.label)));
      entry.addEventListener("click", () => {
        if (!this.hidden.delete(trace.label)) this.hidden.add(trace.label);
        entry.setAttribute("aria-pressed", String(!this.hidden.has(trace.label)));
        this.chart.redraw(false);
      });
      this.legend.append(entry);
    });
    if (entries.length > LONGEST_LEGEND) {
      this.legend.append(element("span", "", `and ${entries.length - LONGEST_LEGEND} more`));
    }
  }

  showSlider(slider) {
    this.slider.hidden = !slider;
    if (!slider) return;
    this.sliderName.textContent = `${slider.column} = ${slider.value}`;
    this.sliderInput.max = slider.count - 1;
    // While it is held, the hand knows better where it stands.
    if (!this.sliderInput.matches(":active")) this.sliderInput.value = slider.position;
    // From now on the server knows the value, also when other values come before it.
    this.position = undefined;
  }

  showStatus(picture) {
    const { total, shown, left_out: leftOut } = picture;
    const cells = picture.fields ? "cells" : "points";
    const parts = [`${shown.toLocaleString("en")} of ${total.toLocaleString("en")} ${cells}`];
    if (leftOut) parts.push(`${leftOut.toLocaleString("en")} not above 0 have no place on a logarithmic axis`);
    const words = [...(total ? parts : []), ...picture.warnings];
    this.status.textContent = words.join("; ") || "no data yet";
    this.status.classList.toggle("warning", picture.warnings.length > 0);
    // For programs that look at the page.
    Object.assign(this.root.dataset, { total, shown, drawn: picture.serial });
  }

  // Gestures.

  bindGestures(over) {
    over.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    over.addEventListener("mousedown", (event) => this.onDragStart(event), { capture: true });
    over.addEventListener("mouseleave", () => (this.readout.textContent = ""));
    const touches = new Map();
    const note = (event) => {
      if (event.pointerType === "touch") touches.set(event.pointerId, [event.clientX, event.clientY]);
    };
    over.addEventListener("pointerdown", note);
    over.addEventListener("pointermove", (event) => {
      if (touches.size !== 2 || !touches.has(event.pointerId)) return;
      const before = [...touches.values()];
      note(event);
      this.pinch(before, [...touches.values()]);
    });
    for (const end of ["pointerup", "pointercancel"]) over.addEventListener(end, (event) => touches.delete(event.pointerId));
  }

  onWheel(event) {
    event.preventDefault();
    const factor = Math.pow(ZOOM_STEP, Math.sign(event.deltaY));
    const { left, top, width, height } = this.chart.over.getBoundingClientRect();
    const across = (event.clientX - left) / width;
    const up = 1 - (event.clientY - top) / height;
    // A line is looked at along x; with the shift key, and in clouds and fields, both ways.
    const both = event.shiftKey || ["scatter", "field"].includes(this.config.glyph);
    this.choose(this.stretched("x", across, across, factor), both ? this.stretched("y", up, up, factor) : this.chosen.y);
  }

  /** Return the view of an axis such that what was at one share of it comes to lie at another. */
  stretched(axis, from, to, factor) {
    const isLog = this.config.log[axis === "x" ? 0 : 1];
    const [low, high] = isLog ? this.view[axis].map(Math.log) : this.view[axis];
    const size = (high - low) * factor;
    const start = low + (high - low) * from - size * to;
    const ends = [start, start + size];
    return isLog ? ends.map(Math.exp) : ends;
  }

  onDragStart(event) {
    if (!(event.shiftKey || event.button === 1)) return;
    // uPlot would begin to mark an area.
    event.stopImmediatePropagation();
    event.preventDefault();
    const { width, height } = this.chart.over.getBoundingClientRect();
    let last = [event.clientX, event.clientY];
    const move = (next) => {
      const [right, down] = [(next.clientX - last[0]) / width, (next.clientY - last[1]) / height];
      last = [next.clientX, next.clientY];
      this.choose(this.stretched("x", 0, right, 1), this.stretched("y", 0, -down, 1));
    };
    addEventListener("mousemove", move);
    addEventListener("mouseup", () => removeEventListener("mousemove", move), { once: true });
  }

  pinch(before, after) {
    const { left, top, width, height } = this.chart.over.getBoundingClientRect();
    const middle = (points) => [0, 1].map((axis) => (points[0][axis] + points[1][axis]) / 2);
    const distance = (points) => Math.hypot(points[0][0] - points[1][0], points[0][1] - points[1][1]) || 1;
    const factor = distance(before) / distance(after);
    const [from, to] = [middle(before), middle(after)];
    this.choose(
      this.stretched("x", (from[0] - left) / width, (to[0] - left) / width, factor),
      this.stretched("y", 1 - (from[1] - top) / height, 1 - (to[1] - top) / height, factor),
    );
  }

  zoomToSelection(chart) {
    const { left, top, width, height } = chart.select;
    if (width < SHORTEST_DRAG && height < SHORTEST_DRAG) return;
    const spans = {
      x: [chart.posToVal(left, "x"), chart.posToVal(left + width, "x")],
      y: [chart.posToVal(top + height, "y"), chart.posToVal(top, "y")],
    };
    chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    const isWhole = { x: width >= chart.over.clientWidth - 1, y: height >= chart.over.clientHeight - 1 };
    this.choose(isWhole.x ? this.chosen.x : spans.x, isWhole.y ? this.chosen.y : spans.y);
  }

  /** Look at another part: at once with the points that are here, then with those that belong to it. */
  choose(x, y) {
    const { log } = this.config;
    // Neither narrower than numbers are exact, nor wider than they reach.
    const isShown = (span, isLog) => {
      if (!span) return true;
      const width = span[1] - span[0];
      return width > Math.abs(span[0]) * 1e-13 && width < 1e300 && (!isLog || span[0] > 1e-300);
    };
    if (!isShown(x, log[0]) || !isShown(y, log[1])) return;
    this.chosen = { x, y };
    this.setView(x || this.view.x, y || this.view.y);
    this.request();
  }

  /** Follow the data again. */
  follow() {
    this.chosen = { x: null, y: null };
    this.request();
  }

  readOut(chart) {
    const { picture } = this;
    const { left, top } = chart.cursor;
    if (!picture || left < 0) return;
    if (picture.fields) {
      this.readout.textContent = this.cellAt(chart.posToVal(left, "x"), chart.posToVal(top, "y"));
      return;
    }
    if (this.config.glyph === "states") {
      this.readout.textContent = this.stateAt(chart.posToVal(left, "x"), Math.round(chart.posToVal(top, "y")));
      return;
    }
    const toX = this.projection(chart, "x", picture.origin[0]);
    const toY = this.projection(chart, "y", picture.origin[1]);
    const across = left * devicePixelRatio + chart.bbox.left;
    const up = top * devicePixelRatio + chart.bbox.top;
    let nearest = null;
    let distance = NEAR * devicePixelRatio;
    for (const trace of picture.traces) {
      if (this.hidden.has(trace.label)) continue;
      for (let i = 0; i < trace.x.length; i++) {
        const here = Math.hypot(toX(trace.x[i]) - across, toY(trace.y[i]) - up);
        if (here < distance) [distance, nearest] = [here, [trace, i]];
      }
    }
    this.readout.textContent = nearest ? this.pointText(...nearest) : "";
  }

  stateAt(x, row) {
    const trace = this.traces()[row];
    if (!trace) return "";
    const { origin } = this.picture;
    const since = trace.x.findLastIndex((value) => value + origin[0] <= x);
    if (since < 0) return trace.label;
    const { label } = this.state(trace.y[since] + origin[1]);
    return `${trace.label}: ${label} since ${this.written("x", trace.x[since] + origin[0])}`;
  }

  written(axis, value) {
    if (this.isTime(axis)) return `${timeText(value, 86400)} ${timeText(value, 1)}`;
    return rounded(value, this.view[axis][1] - this.view[axis][0]);
  }

  pointText(trace, i) {
    const { origin } = this.picture;
    const x = this.written("x", trace.x[i] + origin[0]);
    const y = this.written("y", trace.y[i] + origin[1]);
    return `${trace.label}: ${x}, ${y}`;
  }

  cellAt(x, y) {
    for (const field of this.picture.fields) {
      const column = Math.floor(((x - field.x[0]) / (field.x[1] - field.x[0])) * field.columns);
      const up = Math.floor(((y - field.y[0]) / (field.y[1] - field.y[0])) * field.rows);
      const row = this.config.options.origin === "upper" ? field.rows - 1 - up : up;
      if (column >= 0 && column < field.columns && row >= 0 && row < field.rows) {
        const { limits } = this.picture;
        return `${field.label} [${row}, ${column}]: ${rounded(field.values[row * field.columns + column], limits[1] - limits[0] || 1)}`;
      }
    }
    return "";
  }
}
