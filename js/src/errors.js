/** What can be wrong with a file, or with a request. */

export class InrvError extends Error {
  /** @param {string} message cause, value and remedy  @param {unknown} [value] what was wrong */
  constructor(message, value) {
    super(message);
    this.name = new.target.kind;
    this.value = value;
  }
}
InrvError.kind = "InrvError";

/** The file is damaged, cut, extended or forged. */
export class CorruptFile extends InrvError {}
CorruptFile.kind = "CorruptFile";

/** The file needs something that this decoder, or this browser, does not have. */
export class UnsupportedFile extends InrvError {}
UnsupportedFile.kind = "UnsupportedFile";

/** The file, or what was requested of it, is larger than is allowed. */
export class LimitExceeded extends InrvError {}
LimitExceeded.kind = "LimitExceeded";

/** A request that no file could fulfil. */
export class UsageError extends InrvError {}
UsageError.kind = "UsageError";

export const CLASSES = { InrvError, CorruptFile, UnsupportedFile, LimitExceeded, UsageError };

/** Refuse a file as corrupt unless a condition holds. */
export function need(condition, what, value) {
  if (!condition) throw new CorruptFile(`${what}: the file is damaged, get it again`, value);
}

/** Refuse `value` above `ceiling`. */
export function atMost(name, value, ceiling) {
  if (!(value <= ceiling)) {
    throw new LimitExceeded(
      `${name} is ${value}, the format allows ${ceiling}: split the volume, or do not trust the file`, value);
  }
}
