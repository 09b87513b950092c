// The threshold: a slider under the histogram of all scores. It asks nobody: the nuclei at a threshold are the first n.

const SVG = "http://www.w3.org/2000/svg";
const LOWEST = 0.05;
const BARS = 47; // of two hundredths each

export class Threshold {
  constructor({ slider, value, histogram, reset, onChange }) {
    Object.assign(this, { slider, value, histogram, reset, onChange });
    this.scores = [];
    this.standard = 0.5;
    slider.addEventListener("input", () => this.changed());
    reset.addEventListener("click", () => {
      this.set(this.standard);
      slider.focus();
    });
  }

  // Scores of all nuclei, descending.
  show(scores) {
    this.scores = scores;
    const counts = new Array(BARS).fill(0);
    for (const score of scores) counts[Math.min(BARS - 1, Math.max(0, Math.floor((score - LOWEST) / 0.02)))] += 1;
    const most = Math.max(1, ...counts);
    this.bars = counts.map((count, place) => {
      const bar = document.createElementNS(SVG, "rect");
      const height = count ? Math.max(1.2, 30 * Math.sqrt(count / most)) : 0;
      const at = { x: place * 2 + 0.5, y: 30 - height, width: 1.4, height };
      for (const [name, number] of Object.entries(at)) bar.setAttribute(name, number.toFixed(2));
      return bar;
    });
    this.histogram.replaceChildren(...this.bars);
    this.changed();
  }

  set(value) {
    this.slider.value = value;
    this.changed();
  }

  get text() {
    return Number(this.slider.value).toFixed(2);
  }

  // How many nuclei have the score.
  get count() {
    const threshold = Number(this.text);
    let low = 0;
    let high = this.scores.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.scores[middle] >= threshold) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  changed() {
    const threshold = Number(this.text);
    this.value.textContent = this.text;
    this.reset.hidden = this.text === this.standard.toFixed(2);
    this.bars?.forEach((bar, place) => bar.classList.toggle("on", LOWEST + place * 0.02 + 0.011 > threshold));
    this.onChange(this.count);
  }
}
