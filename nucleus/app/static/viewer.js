// The image with outlines over it: zoom and pan with mouse, touch and keyboard; a click picks a nucleus.

const MOST = 40; // screen pixels an image pixel
const EXACT = 8; // from this zoom on outlines follow the edges of the pixels, below they are smoothed for the eye
const LINE = "#ffe14d";
const CHOSEN = "#37e0ff";
const HALO = "rgba(0, 0, 0, 0.55)";

export class Viewer {
  constructor(stage, image, canvas, { onPick, onHover }) {
    Object.assign(this, { stage, image, canvas, onPick, onHover });
    this.context = canvas.getContext("2d");
    this.nuclei = [];
    this.count = 0;
    this.chosen = -1;
    this.hovered = -1;
    this.outlines = true;
    this.numbers = false;
    this.pointers = new Map();
    this.fitted = true;
    this.x = this.y = 0;
    this.scale = 1;
    new ResizeObserver(() => this.resize()).observe(stage);
    this.listen();
  }

  // Outlines: for each nucleus its rings, each x, y, x, y... in image pixels.
  show(width, height, outlines) {
    this.width = width;
    this.height = height;
    this.nuclei = outlines.map((rings) => new Outline(rings));
    this.count = 0;
    this.chosen = this.hovered = -1;
    this.fit();
  }

  // The first `count` nuclei are shown: they come from the highest score down.
  set shown(count) {
    this.count = count;
    if (this.hovered >= count) this.hovered = -1;
    this.draw();
  }

  choose(index, { zoom = false } = {}) {
    this.chosen = index;
    if (index >= 0) this.reveal(this.nuclei[index].box, zoom);
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.stage.clientWidth * ratio);
    this.canvas.height = Math.round(this.stage.clientHeight * ratio);
    if (this.fitted) this.fit();
    else this.place();
  }

  get smallest() {
    return Math.min(this.stage.clientWidth / this.width, this.stage.clientHeight / this.height, MOST);
  }

  fit() {
    if (!this.width || !this.stage.clientWidth) return;
    this.scale = this.smallest;
    this.x = (this.stage.clientWidth - this.width * this.scale) / 2;
    this.y = (this.stage.clientHeight - this.height * this.scale) / 2;
    this.place();
    this.fitted = true;
  }

  // Zoom by a factor around a point of the stage; without one, around its middle.
  zoom(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const scale = Math.min(Math.max(this.scale * factor, this.smallest), Math.max(MOST, this.smallest));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.place();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.place();
  }

  reveal([left, top, right, bottom], zoom) {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (zoom) {
      const wanted = Math.min(width / (right - left), height / (bottom - top)) / 4;
      this.scale = Math.min(Math.max(wanted, this.smallest), MOST);
    }
    const x = this.x + ((left + right) / 2) * this.scale;
    const y = this.y + ((top + bottom) / 2) * this.scale;
    const edge = Math.min(40, width / 4, height / 4);
    if (zoom || x < edge || x > width - edge || y < edge || y > height - edge) {
      this.x += width / 2 - x;
      this.y += height / 2 - y;
    }
    this.place();
  }

  place() {
    if (!this.width) return;
    const { clientWidth: width, clientHeight: height } = this.stage;
    const held = (at, room, size) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
    this.x = held(this.x, width, this.width * this.scale);
    this.y = held(this.y, height, this.height * this.scale);
    this.fitted = this.scale <= this.smallest * 1.001;
    this.image.style.width = `${this.width}px`;
    this.image.style.height = `${this.height}px`;
    this.image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.image.classList.toggle("pixels", this.scale >= 3);
    this.draw();
  }

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
  }

  paint() {
    const { context, canvas, scale } = this;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.width) return;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * this.x, ratio * this.y);
    context.lineJoin = "round";
    const inView = this.inView();
    if (this.outlines) {
      const all = new Path2D();
      for (const index of inView) if (index !== this.chosen) all.addPath(this.path(index));
      this.stroke(all, LINE, 1.6);
    }
    for (const index of [this.hovered, this.chosen]) {
      if (index < 0 || index >= this.count) continue;
      const color = index === this.chosen ? CHOSEN : LINE;
      context.globalAlpha = 0.28;
      context.fillStyle = color;
      context.fill(this.path(index), "evenodd");
      context.globalAlpha = 1;
      this.stroke(this.path(index), color, 2.4);
    }
    if (this.numbers) this.paintNumbers(inView, ratio);
  }

  stroke(path, color, width) {
    width *= Math.min(1, Math.max(0.5, Math.sqrt(this.scale))); // finer where nuclei are small
    this.context.strokeStyle = HALO;
    this.context.lineWidth = (width + 1.6 * Math.min(1, this.scale)) / this.scale;
    this.context.stroke(path);
    this.context.strokeStyle = color;
    this.context.lineWidth = width / this.scale;
    this.context.stroke(path);
  }

  paintNumbers(indices, ratio) {
    const { context } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 3;
    for (const index of indices) {
      const [left, top, right, bottom] = this.nuclei[index].box;
      if ((right - left) * this.scale < 12 && index !== this.chosen) continue;
      const x = this.x + ((left + right) / 2) * this.scale;
      const y = this.y + ((top + bottom) / 2) * this.scale;
      context.strokeStyle = "rgba(0, 0, 0, 0.75)";
      context.strokeText(index + 1, x, y);
      context.fillStyle = "#fff";
      context.fillText(index + 1, x, y);
    }
  }

  inView() {
    const left = -this.x / this.scale;
    const top = -this.y / this.scale;
    const right = left + this.stage.clientWidth / this.scale;
    const bottom = top + this.stage.clientHeight / this.scale;
    const seen = [];
    for (let index = 0; index < this.count; index++) {
      const box = this.nuclei[index].box;
      if (box[0] < right && box[2] > left && box[1] < bottom && box[3] > top) seen.push(index);
    }
    return seen;
  }

  path(index) {
    return this.scale >= EXACT ? this.nuclei[index].exact : this.nuclei[index].smooth;
  }

  // The nucleus at a point of the stage, or -1.
  at(stageX, stageY) {
    const x = (stageX - this.x) / this.scale;
    const y = (stageY - this.y) / this.scale;
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    for (let index = 0; index < this.count; index++) {
      const { box, exact } = this.nuclei[index];
      const inBox = x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3];
      if (inBox && this.context.isPointInPath(exact, x, y, "evenodd")) return index;
    }
    return -1;
  }

  hover(index) {
    if (index === this.hovered) return;
    this.hovered = index;
    this.stage.classList.toggle("on-nucleus", index >= 0);
    this.draw();
    this.onHover(index);
  }

  listen() {
    const { stage, pointers } = this;
    const place = (event) => {
      const box = stage.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = place(event);
      const lines = event.deltaMode === 1 ? 30 : 1;
      this.zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.0025)), x, y);
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      stage.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, place(event));
      this.moved = pointers.size > 1 ? Infinity : 0;
    });
    stage.addEventListener("pointermove", (event) => {
      const now = place(event);
      const before = pointers.get(event.pointerId);
      if (!before) {
        if (event.pointerType === "mouse") this.hover(this.at(now.x, now.y));
        return;
      }
      this.moved += Math.hypot(now.x - before.x, now.y - before.y);
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
        const spread = Math.hypot(now.x - other.x, now.y - other.y) / Math.hypot(before.x - other.x, before.y - other.y);
        this.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
        if (Number.isFinite(spread) && spread > 0) this.zoom(spread, middle.x, middle.y);
      } else if (this.moved > 4) {
        this.pan(now.x - before.x, now.y - before.y);
      }
      pointers.set(event.pointerId, now);
    });
    const end = (event) => {
      if (!pointers.delete(event.pointerId) || event.type === "pointercancel" || pointers.size) return;
      const { x, y } = place(event);
      if (this.moved <= 4) this.onPick(this.at(x, y));
    };
    stage.addEventListener("pointerup", end);
    stage.addEventListener("pointercancel", end);
    stage.addEventListener("pointerleave", () => this.hover(-1));
    stage.addEventListener("dblclick", (event) => {
      const { x, y } = place(event);
      this.zoom(2, x, y);
    });
    stage.addEventListener("keydown", (event) => {
      const step = 60;
      const keys = {
        ArrowLeft: () => this.pan(step, 0),
        ArrowRight: () => this.pan(-step, 0),
        ArrowUp: () => this.pan(0, step),
        ArrowDown: () => this.pan(0, -step),
        "+": () => this.zoom(1.4),
        "=": () => this.zoom(1.4),
        "-": () => this.zoom(1 / 1.4),
        0: () => this.fit(),
      };
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
  }
}

