// A page of plots: its layout, its connection to the server, and how it is saved.
"use strict";

// Before the connection is tried again: at first, and at most.
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4000;
// The server's word for a page that must be loaded anew; server.py has it, too.
const OUTDATED = 4000;

class Page {
  constructor(config) {
    this.config = config;
    this.plots = [];
    // Plots that wait for an answer, and what they want by now.
    this.asked = new Set();
    this.wishes = new Map();
    this.pause = FIRST_PAUSE_MS;
    this.problem = null;
    this.build();
    if (config.saved) this.showSaved(config.saved);
    else this.connect();
    document.addEventListener("visibilitychange", () => this.send({ visible: !document.hidden }));
    darkness.addEventListener("change", () => this.recolour());
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }

  build() {
    const bar = element("header", "toolbar");
    const home = element("a", "", "All plots");
    home.href = "/";
    const save = element("a", "", "Save as HTML");
    save.href = `/save${location.search}`;
    const picture = element("button", "", "Save as PNG");
    picture.addEventListener("click", () => this.savePicture());
    const hint = element("span", "hint", "drag: zoom to a part, wheel: zoom, shift and drag: move, double click: all");
    bar.append(...(this.config.saved ? [] : [home, save]), picture, hint);
    this.banner = element("p", "banner");
    this.banner.setAttribute("role", "status");
    this.banner.hidden = true;
    const boxes = element("div", this.config.columns ? "boxes columns" : "boxes rows");
    for (const box of this.config.boxes) {
      const made = element("div", "box");
      made.style.flexGrow = box.share;
      for (const config of box.plots) {
        const number = this.plots.length;
        const plot = new Plot(config, (wish) => this.wish(number, wish));
        plot.root.style.flexGrow = config.share;
        this.plots.push(plot);
        made.append(plot.root);
      }
      boxes.append(made);
    }
    document.body.append(bar, this.banner, boxes);
    // All at once: the size of one depends on the others.
    for (const plot of this.plots) plot.start();
  }

  // The connection.

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/live${location.search}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("open", () => {
      this.pause = FIRST_PAUSE_MS;
      this.tell(null);
      this.asked.clear();
      this.wishes.clear();
      this.send({ visible: !document.hidden });
      this.plots.forEach((plot) => plot.resume());
    });
    this.socket.addEventListener("message", ({ data }) => this.receive(data));
    this.socket.addEventListener("close", ({ code, reason }) => this.onClose(code, reason));
  }

  onClose(code, reason) {
    if (code === OUTDATED) {
      location.reload();
      return;
    }
    this.tell(reason || "The page server does not answer. What is shown is what came last; trying again.");
    setTimeout(() => this.connect(), this.pause);
    this.pause = Math.min(2 * this.pause, LONGEST_PAUSE_MS);
  }

  send(message) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Ask for what a plot wants: at once, but one thing at a time; gestures want much more than can be seen. */
  wish(number, wish) {
    if (this.asked.has(number)) {
      this.wishes.set(number, wish);
    } else {
      this.asked.add(number);
      this.send({ plot: number, ...wish });
    }
  }

  receive(data) {
    if (typeof data === "string") {
      this.tell(JSON.parse(data).problem);
      return;
    }
    const picture = decode(data);
    const number = picture.plot;
    this.asked.delete(number);
    this.plots[number].show(picture);
    const next = this.wishes.get(number);
    this.wishes.delete(number);
    if (next) this.wish(number, next);
    // The server sends the next one after this: no more than the screen shows, and none where there is no screen.
    requestAnimationFrame(() => this.send({ drawn: number }));
  }

  tell(problem) {
    this.banner.hidden = !problem;
    this.banner.textContent = problem || "";
  }

  recolour() {
    for (const plot of this.plots) {
      plot.chart.redraw(false, true);
      if (plot.picture) plot.showLegend();
    }
  }

  // A page that was saved.

  showSaved(frames) {
    frames.forEach((frame, number) => {
      const bytes = Uint8Array.from(atob(frame), (letter) => letter.charCodeAt(0));
      const plot = this.plots[number];
      plot.request = () => {
        const { x, y } = plot.picture;
        plot.setView(plot.chosen.x || x, plot.chosen.y || y);
      };
      plot.sliderInput.disabled = true;
      plot.show(decode(bytes.buffer));
    });
  }

  async savePicture() {
    const blob = await new Promise((resolve) => this.picture().toBlob(resolve, "image/png"));
    const link = element("a");
    link.href = URL.createObjectURL(blob);
    link.download = "smartml.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /** Return all plots as they are on one canvas, with titles and legends. */
  picture() {
    const ratio = devicePixelRatio;
    const frame = document.querySelector(".boxes").getBoundingClientRect();
    const canvas = element("canvas");
    canvas.width = Math.ceil(frame.width * ratio);
    canvas.height = Math.ceil(frame.height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.translate(-frame.left, -frame.top);
    const style = getComputedStyle(document.body);
    context.fillStyle = style.backgroundColor;
    context.fillRect(frame.left, frame.top, frame.width, frame.height);
    for (const plot of this.plots) this.drawInto(context, plot);
    return canvas;
  }

  drawInto(context, plot) {
    const source = plot.chart.ctx.canvas;
    const { left, top, width, height } = source.getBoundingClientRect();
    context.drawImage(source, left, top, width, height);
    for (const swatch of plot.root.querySelectorAll(".swatch")) {
      const box = swatch.getBoundingClientRect();
      context.fillStyle = getComputedStyle(swatch).backgroundColor;
      context.fillRect(box.left, box.top, box.width, box.height);
    }
    for (const bar of plot.root.querySelectorAll(".bar")) {
      const box = bar.getBoundingClientRect();
      const shades = context.createLinearGradient(box.left, 0, box.right, 0);
      plot.picture.shades.forEach((shade, i, all) => shades.addColorStop(i / (all.length - 1), shade));
      context.fillStyle = shades;
      context.fillRect(box.left, box.top, box.width, box.height);
    }
    context.textBaseline = "middle";
    for (const words of plot.root.querySelectorAll(".title, .legend span:not(.swatch):not(.bar), .slider span, .status")) {
      const box = words.getBoundingClientRect();
      const style = getComputedStyle(words);
      context.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
      context.fillStyle = style.color;
      const isCentred = style.textAlign === "center";
      context.textAlign = isCentred ? "center" : style.textAlign === "right" ? "right" : "left";
      const at = isCentred ? (box.left + box.right) / 2 : style.textAlign === "right" ? box.right : box.left;
      context.fillText(words.textContent, at, (box.top + box.bottom) / 2);
    }
  }
}

const page = new Page(JSON.parse(document.getElementById("config").textContent));
