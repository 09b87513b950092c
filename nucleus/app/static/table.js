// The table of nuclei. Only the rows in view are in the document, so that ten thousand cost no more than twenty.

const ROW = 34; // pixels, as in the style sheet
const AROUND = 8; // rows beyond the view

export class Table {
  constructor(region, head, rows, nothing, { onChoose, onOpen }) {
    Object.assign(this, { region, head, rows, nothing, onChoose, onOpen });
    this.order = [];
    this.chosen = -1;
    this.count = 0;
    region.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw(true)).observe(region);
    region.addEventListener("keydown", (event) => this.key(event));
    rows.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-index]");
      if (row) onChoose(Number(row.dataset.index));
    });
    rows.addEventListener("dblclick", (event) => {
      const row = event.target.closest("tr[data-index]");
      if (row) onOpen(Number(row.dataset.index));
    });
  }

  show(columns, total) {
    const numbers = Array.from({ length: total }, (_, index) => index + 1);
    this.columns = [{ key: "number", title: "No.", unit: "", digits: 0, values: numbers }, ...columns];
    this.sorted = { column: 0, down: false };
    this.chosen = -1;
    this.region.scrollTop = this.region.scrollLeft = 0;
    this.drawHead();
    this.count = 0;
    this.sort();
  }

  set shown(count) {
    this.count = count;
    this.sort();
  }

  choose(index) {
    this.chosen = index;
    const place = this.order.indexOf(index);
    if (place >= 0) {
      const top = place * ROW;
      const room = this.region.clientHeight - this.head.offsetHeight;
      if (top < this.region.scrollTop) this.region.scrollTop = top;
      else if (top + ROW > this.region.scrollTop + room) this.region.scrollTop = top + ROW - room;
    }
    this.draw(true);
  }

  sort() {
    const { column, down } = this.sorted;
    const values = this.columns[column].values;
    this.order = Array.from({ length: this.count }, (_, index) => index);
    if (column > 0 || down) {
      const of = (index) => values[index] ?? -Infinity;
      this.order.sort((a, b) => (down ? of(b) - of(a) : of(a) - of(b)) || a - b);
    }
    this.nothing.hidden = this.count > 0;
    this.draw(true);
  }

  drawHead() {
    const row = document.createElement("tr");
    this.columns.forEach((column, number) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      const button = document.createElement("button");
      button.type = "button";
      button.append(column.title);
      if (column.unit) {
        const unit = document.createElement("small");
        unit.textContent = ` ${column.unit}`;
        button.append(unit);
      }
      button.addEventListener("click", () => {
        const same = this.sorted.column === number;
        this.sorted = { column: number, down: same ? !this.sorted.down : number > 0 };
        this.mark();
        this.region.scrollTop = 0;
        this.sort();
      });
      cell.append(button);
      row.append(cell);
    });
    this.head.replaceChildren(row);
    this.mark();
  }

  mark() {
    [...this.head.rows[0].cells].forEach((cell, number) => {
      if (number === this.sorted.column) cell.setAttribute("aria-sort", this.sorted.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  draw(anew = false) {
    if (!this.columns) return;
    const first = Math.max(0, Math.floor(this.region.scrollTop / ROW) - AROUND);
    const last = Math.min(this.order.length, first + Math.ceil(this.region.clientHeight / ROW) + 2 * AROUND);
    if (!anew && first === this.first && last === this.last) return;
    Object.assign(this, { first, last });
    const drawn = this.order.slice(first, last).map((index, place) => this.row(index, first + place));
    this.rows.replaceChildren(this.space(first), ...drawn, this.space(this.order.length - last));
    this.region.querySelector("table").setAttribute("aria-rowcount", this.order.length + 1);
  }

  row(index, place) {
    const row = document.createElement("tr");
    row.dataset.index = index;
    row.setAttribute("aria-rowindex", place + 2);
    if (index === this.chosen) row.setAttribute("aria-selected", "true");
    for (const column of this.columns) {
      const cell = document.createElement("td");
      cell.textContent = text(column, index);
      row.append(cell);
    }
    return row;
  }

  space(rows) {
    const row = document.createElement("tr");
    row.className = "space";
    row.setAttribute("aria-hidden", "true");
    row.style.height = `${rows * ROW}px`;
    return row;
  }

  key(event) {
    const place = this.order.indexOf(this.chosen);
    const last = this.order.length - 1;
    const page = Math.max(1, Math.floor(this.region.clientHeight / ROW) - 2);
    const to = {
      ArrowDown: place + 1,
      ArrowUp: place < 0 ? last : place - 1,
      PageDown: place + page,
      PageUp: place - page,
      Home: 0,
      End: last,
    }[event.key];
    if (event.target !== this.region || last < 0) return;
    if (event.key === "Enter" && this.chosen >= 0) this.onOpen(this.chosen);
    else if (to !== undefined) this.onChoose(this.order[Math.min(Math.max(to, 0), last)]);
    else return;
    event.preventDefault();
  }
}

export function text(column, index) {
  const value = column.values[index];
  if (value === null) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: column.digits, maximumFractionDigits: column.digits });
}
