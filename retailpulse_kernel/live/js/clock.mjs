// Which range is shown: following the stream, standing still, or replaying.

export const WINDOWS = [
  ["5 min", 300], ["15 min", 900], ["1 hour", 3600], ["3 hours", 10800], ["6 hours", 21600], ["1 day", 86400],
];
export const SPEEDS = [1, 5, 20, 60];

/** The end of the range that is shown, in epoch seconds; `now` is the page's clock in milliseconds. */
export class Clock {
  constructor(seconds) {
    this.window = seconds;
    this.live();
  }

  live() {
    this.at = null;
    this.since = null;
  }

  get isLive() {
    return this.at === null;
  }

  get replaying() {
    return this.since !== null;
  }

  /** Stand at a moment. */
  scrub(at) {
    this.at = at;
    this.since = null;
  }

  /** Go on from where it stands, or from a window ago, at a speed. */
  replay(speed, edge, now) {
    this.at = this.end(edge, now) - (this.isLive ? this.window : 0);
    this.speed = speed;
    this.since = now;
  }

  /** Stand where the replay has come to. */
  halt(edge, now) {
    this.scrub(this.end(edge, now));
  }

  /** The end of the range, on a whole minute; a replay that has caught up follows the stream again. */
  end(edge, now) {
    if (this.isLive) return edge;
    const at = this.replaying ? this.at + ((now - this.since) / 1000) * this.speed : this.at;
    if (at >= edge) {
      if (this.replaying) this.live();
      return edge;
    }
    return Math.floor(at / 60) * 60;
  }
}
