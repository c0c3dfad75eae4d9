/** The page of a file: it decodes the file that it carries, and shows every slice of it. */

import { openRemote } from "../src/remote.js";
import { openNifti } from "./nifti.js";
import { element, Pane } from "./pane.js";
import { contentOf, millimetres, usual } from "./slices.js";

const $ = (id) => document.getElementById(id);
const facts = JSON.parse($("data").textContent);

const COARSE = 2 ** 21; // voxels of a level that is shown while a finer one is decoded

/** A Worker with the decoder that the page carries. */
function decoder() {
  const code = new Blob([$("decoder").textContent], { type: "text/javascript" });
  return new Worker(URL.createObjectURL(code));
}

/** Bytes that the page carries as base64, or null. */
function carried(id) {
  const text = $(id)?.textContent;
  return text ? Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer : null;
}

/** The file of a button, once one was chosen. */
function chosen(input) {
  return new Promise((resolve) => input.addEventListener("change", () => input.files[0] && resolve(input.files[0]), { once: true }));
}

const number = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "–");

class Viewer {
  /** @param {object} file that is open  @param {ArrayBuffer|Blob} source of it */
  constructor(file, source) {
    Object.assign(this, { file, source });
    this.reference = null;
    this.decoded = false;
    this.window = { low: 0, high: 1, spread: 1 };
    this.voxel = file.shape.map((n) => Math.floor(n / 2));
    this.shown = file.shape.map((n) => [0, n]);
    this.coarse = file.levels.findIndex(({ shape }) => shape[0] * shape[1] * shape[2] <= COARSE);
    this.quick = file.isRefined ? this.coarse : file.levels.findIndex(({ kind }) => kind === "lowres"); // level of the first picture
  }

  async start() {
    const planes = facts.planes.filter(({ across }) => facts.planes.length === 1 || this.file.shape[across] >= 1);
    this.panes = planes.map((plane) => new Pane(this, plane, $("planes")));
    this.layout();
    for (const pane of this.panes) await pane.preview();
    if (!this.panes[0].pictures.decoded) await this.panes[0].refresh();
    this.presets();
    $("crosshair").addEventListener("change", () => document.body.classList.toggle("uncrossed", !$("crosshair").checked));
    for (const id of ["level", "width", "spread"]) $(id).addEventListener("input", () => this.entered());
    $("preset").addEventListener("change", () => this.choose($("preset").value));
    this.comparison();
    this.sharpening();
    this.checking();
    this.tell(this.voxel);
    $("whole").addEventListener("change", () => this.fit());
    await this.fit();
    await Promise.all(this.panes.map((pane) => pane.refresh()));
  }

  /** Show what is not background, or whole slices. */
  async fit() {
    const { file } = this, { padding } = file.header.volume, whole = file.shape.map((n) => [0, n]);
    if (!$("whole").checked && this.coarse >= 0 && !this.content) {
      const part = await file.read(null, this.coarse), empty = padding === null ? NaN : file.physical(padding);
      this.content = contentOf(part, file.levels[this.coarse], file.shape, (v, z) => file.physical(v, z), empty);
    }
    const shown = $("whole").checked ? whole : this.content ?? whole;
    if (shown.join() === this.shown.join()) return;
    this.shown = shown;
    for (const pane of this.panes) pane.pictures = {};
    this.layout();
    await this.show();
  }

  layout() {
    $("planes").classList.toggle("compared", this.reference !== null);
    $("spread-label").hidden = this.reference === null;
    for (const pane of this.panes) pane.lay(this.reference ? ["reference", "decoded", "difference"] : ["decoded"]);
  }

  presets() {
    const { header } = this.file, { low, high } = header.range, picture = this.panes[0].pictures.decoded;
    const padding = header.volume.padding === null ? NaN : this.file.physical(header.volume.padding);
    const ends = [this.file.physical(low), this.file.physical(high)].sort((a, b) => a - b);
    this.choices = { ...facts.presets, "usual values": picture ? usual(picture.values, padding) : ends, "all values": ends };
    for (const name of Object.keys(this.choices)) element("option", $("preset"), name);
    $("unit").textContent = facts.unit;
    this.choose($("preset").value);
  }

  choose(name) {
    const [low, high] = this.choices[name];
    $("spread").value = number((high - low) / 4);
    this.set((low + high) / 2, high - low);
  }

  set(level, width) {
    $("level").value = number(level);
    $("width").value = number(width);
    this.entered();
  }

  entered() {
    const [level, width, spread] = ["level", "width", "spread"].map((id) => Number($(id).value));
    this.window = { low: level - width / 2, high: level + width / 2, spread };
    for (const pane of this.panes) pane.draw();
  }

  /** Change width and level by parts of the width. */
  turn(wider, higher) {
    const width = Number($("width").value), level = Number($("level").value);
    this.set(level - higher * width, Math.max(width * (1 + wider), 1e-9));
  }

  /** Put the crosshair on a voxel, and the other planes with it. */
  point(voxel) {
    this.voxel = [...voxel];
    for (const pane of this.panes) {
      if (pane.index === voxel[pane.plane.across]) pane.cross();
      else pane.go(voxel[pane.plane.across]);
    }
    this.tell(voxel);
  }

  moved(axis, index) {
    this.voxel[axis] = index;
    for (const pane of this.panes) pane.cross();
    this.tell(this.voxel);
  }