class Outline {
  constructor(rings) {
    this.rings = rings;
    const shell = rings.flat();
    const xs = shell.filter((_, place) => place % 2 === 0);
    const ys = shell.filter((_, place) => place % 2 === 1);
    const least = (values) => values.reduce((a, b) => Math.min(a, b));
    const most = (values) => values.reduce((a, b) => Math.max(a, b));
    this.box = [least(xs), least(ys), most(xs), most(ys)];
  }

  get exact() {
    return (this.exactPath ??= this.make((path, ring) => {
      path.moveTo(ring[0], ring[1]);
      for (let at = 2; at < ring.length; at += 2) path.lineTo(ring[at], ring[at + 1]);
      path.closePath();
    }));
  }

  // Through the middles of the pixels' edges: never more than half a pixel beside the exact line.
  get smooth() {
    return (this.smoothPath ??= this.make((path, ring) => {
      let first = true;
      for (let at = 0; at < ring.length; at += 2) {
        const [x, y] = [ring[at], ring[at + 1]];
        const [toX, toY] = [ring[(at + 2) % ring.length], ring[(at + 3) % ring.length]];
        const steps = Math.abs(toX - x) + Math.abs(toY - y);
        const ends = steps > 1 ? [0.5 / steps, 1 - 0.5 / steps] : [0.5];
        for (const part of ends) {
          const point = [x + (toX - x) * part, y + (toY - y) * part];
          if (first) path.moveTo(...point);
          else path.lineTo(...point);
          first = false;
        }
      }
      path.closePath();
    }));
  }

  make(add) {
    const path = new Path2D();
    for (const ring of this.rings) add(path, ring);
    return path;
  }
}
