/** A plane on the page: its slider, its pictures, and the crosshair in them. */

import { boxOf, difference, paint, pictureOf, placeOf, valueAt, voxelAt } from "./slices.js";

const FRAME = 90; // milliseconds of a slice of cine

export function element(tag, parent, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

export class Pane {
  /** @param {object} viewer what all panes share  @param {object} plane */
  constructor(viewer, plane, parent) {
    Object.assign(this, { viewer, plane, pictures: {}, canvases: {}, busy: false, wanted: null });
    const { shape } = viewer.file, n = shape[plane.across], box = element("div", parent, "", { class: "plane", id: plane.name });
    element("h3", box, plane.name);
    const label = element("label", box, "slice ");
    this.slider = element("input", label, "", { type: "range", min: 0, max: n - 1, step: 1 });
    this.slider.value = this.index = Math.floor(n / 2);
    this.output = element("output", label);
    this.play = element("button", label, "▶", { type: "button", "aria-label": `play the ${plane.name} slices`, title: "play" });
    this.row = element("div", box, "", { class: "row" });
    this.play.disabled = n < 2;
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    this.play.addEventListener("click", () => this.toggle());
  }

  /** Canvases for what is to be compared. */
  lay(kinds) {
    const { plane } = this, { spacing } = this.viewer.file, { down, right } = plane;
    const side = ({ axis }) => (this.viewer.shown[axis][1] - this.viewer.shown[axis][0]) * spacing[axis];
    this.row.textContent = "";
    this.canvases = {};
    for (const kind of kinds) {
      const figure = element("figure", this.row), frame = element("div", figure, "", { class: "frame" });
      const canvas = element("canvas", frame, "", {
        id: `${plane.name}-${kind}`, role: "img",
        "aria-label": `${plane.name} slice, ${kind}; left to right ${right.ends.join(" to ")}, top to bottom ${down.ends.join(" to ")}`,
      });
      const ratio = side(right) / side(down);
      Object.assign(frame.style, { aspectRatio: String(ratio), maxWidth: `${520 * ratio}px` });
      const lines = ["across", "along"].map((name) => element("i", frame, "", { class: `cross ${name}` }));
      const what = kind === "difference" ? "decoded − reference" : kind;
      element("figcaption", figure, `${what} · ${right.ends.join(" ↔ ")}, ${down.ends.join(" ↕ ")}`);
      this.canvases[kind] = { canvas, lines };
      this.listen(frame);
    }
    this.draw();
  }

  listen(frame) {
    const { viewer, plane } = this;
    const voxel = (event) => {
      const box = frame.getBoundingClientRect();
      return voxelAt(plane, viewer.shown, this.index, (event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width);
    };
    let before = null;
    frame.addEventListener("pointerdown", (event) => {
      frame.setPointerCapture(event.pointerId);
      before = [event.clientX, event.clientY];
      if (event.button === 0 && !event.shiftKey) viewer.point(voxel(event));
    });
    frame.addEventListener("pointermove", (event) => {
      viewer.tell(voxel(event));
      if (!before || !event.buttons) return;
      if (event.buttons === 1 && !event.shiftKey) viewer.point(voxel(event));
      else viewer.turn((event.clientX - before[0]) / 300, (event.clientY - before[1]) / 300);
      before = [event.clientX, event.clientY];
    });
    frame.addEventListener("pointerup", () => (before = null));
    frame.addEventListener("contextmenu", (event) => event.preventDefault());
    frame.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.go(this.index + Math.sign(event.deltaY));
    }, { passive: false });
  }

  toggle() {
    const n = this.viewer.file.shape[this.plane.across];
    if (this.timer) clearInterval(this.timer);
    this.timer = this.timer ? null : setInterval(() => this.busy || this.go((this.index + 1) % n), FRAME);
    this.play.textContent = this.timer ? "❚❚" : "▶";
  }

  /** Show a slice; the last one that was asked for is decoded next. */
  go(index) {
    const n = this.viewer.file.shape[this.plane.across];
    this.index = Math.min(Math.max(index, 0), n - 1);
    this.slider.value = this.index;
    this.viewer.moved(this.plane.across, this.index);
    return this.refresh();
  }

  async refresh() {
    this.wanted = this.index;
    if (this.busy) return;
    this.busy = true;
    this.viewer.work(1);
    try {
      while (this.wanted !== null) {
        const index = this.wanted;
        this.wanted = null;
        await this.load(index);
      }
    } catch (error) {
      this.viewer.fail(error);
    } finally {
      this.busy = false;
      this.viewer.work(-1);
    }
  }

  /** Before the first slice, which may take long, show one of a coarse level. */
  async preview(index = this.index) {
    const { file, decoded, quick } = this.viewer;
    if (quick < 1 || decoded || !(file.isRefined || this.plane.across === 0)) return; // networks are evaluated plane by plane
    this.pictures.decoded = await this.picture(file, file.levels[quick], quick, index);
    this.draw();
  }

  async load(index) {
    const { file, reference } = this.viewer, { levels } = file;
    if (this.pictures.decoded?.index !== index) await this.preview(index);
    this.pictures.decoded = await this.picture(file, levels[0], 0, index);
    this.viewer.decoded = true;
    this.pictures.reference = reference ? await this.picture(reference, levels[0], 0, index) : null;
    this.draw();
    this.viewer.tell(this.viewer.voxel);
  }

  async picture(file, level, number, index) {
    const onProgress = (part) => this.say(`${level.kind === "full" ? "decoding" : "preview"}: ${Math.round(100 * part)} %`);
    const part = await file.read(boxOf(this.plane, level, index, this.viewer.shown), number, { onProgress });
    const last = this.viewer.file.shape[0] - 1;
    return { ...pictureOf(this.plane, { ...level, last }, part, (v, z) => file.physical(v, z)), index, kind: level.kind };
  }

  say(more = "") {
    const { plane } = this, n = this.viewer.file.shape[plane.across];
    this.output.textContent = `${"zyx"[plane.across]} = ${this.index} of ${n}${more ? `; ${more}` : ""}`;
  }

  draw() {
    const { low, high, spread } = this.viewer.window, { decoded, reference } = this.pictures;
    if (!decoded) return;
    this.say(decoded.kind === "full" ? "" : "a preview of a coarser grid");
    const shown = { decoded, reference, difference: difference(decoded, reference) };
    for (const [kind, { canvas }] of Object.entries(this.canvases)) {
      const picture = shown[kind];
      if (picture) paint(canvas, picture, ...(kind === "difference" ? [-spread, spread] : [low, high]));
    }
    this.cross();
  }

  cross() {
    const [down, right] = placeOf(this.plane, this.viewer.shown, this.viewer.voxel);
    for (const { lines: [across, along] } of Object.values(this.canvases)) {
      across.style.top = `${100 * down}%`;
      along.style.left = `${100 * right}%`;
    }
  }

  /** Physical values at a voxel of the slice that is shown, or null. */
  values(voxel) {
    if (voxel[this.plane.across] !== this.index) return null;
    const { decoded, reference } = this.pictures, { shown } = this.viewer;
    if (!decoded || decoded.index !== this.index) return null;
    const value = valueAt(this.plane, shown, decoded, voxel);
    if (value === null) return null;
    return { decoded: value, exact: decoded.kind === "full", reference: reference ? valueAt(this.plane, shown, reference, voxel) : null };
  }
}