  /** Say where a voxel lies, and its values. */
  tell(voxel) {
    const [z, y, x] = voxel, unit = facts.unit ? ` ${facts.unit}` : "";
    const found = this.panes.map((pane) => pane.values(voxel)).find((values) => values);
    const place = facts.placed
      ? ` · L ${number(this.place(voxel, 0))}, P ${number(this.place(voxel, 1))}, S ${number(this.place(voxel, 2))} mm` : "";
    let words = `voxel x ${x}, y ${y}, z ${z}${place}`;
    if (found) words += ` · ${found.exact ? "" : "about "}${number(found.decoded)}${unit}`;
    if (found?.exact && found.reference !== null) words += ` (reference ${number(found.reference)}, difference ${number(found.decoded - found.reference)})`;
    $("readout").textContent = words;
  }

  place(voxel, axis) {
    return Math.round(millimetres(this.file.affine, voxel)[axis] * 100) / 100;
  }

  // --- the digest

  /** Of a refinement every voxel has to be the encoder's, in any decoder. */
  checking() {
    $("check").hidden = !this.file.isRefined;
    $("check").addEventListener("click", async () => {
      const said = $("checked"), stated = this.file.header.quality.digest.join();
      $("check").disabled = true;
      try {
        const found = await this.file.digest({ onProgress: (done) => (said.textContent = `${Math.round(100 * done)} %`) });
        said.textContent = found.join() === stated ? "every voxel is the encoder's" : "some voxels are not the encoder's: the digest differs";
      } catch (error) {
        said.textContent = `not compared: ${error.message}`;
      }
      $("check").disabled = false;
    });
  }

  // --- super-resolution

  /** A file that names a model is sharpened on request, where the page was told of a place that has models. */
  sharpening() {
    const { warnings, superres } = this.file, told = warnings.map((warning) => element("li", $("notes"), warning));
    $("sharpen-label").hidden = !(facts.superres && superres);
    $("sharpen").addEventListener("change", async () => {
      this.plain ??= this.file;
      try {
        $("sharpened").textContent = "";
        this.file = $("sharpen").checked ? (this.sharp ??= await this.openSharp()) : this.plain;
        for (const line of told) line.hidden = $("sharpen").checked;
        await this.show();
      } catch (error) {
        $("sharpen").checked = false;
        $("sharpened").textContent = `not sharpened: ${error.message}`;
      }
    });
  }

  /** The file with its model; a first voxel shows whether that runs. */
  async openSharp() {
    const file = await openRemote(this.source, decoder(), { superres: { models: facts.superres }, latents: carried("latents") });
    $("sharpened").textContent = "loading the model …";
    await file.read(this.voxel.map((n) => [n, n + 1]));
    $("sharpened").textContent = "";
    return file;
  }

  /** Decode all planes anew. */
  async show() {
    for (const pane of this.panes) pane.pictures = {};
    await Promise.all(this.panes.map((pane) => pane.refresh()));
  }

  // --- a reference

  comparison() {
    const inside = $("reference") !== null;
    $("compare").hidden = !inside;
    $("compare").addEventListener("click", () => this.compare(carried("reference")));
    $("choose").addEventListener("change", () => $("choose").files[0] && this.compare($("choose").files[0]));
  }

  /** Show the difference to a reference: an .inrv file, or NIfTI. */
  async compare(source) {
    const told = $("compared");
    try {
      told.textContent = "reading the reference …";
      const start = new Uint8Array(await new Blob([source]).slice(0, 5).arrayBuffer());
      const ours = start[0] === 0x89 && String.fromCharCode(...start.slice(1)) === "INRV";
      const reference = ours ? await openRemote(source, decoder()) : await openNifti(source, this.file.shape);
      if (ours && reference.shape.join() !== this.file.shape.join()) {
        throw new Error(`it has ${reference.shape.join(" x ")} voxels, the file ${this.file.shape.join(" x ")}`);
      }
      this.reference = reference;
      $("compare").hidden = true;
      this.layout();
      for (const pane of this.panes) await pane.refresh();
      this.tell(this.voxel);
      told.textContent = "";
    } catch (error) {
      told.textContent = `the reference cannot be shown: ${error.message}`;
    }
    document.body.dataset.compared = this.reference ? "yes" : "no";
  }

  /** Planes that wait for a slice; a test of the page reads it. */
  work(more) {
    this.working = (this.working ?? 0) + more;
    document.body.dataset.busy = this.working;
  }

  fail(error) {
    $("trouble").hidden = false;
    $("trouble").textContent = `This page cannot show the slices: ${error.message}`;
    if ($("preview")) $("preview").hidden = false;
  }
}

/** Of a file that the page does not carry, the reader chooses it. */
async function source() {
  const inside = carried("file");
  if (inside) return inside;
  $("open").hidden = false;
  const file = await chosen($("opened"));
  $("open").hidden = true;
  if (file.size !== facts.bytes) throw new Error(`that file has ${file.size} bytes, the page is about one of ${facts.bytes}`);
  return file;
}

async function begin() {
  if (typeof Worker === "undefined") throw new Error("this browser has no Workers");
  const inside = await source(), viewer = new Viewer(await openRemote(inside, decoder(), { latents: carried("latents") }), inside);
  await viewer.start();
}

begin()
  .catch((error) => Viewer.prototype.fail(error))
  .finally(() => (document.body.dataset.ready = "yes"));
