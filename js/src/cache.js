/** What was decoded last, up to a number of bytes; promises, so that nothing is decoded twice at a time. */

export class Cache {
  constructor(most) {
    this.most = most;
    this.bytes = 0;
    this.entries = new Map();
  }

  /** The value of a key, made of `make()` if it is not here. */
  get(key, bytes, make) {
    const found = this.entries.get(key);
    if (found) {
      this.entries.delete(key);
      this.entries.set(key, found);
      return found.value;
    }
    const entry = { bytes, value: make() };
    this.entries.set(key, entry);
    this.bytes += bytes;
    entry.value.catch(() => this.drop(key, entry)); // a failure may have been of the network
    for (const [other, old] of this.entries) {
      if (this.bytes <= this.most || other === key) break;
      this.drop(other, old);
    }
    return entry.value;
  }

  drop(key, entry) {
    if (this.entries.get(key) !== entry) return;
    this.entries.delete(key);
    this.bytes -= entry.bytes;
  }

  clear() {
    this.entries.clear();
    this.bytes = 0;
  }
}
